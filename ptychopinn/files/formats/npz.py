"""The NPZ scan: ``diffraction`` or ``diff3d``, ``xcoords``, ``ycoords``, ``probeGuess`` and friends."""

import errno
import json
import struct
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files.atomic import writing
from ptychopinn.files.record import (
    INTERPOLATION,
    Array,
    Record,
    as_column,
    as_complex,
    as_good,
    as_modes,
    checked_pixel,
    pixel_size,
    scan_of,
    start_of,
)
from ptychopinn.scan.frames import Counts, blocks, stored_dtype
from ptychopinn.scan.scan import Scan

FRAME_KEYS = ("diffraction", "diff3d")

EXPORT_KEYS = frozenset(
    ("xcoords", "ycoords", "xcoords_start", "ycoords_start", "diff3d", "bad_pixels", "probeGuess", "objectGuess")
) | {"scan_index"}
"""What ptychodus 1.7 writes for training, no more and no less."""

KEPT_ARRAYS = (
    *("loss_epochs", "loss_values", "opr_weights", "opr_modes", "object_layers", "object_layer_spacing_m"),
    *("probe_photon_counts", "probe_position_indexes", "frame_numbers"),
)
"""Arrays of other formats that are kept as they are."""

FRAMES_FIRST = "nyx"
"""What our files say of their frames: as many frames as rows would leave it open."""

MAX_NUMBER = 1e300

METADATA = """a text such as {"measurement": "counts"} is needed, or no such key."""

KNOWN = EXPORT_KEYS | {*FRAME_KEYS, *KEPT_ARRAYS, "Y", "_metadata"}

UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, struct.error)
"""What a damaged ZIP archive raises."""


def read_npz(
    path: Path, measurement: str | None = None, nphotons: float | None = None, scan_index: int | None = None
) -> Scan:
    """Read a scan.

    Integer frames are counts. Float frames are what ``measurement``, or else ``_metadata.measurement``, says;
    with neither they are amplitudes (the square root of counts). ``nphotons`` rescales amplitudes, whose unit
    is often unknown, to that many photons per frame.

    Args:
        path: NPZ file.
        measurement: "counts" or "amplitude"; overrules the file for float frames.
        nphotons: mean photons per frame of an amplitude file.
        scan_index: which scan of a file that holds several, by its key ``scan_index``.

    Raises:
        PtychoError: naming the file, the key, what it holds and what is needed.
    """
    record = read_record(path)
    try:
        return scan_of(record, measurement, nphotons, scan_index)
    except PtychoError as error:
        raise PtychoError(f"{path}: {error}") from None


def read_object_and_probe(path: Path) -> dict[str, NDArray[Any]]:
    """Read what a simulation starts from: any of ``object``, ``probe``, ``positions`` that an NPZ file holds.

    The frames, if there are any, are not looked at.
    """
    arrays = load_arrays(path)
    try:
        return start_of(_record({key: value for key, value in arrays.items() if key not in FRAME_KEYS}))
    except PtychoError as error:
        raise PtychoError(f"{path}: {error}") from None


def read_record(path: Path) -> Record:
    """Read all that an NPZ scan holds.

    Raises:
        PtychoError: naming the file, the key, what it holds and what is needed.
    """
    arrays = load_arrays(path)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return _record(arrays)
    except PtychoError as error:
        raise PtychoError(f"{path}: {error}") from None


