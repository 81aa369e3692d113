"""``subset``: some frames of a scan, spread over its area."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ptychopinn.commands.shared.messages import report_notes, scan_record
from ptychopinn.commands.shared.request import Request
from ptychopinn.errors import PtychoError
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.files.output_folder import check_apart, check_new, file_hash, write_json
from ptychopinn.files.reading import open_scan
from ptychopinn.scan.frames import stored_dtype
from ptychopinn.scan.grouping import spread_frames
from ptychopinn.scan.scan import Scan


def subset_file(source: Path, count: int, request: Request) -> Scan:
    """Write some frames of a scan, spread over its whole area, as NPZ, with a JSON file that says which.

    The same source gives the same bytes.

    Args:
        source: scan file.
        count: frames to keep.
        request: how to read ``source``; ``out`` is a new NPZ file, beside which the JSON file lies.
    """
    out = request.out
    if out.suffix != ".npz":
        raise PtychoError(f"{out}: the name of the file to write must end in .npz.")
    beside = out.with_suffix(".json")
    for path in (out, beside):
        check_new(path, request.overwrite)
    check_apart((out, beside), request.reads(source))
    scan = open_scan(source, request.settings.data)
    report_notes(scan, request.report)
    whole = np.maximum(np.ptp(scan.positions, axis=0), np.finfo(float).tiny)
    part = scan.subset(spread_frames(scan.positions, count))
    part = replace(part, counts=part.counts[:].astype(canonical(part)))
    write_npz(out, part)
    write_json(
        beside,
        {
            "source": str(source),
            "source_sha256": file_hash(source),
            "frames": len(part),
            "of": len(scan),
            "indices": part.numbers.tolist(),
            "extent": [float(share) for share in np.ptp(part.positions, axis=0) / whole],
            "sha256": file_hash(out),
            **scan_record(scan),
        },
    )
    return part


def canonical(scan: Scan) -> np.dtype[np.generic]:
    """uint16 or uint32 for whole numbers, float32 for others."""
    stored = stored_dtype(scan.counts)
    if stored.kind == "f":
        return np.dtype(np.float32)
    largest = max(float(scan.counts[block].max()) for block in scan.blocks())
    return np.dtype(np.uint16 if largest < 2**16 else np.uint32 if largest < 2**32 else np.uint64)
