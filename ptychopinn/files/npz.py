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
from ptychopinn.scan import Scan, check_object, check_positions, check_probe

FRAME_KEYS = ("diffraction", "diff3d")

UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, struct.error)
"""What a damaged ZIP archive raises."""

SMALLEST_PIXEL, LARGEST_PIXEL = 1e-15, 1.0
"""Metres between which an object pixel can be."""


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
    arrays = load_arrays(path)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # Scan refuses what is not finite
            return _one_scan(_scan(arrays, measurement, nphotons), arrays, scan_index)
    except PtychoError as error:
        raise PtychoError(f"{path}: {error}") from None


def read_object_and_probe(path: Path) -> dict[str, NDArray[Any]]:
    """Read what a simulation starts from: any of ``object``, ``probe``, ``positions`` that an NPZ file holds.

    The frames, if there are any, are not looked at.
    """
    arrays = load_arrays(path)
    found: dict[str, NDArray[Any]] = {}
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # the checks refuse what is not finite
            if "objectGuess" in arrays:
                found["object"] = _complex(arrays, "objectGuess")
                check_object(found["object"])
            if "probeGuess" in arrays:
                found["probe"] = _probe(arrays)
                check_probe(found["probe"])
            if "xcoords" in arrays and "ycoords" in arrays:
                found["positions"] = _positions(arrays)
                check_positions(found["positions"])
    except PtychoError as error:
        raise PtychoError(f"{path}: {error}") from None
    return found


def write_npz(path: Path, scan: Scan) -> None:
    """Write a scan as counts; whole numbers are stored as integers, and the file says what it holds.

    Of a part of a scan, ``frame_numbers`` says which frames of the whole one it has.
    """
    write_npz_files({path: scan})


def write_npz_files(scans: Mapping[Path, Scan]) -> None:
    """:func:`write_npz` for several files: none gets its final name before all are written."""
    with ExitStack() as stack:
        for path, scan in scans.items():
            with stack.enter_context(writing(path)).open("wb") as stream:
                np.savez_compressed(stream, **_arrays(scan))  # type: ignore[arg-type]


def _arrays(scan: Scan) -> dict[str, NDArray[Any]]:
    counts = scan.counts
    if counts.dtype.kind == "f" and float(counts.max()) < 2**32 and bool((counts == np.rint(counts)).all()):
        counts = counts.astype(np.uint16 if counts.max() < 2**16 else np.uint32)
    metadata = {"measurement": "counts", "pixel_size_m": scan.pixel_size_m}
    optional = {
        "objectGuess": scan.object,
        "bad_pixels": None if scan.good_pixels is None else ~scan.good_pixels,
        "frame_numbers": scan.frame_numbers,
    }
    return {
        "diffraction": counts,
        "ycoords": scan.positions[:, 0],
        "xcoords": scan.positions[:, 1],
        "probeGuess": scan.probe,
        "_metadata": np.array(json.dumps({key: value for key, value in metadata.items() if value is not None})),
        **{key: array for key, array in optional.items() if array is not None},
    }


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


def _scan(arrays: dict[str, NDArray[Any]], measurement: str | None, nphotons: float | None) -> Scan:
    frame_key = next((key for key in FRAME_KEYS if key in arrays), None)
    if frame_key is None:
        raise PtychoError(f"neither diffraction nor diff3d is there; found: {shortened(', '.join(sorted(arrays)))}.")
    positions, metadata = _positions(arrays), _metadata(arrays)
    frames, reading = _frames(arrays[frame_key], frame_key, len(positions))
    bad_pixels = _bad_pixels(arrays, frames)
    counts, notes = _counts(frames, frame_key, metadata, measurement, nphotons)
    return Scan(
        counts=counts,
        positions=positions,
        probe=_probe(arrays),
        object=_complex(arrays, "objectGuess") if "objectGuess" in arrays else None,
        good_pixels=None if bad_pixels is None else ~bad_pixels,
        pixel_size_m=_pixel_size(metadata),
        notes=(*reading, *_left_out(arrays, positions), *notes),
    )


