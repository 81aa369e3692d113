"""Masks of a detector and lists of frames, in files of their own."""

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files import hdf5
from ptychopinn.files.conventions import links
from ptychopinn.files.naming import check_plain
from ptychopinn.files.npz_arrays import NpzArrays
from ptychopinn.files.values import Array, as_good
from ptychopinn.json_reader import LARGEST
from ptychopinn.memory import check_memory

NAMES = ("bad_pixels", "mask")
"""What an NPZ file may call a mask among other arrays."""

PICTURES = (".tif", ".tiff", ".png")

HDF5 = (".h5", ".hdf5", ".cxi", ".nxs", ".hdf")


def read_mask(text: str, flag: str = "--mask", allow_external: bool = False) -> NDArray[np.bool_]:
    """Good pixels of a mask file, nonzero where the detector is bad: NPY, NPZ, TIFF, PNG or HDF5.

    Args:
        text: path; of an HDF5 file with ``:dataset``, unless it holds one image only.
        flag: for complaints.
        allow_external: read an HDF5 file whose mask lies outside its folder.

    Raises:
        PtychoError: naming the file.
    """
    path, dataset = _split(text)
    if not path.is_file():
        words = "auto, none or inverted" if path.parent == Path() and not path.suffix else "or give auto or none"
        raise PtychoError(f"{flag} {text}: {'is a folder' if path.is_dir() else 'no such file'}; a mask, {words}.")
    try:
        values = _values(path, dataset, allow_external)
        if values.ndim > 2:
            values = values.reshape(values.shape[-3:]) if values.size == np.prod(values.shape[-3:]) else values
        if values.ndim == 3 and len(values) == 1:
            values = values[0]
        if values.ndim not in (2, 3):
            raise PtychoError(f"shape {values.shape}; (N, N), or one mask per frame, is needed.")
        return as_good(values, "mask")
    except PtychoError as error:
        raise PtychoError(f"{flag} {text}: {str(error).removeprefix(f'{path}: ')}") from None


def _split(text: str) -> tuple[Path, str | None]:
    """``file.h5:/entry/mask`` as a path and a dataset."""
    name, sign, dataset = text.rpartition(":")
    return (Path(name), dataset) if sign and not Path(text).exists() else (Path(text), None)


def _values(path: Path, dataset: str | None, allow_external: bool) -> Array:
    check_plain(path)
    ending = path.suffix.lower()
    if dataset is not None or ending in HDF5:
        return _hdf5(path, dataset, allow_external)
    if ending == ".npz":
        arrays = NpzArrays(path)
        names = [name for name in NAMES if name in arrays] or list(arrays) or [""]
        if len(names) != 1 and names[0] not in NAMES:
            raise PtychoError(f"holds {shortened(', '.join(arrays))}; one array, or bad_pixels or mask, is needed.")
        return arrays[names[0]]
    if ending in PICTURES:
        from skimage.io import imread  # it takes a while to import

        try:
            return np.asarray(imread(path))
        except Exception as error:  # noqa: BLE001 - the readers of pictures raise what they like
            raise PtychoError(f"is no readable picture ({shortened(str(error).splitlines()[0])}).") from None
    if ending == ".npy":
        return _npy(path)
    raise PtychoError(f"{ending or 'no ending'}: NPY, NPZ, TIFF, PNG or HDF5 is needed.")


def _npy(path: Path) -> Array:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        check_memory(2 * values.nbytes, f"shape {values.shape}")
        return np.array(values)
    except (OSError, ValueError, EOFError):
        raise PtychoError("is no readable NPY file.") from None


def _hdf5(path: Path, dataset: str | None, allow_external: bool) -> Array:
    with hdf5.opened(path, allow_external) as file:
        if dataset is not None:
            return hdf5.array(hdf5.find(file, dataset, "the mask is needed"))
        found: list[Any] = []

        def note(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim == 2:
                found.append(item)

        file.visititems(note)
        if len(found) != 1:
            raise PtychoError(
                f"which dataset? --mask {path}:DATASET says it; the file holds "
                f"{shortened(', '.join(links.contents(file)), 200)}."
            )
        return hdf5.array(found[0])


def read_frame_list(text: str, frames: int | None, flag: str = "--drop-frames") -> NDArray[np.int64]:
    """Numbers of frames, from 0, in a file: JSON array, NPY, or text with one or more a line.

    Args:
        text: path.
        frames: of the scan; None where more may come.
        flag: for complaints.

    Raises:
        PtychoError: naming the file and the number that is none of a frame.
    """
    path = Path(text)
    if not path.is_file():
        raise PtychoError(
            f"{flag} {text}: {'is a folder' if path.is_dir() else 'no such file'}; a file with frame numbers, auto or "
            "none is needed."
        )
    try:
        values = _numbers(path)
    except PtychoError as error:
        raise PtychoError(f"{flag} {text}: {error}") from None
    if values.size and (values.ndim != 1 or values.dtype.kind not in "ui"):
        raise PtychoError(f"{flag} {text}: shape {values.shape}, dtype {values.dtype}; whole numbers are needed.")
    if values.size and (values.min() < 0 or (frames is not None and values.max() >= frames)):
        wrong = values.min() if values.min() < 0 else values.max()
        last = "" if frames is None else f" to {frames - 1}"
        raise PtychoError(f"{flag} {text}: {wrong} given; the numbers of frames are 0{last or ' and more'}.")
    return np.unique(values).astype(np.int64)


def _numbers(path: Path) -> Array:
    if path.suffix.lower() == ".npy":
        return _npy(path)
    try:
        if path.stat().st_size > LARGEST:
            raise PtychoError(f"holds more than {LARGEST} bytes; a list of frames is needed.")
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise PtychoError("is no text; a JSON array, NPY, or numbers as text are needed.") from None
    if path.suffix.lower() == ".json":
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise PtychoError(f"is not JSON: {error}.") from None
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            raise PtychoError(f"{shortened(content)} given; an array of whole numbers is needed.")
        return _integers(values)
    words = " ".join(line.partition("#")[0] for line in content.splitlines()).replace(",", " ").split()
    if odd := next((word for word in words if not re.fullmatch(r"-?[0-9]{1,99}", word)), None):
        raise PtychoError(f"{shortened(odd)!r} is no whole number.")
    return _integers([int(word) for word in words])


def _integers(values: list[int]) -> NDArray[np.int64]:
    """Those beyond any frame stay so, but fit."""
    return np.array([max(-1, min(value, 2**62)) for value in values], np.int64)
