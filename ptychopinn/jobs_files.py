"""What the commands ``inspect``, ``convert``, ``subset`` and ``export`` do with files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ptychopinn import api, bundle, figures, summary
from ptychopinn.config import DataConfig, Settings, read_settings
from ptychopinn.errors import PtychoError
from ptychopinn.export import check_ending, export
from ptychopinn.files import formats
from ptychopinn.files.completion import Completion
from ptychopinn.files.folder import file_hash, write_json
from ptychopinn.files.npz import write_npz
from ptychopinn.files.record import Record, counts_of, start_of
from ptychopinn.frames import blocks, check_counts, stored_dtype
from ptychopinn.grouping import spread_frames
from ptychopinn.jobs import reading_of
from ptychopinn.scan import Scan
from ptychopinn.summary import Row, readable, readable_length

PARTS = ("counts", "positions", "probe", "object")
ENDINGS: Final = {".npz": "npz", ".cxi": "cxi", ".h5": "ptychodus-product", ".hdf5": "ptychodus-product"}


def inspect_file(path: Path, data: DataConfig) -> tuple[list[Row], Callable[[Path], None]]:
    """What a file of any format holds, as rows of text, and what draws it into a PNG file.

    Raises:
        PtychoError: for a damaged file, or parts that contradict one another.
    """
    record = api.open_record(path, data)
    rows = [("file", str(path)), *record_rows(record)]
    if all(getattr(record, part) is None for part in PARTS):
        raise PtychoError(f"{path}: {record.missing('counts', 'frames are')}")
    whole = record.counts is not None and record.positions is not None and record.probe is not None
    if record.counts is not None and record.near_field is None and (whole or not record.partial):
        scan = api.scan_in(path, record, data)
        return [*rows, *summary.summarise(scan)], lambda picture: figures.draw_scan(picture, scan)
    try:
        api.scan_in(path, record, data)
    except PtychoError as error:
        rows += [("note", note) for note in record.notes]
        return [*rows, ("no scan", str(error).removeprefix(f"{path}: "))], _drawn(path, record, data)
    raise AssertionError("a record without its parts made a scan")


def _drawn(path: Path, record: Record, data: DataConfig) -> Callable[[Path], None]:
    """What draws the parts that are there; they are checked first."""
    try:
        parts = start_of(record)
        frames = None
        if record.counts is not None and len(record.counts):
            counts, _ = counts_of(record, data.measurement, data.nphotons)
            frames = np.asarray(counts[next(blocks(counts.shape))], dtype=np.float32)
            check_counts(frames, np.arange(len(frames)))
    except PtychoError as error:
        raise PtychoError(f"{path}: {error}") from None
    image, positions, probe = (parts.get(name) for name in ("object", "positions", "probe"))
    return lambda picture: figures.draw_parts(picture, frames, positions, image, probe)


def record_rows(record: Record) -> list[Row]:
    """Rows about the format, what is there, and the geometry."""
    kind = formats.named(record.format, "--format").text if record.format in formats.names() else "HDF5, by a map"
    parts = [] if record.counts is None else [f"{len(record.counts)} frames {record.counts.shape[1:]}"]
    parts += [] if record.positions is None else [f"{len(record.positions)} positions"]
    parts += [] if record.probe is None else [f"probe {record.probe.shape}"]
    parts += [] if record.object is None else [f"object {record.object.shape}"]
    parts += [f"{len(record.extra['loss_values'])} losses"] if "loss_values" in record.extra else []
    rows = [("format", f"{kind} ({record.format})"), ("holds", ", ".join(parts) or "nothing")]
    if record.made_up:
        return [*rows, ("geometry", "placeholders")]
    if record.energy_eV:
        rows.append(("photon energy", f"{readable(record.energy_eV / 1e3, 4)} keV"))
    if record.distance_m:
        rows.append(("distance", readable_length(record.distance_m)))
    if record.detector_pixel_m is not None:
        rows.append(("detector pixel", " x ".join(readable_length(edge) for edge in record.detector_pixel_m)))
    if record.pixel_m is not None:
        rows.append(("object pixel", " x ".join(readable_length(edge) for edge in record.pixel_m)))
    return rows


def convert_file(
    source: Path,
    out: Path,
    to: str | None,
    data: DataConfig,
    given: Completion,
    with_frames: bool = True,
    overwrite: bool = False,
) -> Record:
    """Write a file in another format; large frames are never all in memory.

    Args:
        source: file of any format.
        out: new file.
        to: format; by the ending of ``out`` when None.
        data: how to read ``source``; what concerns its frames one by one does not apply.
        given: what to write where ``source`` does not know.
        with_frames: write the frames too.
        overwrite: replace ``out``.

    Returns:
        What was written.
    """
    name = to or ENDINGS.get(out.suffix)
    if name is None:
        raise PtychoError(f"{out}: give --to; one of {', '.join(formats.writable())} is needed.")
    formats.check_target(out, name)
    if given.dummy and name == "npz":
        raise PtychoError("--dummy-geometry: has no effect, npz needs no geometry; leave it away.")
    check_new(out, overwrite)
    if out.exists() and out.samefile(source):
        raise PtychoError(f"{out}: is the file to convert; give another name.")
    record = api.open_record(source, data)
    if all(getattr(record, part) is None for part in PARTS):
        raise PtychoError(f"{source}: holds nothing to convert.")
    if name != "npz" and record.scan_index is not None and len(np.unique(record.scan_index)) > 1:
        raise PtychoError(
            f"{source}: scan_index: frames of several scans, which {name} cannot hold; take one by subset."
        )
    try:
        record = formats.prepared(record, name, given, data.measurement, data.nphotons, with_frames)
        formats.write(out, name, record)
    except PtychoError as error:
        raise PtychoError(f"{source}: {error}") from None
    return record


def subset_file(source: Path, out: Path, count: int, data: DataConfig, overwrite: bool = False) -> Scan:
    """Write some frames of a scan, spread over its whole area, as NPZ, with a JSON file that says which.

    The same source gives the same bytes.

    Args:
        source: scan file.
        out: new NPZ file; the JSON file lies beside it.
        count: frames to keep.
        data: how to read ``source``.
        overwrite: replace both.
    """
    if out.suffix != ".npz":
        raise PtychoError(f"{out}: the name of the file to write must end in .npz.")
    beside = out.with_suffix(".json")
    for path in (out, beside):
        check_new(path, overwrite)
        if path.exists() and path.samefile(source):
            raise PtychoError(f"{path}: is the file to read; give another name.")
    scan = api.open_scan(source, data)
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
            "extent": [float(share) for share in np.ptp(part.positions, axis=0) / extent(scan)],
            "sha256": file_hash(out),
        },
    )
    return part


def export_file(
    run_path: Path, out: Path, source: Path | None, flags: dict[str, Any], config: Path | None, overwrite: bool = False
) -> dict[str, Any]:
    """Write a trained network as a program; see :func:`ptychopinn.export.export`.

    Args:
        run_path: run folder or bundle.
        out: new file, ``.pt2`` or ``.onnx``.
        source: scan file of the experiment it is for, read as the training scan was; that one when None.
        flags: settings by name; they win over ``config``.
        config: JSON file of settings.
        overwrite: replace ``out``.
    """
    check_new(out, overwrite)
    check_ending(out)
    run = bundle.load_run(run_path)
    settings = Settings.of(reading_of(run) | (read_settings(config) if config else {}) | flags)
    scan = None if source is None else api.open_scan(source, settings.data)
    return export(run, out, scan)


def canonical(scan: Scan) -> np.dtype[np.generic]:
    """uint16 or uint32 for whole numbers, float32 for others."""
    stored = stored_dtype(scan.counts)
    if stored.kind == "f":
        return np.dtype(np.float32)
    largest = max(float(scan.counts[block].max()) for block in scan.blocks())
    return np.dtype(np.uint16 if largest < 2**16 else np.uint32 if largest < 2**32 else np.uint64)


def extent(scan: Scan) -> np.ndarray:
    """Range of the positions (y, x) in pixels, at least a tiny one."""
    return np.maximum(np.ptp(scan.positions, axis=0), np.finfo(float).tiny)


def check_new(path: Path, overwrite: bool) -> None:
    """Refuse to replace a file without ``overwrite``."""
    if path.is_dir():
        raise PtychoError(f"{path}: is a folder; the name of a file is needed.")
    if path.exists() and not overwrite:
        raise PtychoError(f"{path}: exists already; give another name, or --overwrite to replace it.")
