"""What a file holds, as rows of text."""

from ptychopinn.files.formats import registry
from ptychopinn.files.record import Record
from ptychopinn.scan.summary import Row
from ptychopinn.text import readable, readable_length


def record_rows(record: Record) -> list[Row]:
    """Rows about the format, what is there, and the geometry."""
    kind = registry.named(record.format, "--format").text if record.format in registry.names() else "HDF5, by a map"
    parts = [] if record.counts is None else [f"{len(record.counts)} frames {record.counts.shape[1:]}"]
    parts += [] if record.positions is None else [f"{len(record.positions)} positions"]
    parts += [] if record.probe is None else [f"probe {record.probe.shape}"]
    parts += [] if record.object is None else [f"object {record.object.shape}"]
    parts += [f"{len(record.extra['loss_values'])} losses"] if "loss_values" in record.extra else []
    rows = [("format", f"{kind} ({record.format})"), ("holds", ", ".join(parts) or "nothing")]
    if record.made_up:
        return [*rows, ("geometry", "placeholders")]
    if record.wavelength_m and record.energy_eV:
        electron, thousands = record.particle == "electron", readable(record.energy_eV / 1e3, 4)
        rows.append(
            ("electrons", f"{thousands.removesuffix('.0')} kV") if electron else ("photon energy", f"{thousands} keV")
        )
        rows += [("wavelength", f"{readable(record.wavelength_m / 1e-12, 5)} pm")] if electron else []
    if record.distance_m:
        rows.append(("distance", readable_length(record.distance_m)))
    if record.detector_pixel_m is not None:
        rows.append(("detector pixel", " x ".join(readable_length(edge) for edge in record.detector_pixel_m)))
    if record.pixel_m is not None:
        rows.append(("object pixel", " x ".join(readable_length(edge) for edge in record.pixel_m)))
    return rows