def keys_of(path: Path) -> set[str]:
    """Names of the arrays in an NPZ file, none of them read; empty where the file cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (*UNREADABLE, NotImplementedError):
        return set()


def write_npz(path: Path, scan: Scan) -> None:
    """Write a scan as counts; whole numbers are stored as integers, and the file says what it holds.

    Of a part of a scan, ``frame_numbers`` says which frames of the whole one it has.
    """
    write_npz_files({path: scan})


def write_npz_files(scans: Mapping[Path, Scan]) -> None:
    """:func:`write_npz` for several files: none gets its final name before all are written."""
    with ExitStack() as stack:
        for path, scan in scans.items():
            _write(stack.enter_context(writing(path)), record_of(scan))


def record_of(scan: Scan) -> Record:
    """What a scan has for a file."""
    extra: dict[str, Any] = {} if scan.frame_numbers is None else {"frame_numbers": scan.frame_numbers}
    if scan.interpolation is not None:
        extra[INTERPOLATION] = scan.interpolation
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


def write_record(path: Path, record: Record) -> None:
    """Write what is known, frame by frame; float frames that are whole numbers are stored as integers."""
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
    """An entry of an archive without the time of day: equal content makes equal files."""
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
    """What ``_metadata`` says; placeholders are left out."""
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
    known["near_field"] = record.near_field
    known["extra"] = _plain({key: value for key, value in record.extra.items() if key != "made_up_geometry"}) or None
    return {key: value for key, value in known.items() if value is not None}


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an NPZ file; pickled objects are refused."""
    try:
        with path.open("rb") as stream:
            archive = _open(stream)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise PtychoError(f"{path}: holds one bare array; an NPZ file with named arrays is needed.")
            with archive:
                return {key: _load(archive, key, path) for key in archive.files}
    except FileNotFoundError:
        raise PtychoError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise PtychoError(f"{path}: is a folder; an NPZ file is needed.") from None
    except UNREADABLE as error:
        # numpy takes anything unknown for a pickle and offers to load it unsafely: not our advice.
        reason = "it is no ZIP archive of arrays" if "pickle" in str(error) else _first_line(error)
        raise PtychoError(f"{path}: is no readable NPZ file ({reason}).") from None


