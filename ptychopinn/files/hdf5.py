"""HDF5: files opened to read, stacks of frames that stay in them, values with their unit.

What is missing, damaged or of another kind raises a PtychoError of one sentence that names it.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import hdf5plugin  # noqa: F401 - registers the filters of detectors
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError, naming
from ptychopinn.files.values import check_frames
from ptychopinn.scan.frames import Counts, Frames, Source, blocks, stored_dtype

CACHE = 2**24
"""Least bytes of decompressed chunks that HDF5 caches; raised to hold two chunks."""

UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""Exceptions of h5py for a damaged file."""

UNITS: Final[Mapping[str, tuple[str, float]]] = {
    **{name: ("length", size) for name, size in (("m", 1.0), ("mm", 1e-3), ("um", 1e-6), ("nm", 1e-9), ("pm", 1e-12))},
    **{name: ("length", size) for name, size in (("µm", 1e-6), ("μm", 1e-6), ("A", 1e-10), ("angstrom", 1e-10))},
    **{name: ("length", size) for name, size in (("meter", 1.0), ("metre", 1.0), ("cm", 1e-2), ("micron", 1e-6))},
    **{name: ("energy", size) for name, size in (("eV", 1.0), ("keV", 1e3), ("J", 1 / 1.602176634e-19))},
    **{name: ("pixels", 1.0) for name in ("px", "pixel", "pixels")},
}
"""Unit -> dimension and size in metres, electronvolts or pixels."""

OPTIONS: Final = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""Compression of written frames, which every HDF5 library can read."""


@dataclass(eq=False)
class Stack:
    """A dataset of frames; every process that reads it opens its own handle.

    Attributes:
        path: file.
        name: dataset in it.
        shape: (n, H, W) after ``order``.
        dtype: of the values.
        order: for each of frame, row and column, the axis of the dataset.
        corner: whether the file stores the zero frequency at [0, 0].
        cache: bytes of decompressed chunks to keep.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: tuple[int, int, int] = (0, 1, 2)
    corner: bool = False
    cache: int = CACHE
    _open: tuple[int, Any, Any] | None = None

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Frames by number, ascending without repeats: (k, H, W)."""
        try:
            runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
            with self._dataset() as dataset:
                parts = [self._run(dataset, int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
        except UNREADABLE as error:
            raise PtychoError(f"{self.path}: {self.name}: cannot be read: {reason(error)}.") from None
        found = np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), self.dtype)
        return np.fft.fftshift(found, axes=(1, 2)) if self.corner else found

    def _run(self, dataset: Any, first: int, after: int) -> NDArray[Any]:
        index = [slice(None)] * 3
        index[self.order[0]] = slice(first, after)
        return np.transpose(dataset[tuple(index)], self.order)

    @contextmanager
    def _dataset(self) -> Iterator[Any]:
        """The open dataset; closed again in a growing file, where a refresh by another reader would invalidate it."""
        process = os.getpid()  # a forked process must not share the file of its parent
        if self._open is None or self._open[0] != process:
            file = _file(self.path, rdcc_nbytes=self.cache)
            if file.swmr_mode:
                with file:
                    yield file[self.name]
                return
            self._open = (process, file, file[self.name])
        yield self._open[2]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None}


@dataclass(eq=False)
class Joined:
    """Stacks joined along the first axis."""

    parts: Sequence[Source]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W) of all together."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return np.result_type(*(part.dtype for part in self.parts))

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Frames by number, ascending without repeats: (k, H, W)."""
        found, start = [np.empty((0, *self.shape[1:]), self.dtype)], 0
        for part in self.parts:
            inside = rows[(rows >= start) & (rows < start + part.shape[0])] - start
            if len(inside):
                found.append(part.read(inside))
            start += part.shape[0]
        return np.concatenate(found)


