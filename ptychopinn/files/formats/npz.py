"""The NPZ scan: ``diffraction`` or ``diff3d``, ``xcoords``, ``ycoords``, ``probeGuess`` and friends."""

import json
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files.atomic import writing
from ptychopinn.files.formats.npz_contract import NpzScan
from ptychopinn.files.naming import naming
from ptychopinn.files.npz_arrays import NpzArrays
from ptychopinn.files.record import INTERPOLATION, MAKE_PROBE, PROVENANCE, Reading, Record, pixel_size, start_of
from ptychopinn.files.values import Array, as_coordinates, as_modes, both
from ptychopinn.scan.frames import Counts, blocks, stored_dtype
from ptychopinn.scan.scan import TRUTH, Scan

FRAME_KEYS = ("diffraction", "diff3d")

EXPORT_KEYS = frozenset(
    ("xcoords", "ycoords", "xcoords_start", "ycoords_start", "diff3d", "bad_pixels", "probeGuess", "objectGuess")
) | {"scan_index"}
"""What ptychodus 1.7 writes for training, no more and no less."""

READ_KEYS = tuple(info.alias or name for name, info in NpzScan.model_fields.items() if name != "Y")
"""Arrays that are read; no other is unpacked."""

KEPT_ARRAYS = (
    *("loss_epochs", "loss_values", "opr_weights", "opr_modes", "object_layers", "object_layer_spacing_m"),
    *("probe_photon_counts", "probe_position_indexes", "frame_numbers"),
    *TRUTH,
)
"""Arrays of other formats, and of the truth of a simulation, that are kept unchanged."""

FRAMES_FIRST = "nyx"
"""Axes of the frames in our files; with as many frames as rows the shape alone is ambiguous."""


def read(file: Mapping[str, Array], how: Reading) -> Record:
    """Read an NPZ scan.

    Integer frames are counts. Float frames are what ``_metadata.measurement`` says.

    Raises:
        PtychoError: naming the key, what it holds and what is needed.
    """
    key = next((key for key in FRAME_KEYS if key in file), FRAME_KEYS[0])
    used = (file.keys() & READ_KEYS) - ({*FRAME_KEYS} - {key})
    with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are refused later
        found = NpzScan.model_validate({name: file[name] for name in READ_KEYS if name in used})
    about = found.metadata
    notes: list[str] = []
    positions, modes = None, found.probeGuess
    if found.xcoords is not None and found.ycoords is not None:
        positions = as_coordinates(found.ycoords, found.xcoords, "xcoords, ycoords")
    frames = getattr(found, key)
    if frames is not None and about.order != FRAMES_FIRST:
        frames, notes = _frames_first(frames, key, positions)
    exported = file.keys() == EXPORT_KEYS
    if positions is not None:
        notes += _unused(file, found)
        if exported:
            positions = positions + 0.5
            notes.append("Keys of a ptychodus export: positions moved by 1/2 px, its centre being (N - 1) / 2.")
    return Record(
        "npz",
        counts=frames,
        measurement="counts" if exported else about.measurement,
        positions=positions,
        probe=None if modes is None else as_modes(modes),
        object=found.objectGuess,
        good_pixels=found.bad_pixels,
        scan_index=found.scan_index,
        pixel_m=both(about.pixel_size_m, about.pixel_size_m),
        origin_m=about.origin_m,
        energy_eV=about.photon_energy_eV,
        distance_m=about.detector_object_distance_m,
        detector_pixel_m=about.detector_pixel_m,
        near_field=about.near_field,
        partial=False,
        extra={name: file[name] for name in KEPT_ARRAYS if name in file}
        | _plain(about.extra)
        | _made(about.provenance),
        notes=tuple(notes),
        absent=_absent(file),
        frames_key=key,
    )


def read_object_and_probe(path: Path) -> dict[str, Array]:
    """Parts to start a simulation from: any of ``object``, ``probe``, ``positions`` in an NPZ file.

    Frames are ignored.
    """
    arrays = NpzArrays(path, without=FRAME_KEYS)
    with naming(path):
        return start_of(read(arrays, Reading()))


def write_npz(path: Path, scan: Scan) -> None:
    """Write a scan as counts; whole numbers are stored as integers, and the file says what it holds.

    ``frame_numbers`` says which frames of a whole scan a part of it has.
    """
    write_npz_files({path: scan})


def write_npz_files(scans: Mapping[Path, Scan]) -> None:
    """:func:`write_npz` for several files: none gets its final name before all are written."""
    with ExitStack() as stack:
        for path, scan in scans.items():
            _write(stack.enter_context(writing(path)), record_of(scan))


def record_of(scan: Scan) -> Record:
    """The record of a scan, to write it."""
    extra: dict[str, Any] = {} if scan.frame_numbers is None else {"frame_numbers": scan.frame_numbers}
    if scan.interpolation is not None:
        extra[INTERPOLATION] = scan.interpolation
    extra |= scan.truth
    extra |= _made(scan.provenance)
    return Record(
        "npz",
        counts=scan.counts,
        positions=scan.positions,
        probe=scan.probe,
        object=scan.object,
        good_pixels=scan.good_pixels,
        pixel_m=None if scan.pixel_size_m is None else (scan.pixel_size_m, scan.pixel_size_m),
        extra=extra,
    )


def write(path: Path, record: Record) -> None:
    """Write a record frame by frame; whole numbers are stored as integers."""
    with writing(path) as temporary:
        _write(temporary, record)