def _open(stream: IO[bytes]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's remarks on files of old Pythons
        return np.load(stream, allow_pickle=False)


def _load(archive: Any, key: str, path: Path) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(archive[key])
    except Exception as error:  # noqa: BLE001 - a damaged member can fail inside zipfile, zlib or numpy
        reason = "pickled objects are not read" if "pickle" in str(error).lower() else _first_line(error)
        raise PtychoError(f"{path}: {key}: cannot be read: {reason}.") from None


def _first_line(error: Exception) -> str:
    if isinstance(error, zipfile.BadZipFile) and "CRC" not in str(error):
        return "the archive is damaged or cut short"
    if isinstance(error, OSError) and error.strerror:
        return "the archive is damaged" if error.errno == errno.EINVAL else error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _record(arrays: dict[str, Array]) -> Record:
    positions, metadata = _positions(arrays), _metadata(arrays)
    key = next((key for key in FRAME_KEYS if key in arrays), None)
    told = metadata.get("order") == FRAMES_FIRST
    frames, notes = (None, []) if key is None else _frames(arrays[key], key, None if told else positions)
    if positions is not None:
        notes += _left_out(arrays, positions)
    exported = arrays.keys() == EXPORT_KEYS
    if exported and positions is not None:
        positions = positions + 0.5
        notes.append("Keys of a ptychodus export: positions moved by 1/2 px, its centre being (N - 1) / 2.")
    size = metadata.get("pixel_size_m")
    pixel = None if size is None else checked_pixel("_metadata: pixel_size_m", size)
    missing = (name for name in ("ycoords", "xcoords") if name not in arrays)
    return Record(
        "npz",
        counts=frames,
        measurement="counts" if exported else _measurement(metadata),
        positions=positions,
        probe=as_modes(as_complex(arrays["probeGuess"], "probeGuess")) if "probeGuess" in arrays else None,
        object=as_complex(arrays["objectGuess"], "objectGuess") if "objectGuess" in arrays else None,
        good_pixels=as_good(arrays["bad_pixels"]) if "bad_pixels" in arrays else None,
        scan_index=arrays.get("scan_index"),
        pixel_m=None if pixel is None else (pixel, pixel),
        origin_m=_pair(metadata, "origin_m"),
        energy_eV=_number(metadata, "photon_energy_eV"),
        distance_m=_number(metadata, "detector_object_distance_m"),
        detector_pixel_m=_pair(metadata, "detector_pixel_m"),
        near_field=_text(metadata, "near_field"),
        partial=False,
        extra={name: arrays[name] for name in KEPT_ARRAYS if name in arrays} | _plain(metadata.get("extra")),
        notes=tuple(notes),
        absent={
            "counts": f"neither diffraction nor diff3d is there; found: {shortened(', '.join(sorted(arrays)))}."
            + (
                " 'ptychopinn simulate OUT.npz --from FILE' makes frames."
                if {"objectGuess", "probeGuess"} <= arrays.keys()
                else ""
            ),
            "positions": f"{next(missing, 'xcoords')}: not there; positions in pixels are needed.",
            "probe": "probeGuess: not there; the illumination is needed, give it by --probe FILE.",
        },
        frames_key=key or "diffraction",
    )


def _metadata(arrays: dict[str, Array]) -> dict[str, Any]:
    """The object that ``_metadata`` holds as JSON, empty where there is none.

    Raises:
        PtychoError: when it is something else: it decides whether frames are counts.
    """
    if "_metadata" not in arrays:
        return {}
    stored = arrays["_metadata"]
    if stored.size != 1 or stored.dtype.kind not in "US":
        raise PtychoError(f"_metadata: shape {stored.shape}, dtype {stored.dtype}; {METADATA}")
    text = stored.item()
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise PtychoError(f"_metadata: {shortened(repr(text))} is no JSON object; {METADATA}")
    return values


def _measurement(metadata: Mapping[str, Any]) -> str | None:
    told = metadata.get("measurement")
    return None if told is None else str(told)


def _number(metadata: Mapping[str, Any], key: str) -> float | None:
    value = metadata.get(key)
    return None if value is None else _real(value, key, value, "a number is")


def _real(value: Any, key: str, given: Any, need: str) -> float:
    """A number of the metadata that float can hold."""
    if not isinstance(value, float | int) or isinstance(value, bool) or not abs(value) < MAX_NUMBER:
        raise PtychoError(f"_metadata: {key} {shortened(repr(given))}; {need} needed.")
    return float(value)


def _pair(metadata: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    value = metadata.get(key)
    if value is None:
        return None
    first, second = value if isinstance(value, list) and len(value) == 2 else (None, None)
    return _real(first, key, value, "two numbers are"), _real(second, key, value, "two numbers are")


def _text(metadata: Mapping[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    if value is not None and not isinstance(value, str):
        raise PtychoError(f"_metadata: {key} {shortened(repr(value))}; a text is needed.")
    return value


def _plain(extra: Any) -> dict[str, Any]:
    """What other formats know, as far as it is text and numbers."""
    if not isinstance(extra, dict):
        return {}
    return {key: value for key, value in extra.items() if isinstance(value, str | float | int)}


def _frames(frames: Array, key: str, positions: NDArray[np.float64] | None) -> tuple[Array, list[str]]:
    """Frames (n, N, N); a legacy stack (N, N, n) is told by the number of positions and transposed."""
    shape = frames.shape
    if frames.ndim != 3 or frames.dtype.kind not in "uif":
        raise PtychoError(f"{key}: shape {shape}, dtype {frames.dtype}; real frames (n, N, N) are needed.")
    count = None if positions is None else len(positions)
    if shape[2] != count or shape[0] != shape[1]:
        return frames, []
    if shape[0] == count:
        raise PtychoError(
            f"{key}: shape {shape} with {count} positions is ambiguous: frames first (n, N, N) or, in the legacy "
            "order, frames last (N, N, n); drop or add a frame, or a position, to tell which."
        )
    legacy = f"{key}: shape {shape} with {count} positions is a legacy stack (N, N, n): transposed to (n, N, N)."
    return np.ascontiguousarray(frames.transpose(2, 0, 1)), [legacy]


def _left_out(arrays: dict[str, Array], positions: NDArray[np.float64]) -> list[str]:
    """A line for every key of the contract that is there but not used."""
    notes = ["Y: true patches are not read; they are cut from objectGuess."] if "Y" in arrays else []
    if unknown := sorted(arrays.keys() - KNOWN):
        shown = ", ".join(key if key.isprintable() else ascii(key) for key in unknown)
        notes.append(f"Not read, of unknown meaning: {shortened(shown)}.")
    for key, column in (("xcoords_start", positions[:, 1]), ("ycoords_start", positions[:, 0])):
        if key not in arrays:
            continue
        start = arrays[key]
        if start.shape != column.shape or start.dtype.kind not in "uif":
            raise PtychoError(f"{key}: shape {start.shape}, dtype {start.dtype}; one number per frame is needed.")
        if not np.allclose(start, column, rtol=0, atol=1e-6):
            notes.append(f"{key}: differs from {key.removesuffix('_start')}, which is used.")
    return notes


def _positions(arrays: dict[str, Array]) -> NDArray[np.float64] | None:
    if not {"xcoords", "ycoords"} <= arrays.keys():
        return None
    y, x = (as_column(arrays[key], key) for key in ("ycoords", "xcoords"))
    if len(x) != len(y):
        raise PtychoError(f"xcoords, ycoords: {len(x)} and {len(y)} entries; equal numbers are needed.")
    if not len(x):
        raise PtychoError("xcoords, ycoords: no entries; one number per frame is needed.")
    return np.stack([y, x], axis=-1)