def frames_of(source: Source, in_memory: int) -> Counts:
    """A small stack as an array, a large one as :class:`ptychopinn.scan.frames.Frames` that stay in the file."""
    if source.dtype.itemsize * int(np.prod(source.shape, dtype=float)) > in_memory:
        return Frames.of(source)
    return source.read(np.arange(source.shape[0]))


def _file(path: Path, **options: Any) -> h5py.File:
    """Open a file to read, also one to which a detector appends in SWMR mode."""
    try:
        return h5py.File(path, "r", **options)
    except OSError as error:
        try:
            return h5py.File(path, "r", swmr=True, **options)
        except OSError:
            raise error from None


def _as_it_is_now(dataset: h5py.Dataset) -> h5py.Dataset:
    """Refresh a growing dataset, so that it shows what was appended since this process opened it."""
    if dataset.file.swmr_mode:
        dataset.id.refresh()
    return dataset


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file to read; errors inside the block name it.

    Raises:
        PtychoError: when it is no readable HDF5 file, also where the block meets damage in it.
    """
    if path.is_dir():
        raise PtychoError(f"{path}: is a folder; an HDF5 file is needed.")
    try:
        with naming(path), _file(path) as file:
            yield file
    except FileNotFoundError:
        raise PtychoError(f"{path}: no such file.") from None
    except UNREADABLE as error:
        raise PtychoError(f"{path}: is no readable HDF5 file ({reason(error)}).") from None


def reason(error: Exception) -> str:
    """The reason of an HDF5 error, in plain words."""
    text = str(error)
    if cut := re.search(r"truncated file: eof = (\d+), .*stored_eof = (\d+)", text):
        return f"it is cut short: {cut[1]} of {cut[2]} bytes are there"
    if "file signature not found" in text:
        return "it has not the signature of HDF5"
    if "required filter" in text or "unable to open shared object" in text or "can't open directory" in text:
        return "its compression filter is not installed"
    if "unable to lock file" in text:
        return "another program writes it, and not in SWMR mode"
    if told := re.search(r"error message = '([^']+)'", text):
        return told[1].lower()
    inner = re.search(r"\((.*)\)", text)
    lines = (inner[1] if inner else text.strip("'\"")).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def find(file: h5py.Group, name: str, need: str = "it is needed") -> h5py.Dataset:
    """A dataset."""
    found = file.get(name)
    if found is None:
        link = file.get(name, getlink=True)
        to = f" (it points to {link.filename}, which is not there)" if isinstance(link, h5py.ExternalLink) else ""
        raise PtychoError(f"{name}: not there{to}; {need}.")
    if not isinstance(found, h5py.Dataset):
        raise PtychoError(f"{name}: is a group; a dataset is needed.")
    return found


def contents(file: h5py.File) -> list[str]:
    """Name and shape of every dataset, largest first."""
    found: list[tuple[int, str]] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((-int(item.size or 0), f"/{name} {item.shape}"))

    file.visititems(note)
    return [text for _, text in sorted(found)]


def stack(dataset: h5py.Dataset, order: tuple[int, int, int] = (0, 1, 2), corner: bool = False) -> Stack:
    """The frames of a dataset, not read yet; an external link is followed."""
    name = str(_as_it_is_now(dataset).name)
    check_frames(dataset, name)
    # After an external link this is the file, and the name, that the link points to.
    path, shape = Path(dataset.file.filename), tuple(dataset.shape[axis] for axis in order)
    chunk = dataset.dtype.itemsize * int(np.prod(dataset.chunks or ()))
    return Stack(path, name, shape, dataset.dtype, order, corner, max(CACHE, 2 * chunk))


def array(dataset: h5py.Dataset) -> NDArray[Any]:
    """All values of a dataset."""
    try:
        return np.asarray(_as_it_is_now(dataset)[()])
    except UNREADABLE as error:
        raise PtychoError(f"{dataset.name}: cannot be read: {reason(error)}.") from None


def reals(dataset: h5py.Dataset) -> NDArray[np.float64]:
    """All values of a dataset of real numbers."""
    values = array(dataset)
    if values.dtype.kind not in "uif":
        raise PtychoError(f"{dataset.name}: dtype {values.dtype}; real numbers are needed.")
    return values.astype(np.float64)


def number(value: Any, name: str) -> float:
    """One finite number of a dataset or an attribute."""
    values = np.asarray(array(value) if isinstance(value, h5py.Dataset) else value)
    if values.size != 1 or values.dtype.kind not in "buif" or not np.isfinite(values).all():
        raise PtychoError(f"{name}: shape {values.shape}, dtype {values.dtype}; one finite number is needed.")
    return float(values.reshape(()))


def unit_of(dataset: h5py.Dataset, usual: str, dimension: str) -> float:
    """Size of the unit of a dataset, from its attribute ``units`` or else ``usual``."""
    return unit(text(dataset.attrs.get("units", usual)), str(dataset.name), dimension)


def unit(told: str, name: str, *dimensions: str) -> float:
    """Size of a unit in metres, electronvolts or pixels."""
    dimension, size = UNITS.get(told.strip(), ("", 0.0))
    if dimension not in dimensions:
        fitting = ", ".join(known for known, (kind, _) in UNITS.items() if kind in dimensions and known.isascii())
        raise PtychoError(f"{name}: unit {told!r}; a unit of {' or '.join(dimensions)} is needed: {fitting}.")
    return size


def positive(dataset: h5py.Dataset, usual: str, dimension: str) -> float:
    """A positive number with its unit, in metres or electronvolts."""
    name = str(dataset.name)
    return above_zero(number(dataset, name) * unit_of(dataset, usual, dimension), name, dimension)


def write_frames(group: h5py.Group, name: str, counts: Counts, signed: bool = False) -> h5py.Dataset:
    """Write frames block by block, one frame per chunk; whole numbers as integers.

    Args:
        group: where.
        name: of the dataset.
        counts: (n, N, N).
        signed: whether integers are to be signed, of 32 bits or, where the counts need it, of 64.
    """
    dtype = stored_dtype(counts)
    if signed and dtype.kind == "u":
        dtype = np.dtype(np.int32 if _largest(counts, dtype) <= np.iinfo(np.int32).max else np.int64)
    dataset = group.create_dataset(name, counts.shape, dtype, chunks=(1, *counts.shape[1:]), **OPTIONS)
    for block in blocks(counts.shape):
        dataset[block] = counts[block]
    return dataset


def _largest(counts: Counts, dtype: np.dtype[Any]) -> int:
    """The largest count, for which frames are read only where their type leaves it open."""
    if dtype.itemsize < 4:
        return int(np.iinfo(dtype).max)
    return max((int(np.max(counts[block])) for block in blocks(counts.shape)), default=0)


def optional(file: h5py.File, name: str) -> h5py.Dataset | None:
    """A dataset; None where there is none, or where PtyPy marks one as None."""
    item = file.get(name)
    return item if isinstance(item, h5py.Dataset) and str(item.attrs.get("type", "")) != "None" else None


def text(value: Any) -> str:
    """A text of a dataset or an attribute, stored as bytes or not."""
    value = value[()] if isinstance(value, h5py.Dataset) else value
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def positive_number(file: h5py.File, name: str) -> float:
    """A positive number without a unit, stored as a dataset or an attribute."""
    item = optional(file, name)
    stored = file.attrs.get(name) if item is None else np.squeeze(array(item))
    if stored is None:
        raise PtychoError(f"{name}: not there; a positive number is needed.")
    return above_zero(number(stored, name), name, "number")


def above_zero(value: float, name: str, what: str) -> float:
    """A value that must be positive."""
    if not value > 0:
        raise PtychoError(f"{name}: {value:g} given; a positive {what} is needed.")
    return value
