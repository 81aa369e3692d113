"""A scan, or its parts, from a file of any format."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import DataConfig
from ptychopinn.errors import PtychoError, naming
from ptychopinn.files import hdf5
from ptychopinn.files.formats import hdf5_map
from ptychopinn.files.formats.hdf5_map import read_map
from ptychopinn.files.formats.npz import read_object_and_probe
from ptychopinn.files.formats.registry import Format, named, recognise
from ptychopinn.files.geometry import with_pixel
from ptychopinn.files.record import Reading, Record, as_far_as_complete, near_field, scan_of, start_of
from ptychopinn.scan.beam import centre_of
from ptychopinn.scan.checks import leading_on_canvas
from ptychopinn.scan.frames import select
from ptychopinn.scan.grouping import choose_frames
from ptychopinn.scan.scan import Scan

READ_ONCE = 2**26
"""Bytes up to which HDF5 frames are read at once by a command that seldom needs them twice."""


def open_scan(path: Path, data: DataConfig, once: bool = False) -> Scan:
    """:func:`read_scan` with a settings object; ``once`` when frames are looked at once or twice only."""
    how = _how(data)
    return scan_in(path, read(path, how._replace(in_memory=READ_ONCE) if once else how), data)


def open_record(path: Path, data: DataConfig) -> Record:
    """All that a file of any format holds, see :mod:`ptychopinn.files.formats.registry`."""
    return read(path, _how(data))


def check_growing(path: Path, data: DataConfig) -> None:
    """Refuse to follow a file of a format that does not grow, and settings that need all frames.

    Raises:
        PtychoError: naming the file or the setting.
    """
    flags = {"n_subsample": "--n-subsample", "nphotons": "--nphotons", "frames": "--frames", "drop_dark": "drop_dark"}
    for name, flag in flags.items():
        if getattr(data, name) not in (None, False):
            raise PtychoError(f"--follow: {flag} needs a complete scan; omit it.")
    if data.centre == "auto":
        raise PtychoError("--follow: --centre auto needs a complete scan; give the pixel, --centre y,x.")
    if path.is_dir():
        raise PtychoError(f"{path}: is a folder; the HDF5 file to which the detector appends is needed.")
    if not path.is_file():
        raise PtychoError(f"{path}: no such file; start after the detector has made it.")
    how = _how(data)
    if how.map is not None:
        read_map(how.map)
    elif (found := _format(path, how)).name != "cxi":
        raise PtychoError(f"{path}: {found.text}; only a CXI file, or any HDF5 file with --map, is followed.")
    if how.probe is not None:
        _probe_of(how.probe)


def open_growing(path: Path, data: DataConfig) -> tuple[Scan, PtychoError | None]:
    """:func:`open_scan` for a file to which a detector still appends.

    Returns:
        The frames that have a usable position by now, and the error of the next one; None when there is none.

    Raises:
        PtychoError: naming what is missing yet, or the error of the first frame.
        IncurableError: for an error that no further frame can cure.
    """
    record = read(path, _how(data)._replace(in_memory=0, growing=True))
    scan, refused = scan_in(path, record, data), record.refused
    count, wide = leading_on_canvas(scan)
    refused = wide or refused
    return scan.subset(slice(0, count)), None if refused is None else refused.of(path)


def _how(data: DataConfig) -> Reading:
    layout, frames, probe = (None if name is None else Path(name) for name in (data.map, data.frames, data.probe))
    return Reading(data.format, layout, frames, probe, data.pixel_size)


def scan_in(path: Path, record: Record, data: DataConfig) -> Scan:
    """The scan of a record, prepared as the settings ask; the second half of :func:`open_scan`."""
    with naming(path):
        scan = scan_of(record, data.measurement, data.nphotons, data.scan_index)
    if data.every > 1:
        scan = scan.subset(slice(None, None, data.every))
    if data.n_subsample is not None:
        scan = scan.subset(choose_frames(len(scan), data.n_subsample, data.subsample_seed, data.sequential_sampling))
    scan = scan.move(swap_xy=data.swap_xy, flip_x=data.flip_x, flip_y=data.flip_y)
    with naming(path):
        scan = scan if data.centre == "keep" else scan.centred(*centre_of(scan, data.centre))
        scan = scan if data.crop is None else scan.crop(data.crop)
        scan = scan.mask_probe(data.probe_mask_diameter) if data.probe_mask else scan
        return scan.without_dark() if data.drop_dark else scan


def start_in(path: Path) -> dict[str, np.ndarray]:
    """Any of object, probe and positions that a file of any format holds."""
    if recognise(path).name == "npz":
        return read_object_and_probe(path)
    with naming(path):
        return start_of(read(path))


def read(path: Path, how: Reading | None = None) -> Record:
    """Read what a file of any format holds; large HDF5 frames stay in it.

    Args:
        path: file.
        how: to read it.

    Raises:
        PtychoError: naming the file, what it holds and what is needed.
    """
    how = how or Reading()
    if how.map is None:
        record = _format(path, how).open(path, how)
    else:
        layout = read_map(how.map)
        with hdf5.opened(path) as file:
            record = hdf5_map.read(file, how, layout)
    if how.growing:
        record = as_far_as_complete(record)
    if how.frames is not None:
        record = _with_frames(record, read(how.frames, Reading(in_memory=how.in_memory)), path, how.frames)
    record = replace(with_pixel(record, how.pixel_size), near_field=near_field(record))
    if how.probe is not None:
        record = replace(record, probe=_probe_of(how.probe), notes=(*record.notes, f"Probe of {how.probe}."))
    return record


def _format(path: Path, how: Reading) -> Format:
    return recognise(path) if how.format is None else named(how.format, "--format")


def _probe_of(path: Path) -> NDArray[np.complex64]:
    probe = read(path).probe
    if probe is None:
        raise PtychoError(f"--probe {path}: holds no probe.")
    return probe


def _with_frames(record: Record, other: Record, path: Path, source: Path) -> Record:
    """A record with the frames of another file, paired by their numbers where both have them, else by order."""
    if other.counts is None:
        raise PtychoError(f"--frames {source}: holds no frames.")
    if record.positions is None:
        raise PtychoError(f"{path}: holds no positions to go with the frames of {source}.")
    here, there = record.extra.get("probe_position_indexes"), other.extra.get("indexes")
    counts, positions, extra = other.counts, record.positions, dict(record.extra)
    if here is not None and there is not None:
        both, mine, theirs = np.intersect1d(here, there, return_indices=True)
        if not len(both):
            raise PtychoError(f"--frames {source}: none of its frame numbers has a position in {path}.")
        counts, positions, extra["probe_position_indexes"] = select(counts, theirs), positions[mine], both
    elif len(counts) != len(positions):
        raise PtychoError(f"--frames {source}: {len(counts)} frames for {len(positions)} positions of {path}.")
    if record.format == "fold_slice":
        # The file of positions does not know the frame size; half of it lies between corner and centre of a patch.
        half = counts.shape[-1] / 2
        positions = positions + half
        y, x = np.array(record.origin_m) - half * np.array(record.pixel_m)
        record = replace(record, metric=True, origin_m=(float(y), float(x)))
    return replace(
        record,
        counts=counts,
        measurement=other.measurement,
        positions=positions,
        good_pixels=other.good_pixels if other.good_pixels is not None else record.good_pixels,
        detector_pixel_m=other.detector_pixel_m or record.detector_pixel_m,
        extra=extra,
        frames_key=other.frames_key,
    )
