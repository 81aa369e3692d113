"""Frames without a word about them: NumPy's ``.npy``, and the EMPAD's ``.raw``. Read only.

The EMPAD writes frames of 130 x 128 values float32, little endian, of which the last two rows are no light.
Source: LiberTEM's ``io/dataset/empad.py``, PtyRAD's ``io/generic.py``.
"""

from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.geometry.microscope import shape_in_name
from ptychopinn.files.geometry.raster import NO_LENS, Calibration, Cube, check_cube, on_raster, raster_shape
from ptychopinn.files.record import Reading, Record

EMPAD_EDGE: Final = 128
EMPAD_ROWS: Final = 130
EMPAD_FRAME: Final = EMPAD_ROWS * EMPAD_EDGE * 4
"""Bytes of a frame."""


def read_npy(path: Path, how: Reading) -> Record:
    """Frames (n, H, W) or (rows, columns, H, W) of a ``.npy`` file, on a raster."""
    return _on_raster("npy", path, npy_cube(path), how.microscope.shape(), how)


def read_empad(path: Path, how: Reading) -> Record:
    """Frames of the EMPAD on a raster, whose shape stands in the name (``scan_x128_y64.raw``) or in scan_shape."""
    return _on_raster("empad", path, empad_cube(path), how.microscope.shape() or shape_in_name(path), how)


def npy_cube(path: Path) -> Cube:
    """The array of a ``.npy`` file.

    Raises:
        PtychoError: when it is none, or no frames.
    """
    array = _npy(path)
    check_cube(str(path), array.shape, array.dtype)
    return Cube(partial(_npy, path), array.shape, array.dtype)


def empad_cube(path: Path) -> Cube:
    """The frames (n, 128, 128) of an EMPAD file.

    Raises:
        PtychoError: when it is no whole number of frames.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise PtychoError(f"{path}: cannot be read: {error.strerror or error}.") from None
    if not size or size % EMPAD_FRAME:
        raise PtychoError(
            f"{path}: {size} bytes; frames of the EMPAD have {EMPAD_FRAME} bytes each ({EMPAD_ROWS} x {EMPAD_EDGE} "
            "float32), and a whole number of them is needed."
        )
    full = (size // EMPAD_FRAME, EMPAD_ROWS, EMPAD_EDGE)
    return Cube(partial(_empad, path, full), full, np.dtype("<f4"), keep=EMPAD_EDGE)


def _npy(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise PtychoError(f"{path}: no such file.") from None
    except (OSError, ValueError, EOFError) as error:
        reason = "pickled objects are not read" if "pickle" in str(error).lower() else str(error).rstrip(".")
        raise PtychoError(f"{path}: is no readable .npy file ({reason}).") from None


def _empad(path: Path, full: tuple[int, ...]) -> Any:
    return np.memmap(path, dtype="<f4", mode="r", shape=full)


def _on_raster(name: str, path: Path, cube: Cube, told: tuple[int, int] | None, how: Reading) -> Record:
    shape, notes = raster_shape(path.name, cube.full, told)
    record = Record(
        name,
        counts=hdf5.frames_of(cube, how.in_memory),
        measurement="counts",
        absent={"probe": NO_LENS},
        frames_key=path.name,
        notes=tuple(notes),
    )
    return on_raster(record, shape, Calibration(), how)
