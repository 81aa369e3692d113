"""``inspect``: what a file holds, as rows and as a picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ptychopinn.config import DataConfig
from ptychopinn.errors import WARNING, PtychoError
from ptychopinn.figures.scan import draw_parts, draw_scan
from ptychopinn.files.detector.examined import examined
from ptychopinn.files.formats import registry
from ptychopinn.files.naming import naming
from ptychopinn.files.reading import open_record, scan_in
from ptychopinn.files.record import Record, counts_of, start_of
from ptychopinn.scan import summary
from ptychopinn.scan.frames import blocks, check_counts
from ptychopinn.scan.outliers import check_wild
from ptychopinn.scan.summary import Row
from ptychopinn.text import readable, readable_length


def inspect_file(path: Path, data: DataConfig) -> tuple[list[Row], Callable[[Path], None]]:
    """What a file of any format holds, as rows of text, and a function that draws it into a PNG file.

    Raises:
        PtychoError: for a damaged file, or parts that contradict one another.
    """
    record = open_record(path, data)
    rows = [("file", str(path)), *record_rows(record)]
    if record.is_empty:
        raise PtychoError(f"{path}: {record.missing('counts', 'frames are')}")
    whole = record.counts is not None and record.positions is not None and record.probe is not None
    # A file may be inspected before there is a probe; what else is missing is said as of a scan.
    is_scan = whole or (not record.partial and record.probe is not None)
    if record.counts is not None and record.near_field is None and is_scan:
        scan = scan_in(path, record, data)
        with naming(path):
            check_wild(scan.positions, scan.N, scan.numbers)  # the picture would be as large as they are far
        return _marked([*rows, *summary.summarise(scan)]), lambda picture: draw_scan(picture, scan)
    try:
        scan_in(path, record, data)
    except PtychoError as error:
        rows += [("note", note) for note in record.notes]
        return [*_marked(rows), ("no scan", str(error).removeprefix(f"{path}: "))], _drawn(path, record, data)
    raise AssertionError("a record without its parts made a scan")


def _marked(rows: list[Row]) -> list[Row]:
    """Notes that are warnings, as such."""
    return [
        ("warning", value.removeprefix(WARNING)) if label == "note" and value.startswith(WARNING) else (label, value)
        for label, value in rows
    ]


def _drawn(path: Path, record: Record, data: DataConfig) -> Callable[[Path], None]:
    """Check the parts that are there; returns the function that draws them."""
    with naming(path):
        record = examined(record, data, once=True, drop=False).record
        parts = start_of(record)
        frames = None
        if record.counts is not None and len(record.counts):
            counts, _ = counts_of(record, data.measurement, data.nphotons)
            frames = np.asarray(counts[next(blocks(counts.shape))], dtype=np.float32)
            check_counts(frames, np.arange(len(frames)))
    image, positions, probe = (parts.get(name) for name in ("object", "positions", "probe"))
    return lambda picture: draw_parts(picture, frames, positions, image, probe)


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
