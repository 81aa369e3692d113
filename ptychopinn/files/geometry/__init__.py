"""Lengths of a scan: object pixel, rasters of positions, the settings of a microscope."""
