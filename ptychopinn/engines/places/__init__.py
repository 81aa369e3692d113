"""Positions that are many pixels off: found from single frames, from their neighbours, and with the image."""