def _metadata(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    if "_metadata" not in arrays:
        return {}
    try:
        values = json.loads(str(arrays["_metadata"]))
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _pixel_size(metadata: dict[str, Any]) -> float | None:
    value = metadata.get("pixel_size_m")
    if value is None:
        return None
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not known or not SMALLEST_PIXEL < value < LARGEST_PIXEL:
        raise PtychoError(
            f"_metadata: pixel_size_m {shortened(repr(value))}; a positive number of metres, below 1, is needed."
        )
    return float(value)


def _frames(frames: NDArray[Any], key: str, count: int) -> tuple[NDArray[Any], list[str]]:
    """Frames (n, N, N); a legacy stack (N, N, n) is told by the number of positions and transposed."""
    shape = frames.shape
    if frames.ndim != 3 or frames.dtype.kind not in "uif":
        raise PtychoError(f"{key}: shape {shape}, dtype {frames.dtype}; real frames (n, N, N) are needed.")
    if shape[2] != count or shape[0] != shape[1]:
        return frames, []
    if shape[0] == count:
        raise PtychoError(
            f"{key}: shape {shape} with {count} positions is ambiguous: frames first (n, N, N) or, in the legacy "
            "order, frames last (N, N, n); drop or add a frame, or a position, to tell which."
        )
    legacy = f"{key}: shape {shape} with {count} positions is a legacy stack (N, N, n): transposed to (n, N, N)."
    return np.ascontiguousarray(frames.transpose(2, 0, 1)), [legacy]


def _left_out(arrays: dict[str, NDArray[Any]], positions: NDArray[np.float64]) -> list[str]:
    """A line for every key of the contract that is there but not used."""
    notes = ["Y: true patches are not read; they are cut from objectGuess."] if "Y" in arrays else []
    for key, column in (("xcoords_start", positions[:, 1]), ("ycoords_start", positions[:, 0])):
        if key not in arrays:
            continue
        start = arrays[key]
        if start.shape != column.shape or start.dtype.kind not in "uif":
            raise PtychoError(f"{key}: shape {start.shape}, dtype {start.dtype}; one number per frame is needed.")
        if not np.allclose(start, column, rtol=0, atol=1e-6):
            notes.append(f"{key}: differs from {key.removesuffix('_start')}, which is used.")
    return notes


def _one_scan(scan: Scan, arrays: dict[str, NDArray[Any]], wanted: int | None) -> Scan:
    """The frames of one scan of a file that may hold several."""
    if "scan_index" not in arrays:
        if wanted is not None:
            raise PtychoError(f"scan_index: not there, but --scan-index {wanted} was given; leave it away.")
        return scan
    index = arrays["scan_index"]
    if index.shape != (len(scan),) or index.dtype.kind not in "ui":
        raise PtychoError(
            f"scan_index: shape {index.shape}, dtype {index.dtype}; one whole number per frame is needed."
        )
    found = np.unique(index)
    if wanted is None and len(found) == 1:
        return scan
    if wanted not in found:
        asked = "several scans in one file" if wanted is None else f"--scan-index {wanted} given"
        names = ", ".join(map(str, found[:10])) + (" ..." if len(found) > 10 else "")
        raise PtychoError(f"scan_index: {asked}; give --scan-index as one of {names}.")
    return scan.subset(index == wanted)


def _counts(
    frames: NDArray[Any], key: str, metadata: dict[str, Any], measurement: str | None, nphotons: float | None
) -> tuple[NDArray[Any], list[str]]:
    if frames.dtype.kind in "ui":
        if measurement == "amplitude":
            raise PtychoError(f"{key}: dtype {frames.dtype} means counts, but --measurement amplitude was given.")
        return frames, []
    told = measurement or metadata.get("measurement")
    if told not in (None, "counts", "amplitude"):
        raise PtychoError(f"_metadata: measurement {shortened(repr(told))}; counts or amplitude is needed.")
    frames = frames.astype(np.float32)
    if told == "counts":
        return frames, []
    notes = [] if told else [f"{key} is {frames.dtype} and nothing says what it holds: taken as amplitude."]
    if frames.size and frames.min() < 0:
        raise PtychoError(f"{key}: negative amplitudes ({frames.min()}); mark such pixels in bad_pixels.")
    counts = np.square(frames)
    if nphotons is not None and len(counts):
        if not counts.any():
            raise PtychoError(f"{key}: zero everywhere; it cannot be scaled to {nphotons:g} photons per frame.")
        counts *= nphotons / counts.sum(axis=(1, 2), dtype=np.float64).mean()
        notes.append(f"Amplitudes scaled to {nphotons:g} photons per frame.")
    else:
        notes.append("No --nphotons: the squared amplitudes are taken as photons.")
    return counts, notes


def _bad_pixels(arrays: dict[str, NDArray[Any]], frames: NDArray[Any]) -> NDArray[np.bool_] | None:
    """The detector mask, True where bad; the frames are cleared there, whatever stood in them."""
    if "bad_pixels" not in arrays:
        return None
    bad = arrays["bad_pixels"]
    if bad.dtype.kind not in "bui":
        raise PtychoError(f"bad_pixels: dtype {bad.dtype}; booleans or whole numbers are needed.")
    bad = bad.astype(bool)
    if bad.shape != frames.shape[1:]:
        raise PtychoError(f"bad_pixels: shape {bad.shape}; the frames are {frames.shape[1:]}.")
    frames[:, bad] = 0
    return bad


def _positions(arrays: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    columns = []
    for key in ("ycoords", "xcoords"):
        if key not in arrays:
            raise PtychoError(f"{key}: not there; positions in pixels are needed.")
        column = arrays[key]
        if column.ndim != 1 or column.dtype.kind not in "uif":
            raise PtychoError(f"{key}: shape {column.shape}, dtype {column.dtype}; one number per frame is needed.")
        columns.append(column.astype(np.float64))
    if len(columns[0]) != len(columns[1]):
        raise PtychoError(
            f"xcoords, ycoords: {len(columns[1])} and {len(columns[0])} entries; equal numbers are needed."
        )
    if not len(columns[0]):
        raise PtychoError("xcoords, ycoords: no entries; one number per frame is needed.")
    return np.stack(columns, axis=-1)


def _probe(arrays: dict[str, NDArray[Any]]) -> NDArray[np.complex64]:
    if "probeGuess" not in arrays:
        raise PtychoError("probeGuess: not there; the illumination is needed.")
    probe = _complex(arrays, "probeGuess")
    if probe.ndim == 2:
        return probe[None]
    if probe.ndim == 3 and probe.shape[-1] == 1 and probe.shape[0] == probe.shape[1]:
        return np.ascontiguousarray(probe[None, ..., 0])
    return probe


def _complex(arrays: dict[str, NDArray[Any]], key: str) -> NDArray[np.complex64]:
    value = arrays[key]
    if value.dtype.kind not in "cfui":
        raise PtychoError(f"{key}: dtype {value.dtype}; complex numbers are needed.")
    return value.astype(np.complex64)