def _write(path: Path, record: Record) -> None:
    arrays: dict[str, Array] = {}
    if record.positions is not None:
        arrays |= {"ycoords": record.positions[:, 0], "xcoords": record.positions[:, 1]}
    named = {"probeGuess": record.probe, "objectGuess": record.object, "scan_index": record.scan_index}
    arrays |= {key: value for key, value in named.items() if value is not None}
    if record.good_pixels is not None:
        arrays["bad_pixels"] = ~record.good_pixels
    arrays |= {key: np.asarray(record.extra[key]) for key in KEPT_ARRAYS if key in record.extra}
    arrays["_metadata"] = np.array(json.dumps(_metadata_of(record)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if record.counts is not None:
            _write_frames(archive, record.counts)
        for key, value in arrays.items():
            with archive.open(_member(key), "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(value), allow_pickle=False)


def _member(key: str) -> zipfile.ZipInfo:
    """An entry of an archive without a date: equal content makes equal files."""
    entry = zipfile.ZipInfo(f"{key}.npy")
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _write_frames(archive: zipfile.ZipFile, counts: Counts) -> None:
    dtype = stored_dtype(counts)
    with archive.open(_member("diffraction"), "w", force_zip64=True) as stream:
        header = {"descr": dtype.str, "fortran_order": False, "shape": tuple(counts.shape)}
        np.lib.format.write_array_header_2_0(stream, header)
        for block in blocks(counts.shape):
            stream.write(np.ascontiguousarray(counts[block], dtype=dtype).data)


def _metadata_of(record: Record) -> dict[str, Any]:
    """Content of ``_metadata``; placeholders are omitted."""
    counts = record.counts is not None and (record.measurement == "counts" or record.counts.dtype.kind in "ui")
    known: dict[str, Any] = {"measurement": "counts" if counts else record.measurement, "order": FRAMES_FIRST}
    if not record.made_up:
        known |= {
            "pixel_size_m": pixel_size(record),
            "photon_energy_eV": record.energy_eV,
            "detector_object_distance_m": record.distance_m,
            "detector_pixel_m": record.detector_pixel_m,
            "origin_m": record.origin_m,
        }
    known |= {"near_field": record.near_field} | _made(record.extra.get(PROVENANCE))
    known["extra"] = _plain({key: value for key, value in record.extra.items() if key != "made_up_geometry"}) or None
    return {key: value for key, value in known.items() if value is not None}


def _absent(file: Mapping[str, Array]) -> dict[str, str]:
    """Sentences for the parts that the file lacks."""
    makes = {"objectGuess", "probeGuess"} <= file.keys()
    hint = " 'ptychopinn simulate OUT.npz --from FILE' makes frames." if makes else ""
    missing = next((name for name in ("ycoords", "xcoords") if name not in file), "xcoords")
    return {
        "counts": f"neither diffraction nor diff3d is there; found: {shortened(', '.join(sorted(file)))}.{hint}",
        "positions": f"{missing}: not there; positions in pixels are needed.",
        "probe": f"probeGuess: not there; the illumination is needed: {MAKE_PROBE}",
    }


def _plain(extra: Any) -> dict[str, Any]:
    """Texts and numbers of other formats."""
    values = extra if isinstance(extra, Mapping) else {}
    return {key: value for key, value in values.items() if isinstance(value, str | float | int)}


def _made(provenance: Any) -> dict[str, Any]:
    """How a file was made, under its key; empty where it does not say."""
    return {PROVENANCE: dict(provenance)} if isinstance(provenance, Mapping) else {}


def _frames_first(frames: Array, key: str, positions: Array | None) -> tuple[Array, list[str]]:
    """Frames (n, N, N); a legacy stack (N, N, n), recognised by the number of positions, is transposed."""
    shape, count = frames.shape, None if positions is None else len(positions)
    if shape[2] != count or shape[0] != shape[1]:
        return frames, []
    if shape[0] == count:
        raise PtychoError(
            f"{key}: shape {shape} with {count} positions is ambiguous: frames first (n, N, N) or, in the legacy "
            "order, frames last (N, N, n); drop or add a frame, or a position, to tell which."
        )
    legacy = f"{key}: shape {shape} with {count} positions is a legacy stack (N, N, n): transposed to (n, N, N)."
    return np.ascontiguousarray(frames.transpose(2, 0, 1)), [legacy]


def _unused(file: Mapping[str, Array], found: NpzScan) -> list[str]:
    """A note for every key of the file that is not used."""
    notes = ["Y: true patches are not read; they are cut from objectGuess."] if "Y" in file else []
    if unknown := sorted(file.keys() - {*FRAME_KEYS, *EXPORT_KEYS, *KEPT_ARRAYS, "Y", "_metadata"}):
        shown = ", ".join(key if key.isprintable() else ascii(key) for key in unknown)
        notes.append(f"Not read, of unknown meaning: {shortened(shown)}.")
    for key in ("xcoords", "ycoords"):
        used, start = getattr(found, key), getattr(found, f"{key}_start")
        if start is None:
            continue
        if start.shape != used.shape:
            raise PtychoError(f"{key}_start: shape {start.shape}; one number per frame is needed.")
        if not np.allclose(start, used, rtol=0, atol=1e-6):
            notes.append(f"{key}_start: differs from {key}, which is used.")
    return notes
