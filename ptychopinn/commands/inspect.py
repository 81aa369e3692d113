"""``inspect``: what a file holds, as rows and as a picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ptychopinn.commands.shared.rows import record_rows
from ptychopinn.config import DataConfig
from ptychopinn.errors import WARNING, PtychoError
from ptychopinn.figures.scan import draw_parts, draw_scan
from ptychopinn.files.detector.examined import examined
from ptychopinn.files.naming import naming
from ptychopinn.files.reading import open_record, scan_in
from ptychopinn.files.record import Record, counts_of, start_of
from ptychopinn.scan import summary
from ptychopinn.scan.frames import blocks, check_counts
from ptychopinn.scan.outliers import check_wild
from ptychopinn.scan.summary import Row


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
