"""A scan, or its parts, from a file of any format."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import DataConfig
from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.files import frames_files, hdf5
from ptychopinn.files.conventions.cropping import as_square
from ptychopinn.files.conventions.measurement import with_measurement
from ptychopinn.files.detector.examined import Examined, examined
from ptychopinn.files.formats import hdf5_map
from ptychopinn.files.formats.hdf5_map import read_map
from ptychopinn.files.formats.npz import read_object_and_probe
from ptychopinn.files.formats.registry import Format, named, recognise
from ptychopinn.files.geometry.electrons import as_electrons, as_read, check_used, with_lens_probe
from ptychopinn.files.geometry.microscope import Microscope
from ptychopinn.files.geometry.pixels import with_pixel
from ptychopinn.files.naming import check_plain, naming
from ptychopinn.files.output_folder import file_in
from ptychopinn.files.record import Reading, Record, as_far_as_complete, near_field, scan_of, start_of
from ptychopinn.files.results.own import FRAME_NUMBERS, OWN, numbers_of
from ptychopinn.memory import in_gib, memory
from ptychopinn.scan.arrays import even_square
from ptychopinn.scan.beam import centre_of
from ptychopinn.scan.frames import select
from ptychopinn.scan.grouping import choose_frames
from ptychopinn.scan.probe.light import padded
from ptychopinn.scan.probe_scale import with_probe_scale
from ptychopinn.scan.scan import Scan

Spare = NDArray[np.complex64]

READ_ONCE = 2**26
"""Bytes up to which HDF5 frames are read at once by a command that seldom needs them twice."""


def open_scan(
    path: Path, data: DataConfig, once: bool = False, spare: Spare | None = None, held: float | None = None
) -> Scan:
    """:func:`read_scan` with a settings object.

    Args:
        path: scan file.
        data: how to read it.
        once: whether frames are looked at once or twice only.
        spare: probe (m, N, N) for frames of N pixels, after any crop, where no file gives one.
        held: bytes up to which HDF5 frames are kept in memory; None: the usual ones.
    """
    how = how_to_read(data)
    most = min(how.in_memory, READ_ONCE if once else how.in_memory, math.inf if held is None else held)
    record = read(path, how._replace(in_memory=max(1, int(most))))
    return scan_in(path, *lit(path, record, data, spare), once)


def open_record(path: Path, data: DataConfig) -> Record:
    """All that a file of any format holds, see :mod:`ptychopinn.files.formats.registry`."""
    return read(path, how_to_read(data))


def how_to_read(data: DataConfig) -> Reading:
    """What the settings say of reading a file."""
    layout, frames, probe = (None if name is None else Path(name) for name in (data.map, data.frames, data.probe))
    microscope = Microscope(**{name: getattr(data, name) for name in Microscope._fields})
    return Reading(
        data.format,
        layout,
        frames,
        probe,
        data.pixel_size,
        microscope=microscope,
        allow_external=data.allow_external,
        measurement=data.measurement,
    )


def files_of(data: DataConfig) -> list[Path]:
    """The files that a scan is read from besides its own: map, frames, probe, mask and list of frames."""
    how, mask = how_to_read(data), data.mask or ""
    # A mask is [auto:|inverted:]FILE[:dataset].
    masks = (mask, mask.partition(":")[2], mask.rpartition(":")[0], mask.partition(":")[2].rpartition(":")[0])
    # Frames are FILE[:dataset].
    frames = None if how.frames is None or how.frames.is_file() else Path(str(how.frames).rpartition(":")[0])
    given = [
        how.map,
        frames or how.frames,
        how.probe,
        next((Path(text) for text in masks if Path(text).is_file()), None),
    ]
    given += [None if data.drop_frames is None else Path(data.drop_frames)]
    return [path for path in given if path is not None and path.is_file()]


def lit(path: Path, record: Record, data: DataConfig, spare: Spare | None) -> tuple[Record, DataConfig]:
    """A record without a probe with the spare one, and settings that leave that as it is.

    Raises:
        PtychoError: when it is of another size than the frames.
    """
    if spare is None or record.probe is not None or record.counts is None:
        return record, data
    size, edge = spare.shape[-1], record.counts.shape[-1]
    if size != (data.crop or edge):
        raise IncurableError(
            f"{path}: holds no probe, and that of the run has {size} pixels for frames of {data.crop or edge}; give "
            f"one by --probe FILE{f', or --crop {size}' if size < edge else ''}."
        )
    # As many frequencies as the frames have pixels: a crop of the detector then leaves the probe of the run.
    whole = padded(spare, edge) if size < edge else spare
    note = f"{path.name} holds no probe: the one that the run was trained with is taken."
    record = replace(record, probe=whole, notes=(*record.notes, note))
    return record, data.model_copy(update={"probe_mask": False})


def scan_in(path: Path, record: Record, data: DataConfig, once: bool = False) -> Scan:
    """The scan of a record, prepared as the settings ask; the second half of :func:`open_scan`."""
    with naming(path):
        return scan_of_examined(path, examined(record, data, once), data)


def open_unlit(path: Path, data: DataConfig) -> tuple[Record, Scan, bool]:
    """A file whose probe may be missing: its record, its scan, and whether the scan's probe is that of a file.

    Where no file has one, the probe of the scan is a single lit pixel of the power of the brightest frames.
    """
    record = open_record(path, data)
    has_probe = record.probe is not None
    if record.counts is None or has_probe or record.counts.ndim != 3:
        return record, scan_in(path, record, data), has_probe
    height, width = record.counts.shape[1:]
    if data.crop is None and not even_square((1, height, width)):
        data = data.model_copy(update={"crop": min(height, width) // 2 * 2})
    with naming(path):
        found = examined(record, data)
        point = np.zeros((1, height, width), np.complex128)
        point[0, height // 2, width // 2] = 1.0
        found = found._replace(record=replace(found.record, probe=point))
    scan = scan_of_examined(path, found, data)
    return record, replace(scan, notes=tuple(note for note in scan.notes if not note.startswith("Probe of "))), False


def scan_of_examined(path: Path, found: Examined, data: DataConfig) -> Scan:
    """The scan of a record whose detector was looked at."""
    with naming(path):
        scan = scan_of(as_square(found.record, data.crop), data.measurement, data.nphotons, data.scan_index)
        # Before frames are chosen: all parts of a scan get one scale.
        scan = with_probe_scale(replace(scan, health=found.health), data.probe_scale)
    numbers = scan.frame_numbers if found.numbers is None else found.numbers[scan.numbers]
    scan = replace(scan, frame_numbers=numbers, notes=(*scan.notes, *found.notes))
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


def start_in(path: Path, allow_external: bool = False) -> dict[str, np.ndarray]:
    """Any of object, probe and positions that a file of any format holds."""
    if recognise(path).name == "npz":
        return read_object_and_probe(path)
    with naming(path):
        return start_of(read(path, Reading(allow_external=allow_external)))


def read(path: Path, how: Reading | None = None) -> Record:
    """Read what a file of any format holds; large HDF5 frames stay in it.

    Args:
        path: file.
        how: to read it.

    Raises:
        PtychoError: naming the file, what it holds and what is needed.
    """
    how = how or Reading()
    path = file_in(path) or path
    check_plain(path)
    try:
        record = _open(path, how)
    except MemoryError as error:
        raise PtychoError(f"{path}: does not fit in memory, {in_gib(memory())} are there: {error}.") from None
    if how.growing:
        record = as_far_as_complete(record)
    if how.frames is not None:
        other = _frames_of(how)
        record = _with_frames(record, other, path, how.frames)
    with naming(path):
        check_used(record, how.microscope)
        record = with_pixel(as_electrons(as_read(record), how.microscope), how.pixel_size)
        if how.microscope.semiangle is None:  # a probe is trusted, also one that is made of the lens
            record = replace(record, near_field=near_field(record))
        record = with_lens_probe(record, how.microscope)
    if how.probe is not None:
        probe, notes = probe_of(how.probe, how.allow_external)
        record = replace(record, probe=probe, notes=(*record.notes, f"Probe of {how.probe}.", *notes))
    return with_measurement(record, how.growing) if how.measurement is None else record


def _open(path: Path, how: Reading) -> Record:
    if how.map is None:
        return format_of(path, how).open(path, how)
    layout = read_map(how.map)
    with hdf5.opened(path, how.allow_external) as file:
        return hdf5_map.read(file, how, layout)


def format_of(path: Path, how: Reading) -> Format:
    """The format that the user names, or that of the file."""
    return recognise(path) if how.format is None else named(how.format, "--format")


def _frames_of(how: Reading) -> Record:
    """The record of ``--frames``."""
    assert how.frames is not None
    plain = frames_files.read(how.frames, how.in_memory, how.allow_external)
    return plain or read(how.frames, Reading(in_memory=how.in_memory, allow_external=how.allow_external))


def probe_of(path: Path, allow_external: bool) -> tuple[NDArray[np.complexfloating[Any]], list[str]]:
    """The probe of a file, and what its reader says of it."""
    record = read(path, Reading(allow_external=allow_external))
    if record.probe is None:
        raise PtychoError(f"--probe {path}: holds no probe.")
    return record.probe, [note for note in record.notes if note.startswith("probe: ")]


def _with_frames(record: Record, other: Record, path: Path, source: Path) -> Record:
    """A record with the frames of another file, paired by their numbers where both have them, else by order."""
    if other.counts is None:
        raise PtychoError(f"--frames {source}: holds no frames.")
    if record.positions is None:
        raise PtychoError(f"{path}: holds no positions to go with the frames of {source}.")
    here, there = record.extra.get("probe_position_indexes"), other.extra.get("indexes")
    if record.format in OWN:
        here, there = numbers_of(record, other, f"--frames {source}")
    counts, positions, extra = other.counts, record.positions, dict(record.extra)
    if here is not None and there is not None:
        both, mine, theirs = np.intersect1d(here, there, return_indices=True)
        if not len(both):
            raise PtychoError(f"--frames {source}: none of its frame numbers has a position in {path}.")
        counts, positions = select(counts, theirs), positions[mine]
        extra[FRAME_NUMBERS if record.format in OWN else "probe_position_indexes"] = both
    elif len(counts) != len(positions):
        raise PtychoError(f"--frames {source}: {len(counts)} frames for {len(positions)} positions of {path}.")
    if record.format == "fold_slice" and record.counts is None:
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
        probe=record.probe if record.probe is not None else other.probe,
        pixel_m=record.pixel_m or other.pixel_m,
        energy_eV=record.energy_eV or other.energy_eV,
        distance_m=record.distance_m or other.distance_m,
        good_pixels=other.good_pixels if other.good_pixels is not None else record.good_pixels,
        detector_pixel_m=other.detector_pixel_m or record.detector_pixel_m,
        extra=extra,
        frames_key=other.frames_key,
    )
