"""HDF5: files opened with one sentence of complaint, stacks of frames that stay in them, values with their unit."""

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

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.scan.frames import Counts, Frames, Source, blocks, stored_dtype

IN_MEMORY = 2**28
"""Bytes up to which a stack of frames is read at once; a larger one stays in its file."""

CACHE = 2**24
"""Bytes of chunks that HDF5 keeps decompressed; always enough for two chunks."""

UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What a damaged file raises inside h5py."""

UNITS: Final[Mapping[str, tuple[str, float]]] = {
    **{name: ("length", size) for name, size in (("m", 1.0), ("mm", 1e-3), ("um", 1e-6), ("nm", 1e-9), ("pm", 1e-12))},
    **{name: ("length", size) for name, size in (("µm", 1e-6), ("μm", 1e-6), ("A", 1e-10), ("angstrom", 1e-10))},
    **{name: ("length", size) for name, size in (("meter", 1.0), ("metre", 1.0), ("cm", 1e-2), ("micron", 1e-6))},
    **{name: ("energy", size) for name, size in (("eV", 1.0), ("keV", 1e3), ("J", 1 / 1.602176634e-19))},
    **{name: ("pixels", 1.0) for name in ("px", "pixel", "pixels")},
}
"""Unit -> dimension and size in metres, electronvolts or pixels."""

OPTIONS: Final = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""How frames are written: smaller, and readable by every HDF5 library."""


@dataclass(eq=False)
class Stack:
    """A dataset of frames, opened anew by every process that reads it.

    Attributes:
        path: file.
        name: dataset in it.
        shape: (n, H, W) after ``order``.
        dtype: of the values.
        order: for each of frame, row and column, the axis of the dataset.
        corner: whether the zero frequency is stored at [0, 0].
        cache: bytes of chunks that are kept decompressed.
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
        """It stays open, but not in a file that grows: a refresh by another reader of the process would spoil it."""
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
    """Stacks one after the other."""

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


def frames_of(source: Source, in_memory: int = IN_MEMORY) -> Counts:
    """A stack as an array when it is small, else as :class:`ptychopinn.scan.frames.Frames` that stay in the file."""
    if source.dtype.itemsize * int(np.prod(source.shape, dtype=float)) > in_memory:
        return Frames.of(source)
    return source.read(np.arange(source.shape[0]))


def _file(path: Path, **options: Any) -> h5py.File:
    """A file to read, also while a detector appends to it in SWMR mode, or this process has it open in that mode."""
    try:
        return h5py.File(path, "r", **options)
    except OSError as error:
        try:
            return h5py.File(path, "r", swmr=True, **options)
        except OSError:
            raise error from None


def _as_it_is_now(dataset: h5py.Dataset) -> h5py.Dataset:
    """A dataset with what was appended to it since this process opened it first."""
    if dataset.file.swmr_mode:
        dataset.id.refresh()
    return dataset


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """A file to read.

    Raises:
        PtychoError: when it is no readable HDF5 file, also where the block stumbles over damage in it.
    """
    if path.is_dir():
        raise PtychoError(f"{path}: is a folder; an HDF5 file is needed.")
    try:
        with _file(path) as file:
            yield file
    except FileNotFoundError:
        raise PtychoError(f"{path}: no such file.") from None
    except UNREADABLE as error:
        raise PtychoError(f"{path}: is no readable HDF5 file ({reason(error)}).") from None


def reason(error: Exception) -> str:
    """Why HDF5 refuses, without its jargon."""
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


def find(file: h5py.File, name: str, need: str = "it is needed") -> h5py.Dataset:
    """A dataset.

    Raises:
        PtychoError: when it is missing or a group.
    """
    found = file.get(name)
    if found is None:
        link = file.get(name, getlink=True)
        to = f" (it points to {link.filename}, which is not there)" if isinstance(link, h5py.ExternalLink) else ""
        raise PtychoError(f"{name}: not there{to}; {need}.")
    if not isinstance(found, h5py.Dataset):
        raise PtychoError(f"{name}: is a group; a dataset is needed.")
    return found


def contents(file: h5py.File) -> list[str]:
    """Name and shape of every dataset, the largest first."""
    found: list[tuple[int, str]] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((-int(item.size or 0), f"/{name} {item.shape}"))

    file.visititems(note)
    return [text for _, text in sorted(found)]


def stack(dataset: h5py.Dataset, order: tuple[int, int, int] = (0, 1, 2), corner: bool = False) -> Stack:
    """The frames of a dataset, not read; the dataset may lie in a file that is linked to.

    Raises:
        PtychoError: when it holds no stack of real frames.
    """
    name = str(_as_it_is_now(dataset).name)
    if dataset.ndim != 3 or dataset.dtype.kind not in "uif":
        raise PtychoError(f"{name}: shape {dataset.shape}, dtype {dataset.dtype}; real frames (n, N, N) are needed.")
    # A link may have led into another file, where the name holds.
    path, shape = Path(dataset.file.filename), tuple(dataset.shape[axis] for axis in order)
    chunk = dataset.dtype.itemsize * int(np.prod(dataset.chunks or ()))
    return Stack(path, name, shape, dataset.dtype, order, corner, max(CACHE, 2 * chunk))


def array(dataset: h5py.Dataset) -> NDArray[Any]:
    """All values of a dataset.

    Raises:
        PtychoError: when they cannot be read.
    """
    try:
        return np.asarray(_as_it_is_now(dataset)[()])
    except UNREADABLE as error:
        raise PtychoError(f"{dataset.name}: cannot be read: {reason(error)}.") from None


def reals(dataset: h5py.Dataset) -> NDArray[np.float64]:
    """All values of a dataset of real numbers.

    Raises:
        PtychoError: when they are none.
    """
    values = array(dataset)
    if values.dtype.kind not in "uif":
        raise PtychoError(f"{dataset.name}: dtype {values.dtype}; real numbers are needed.")
    return values.astype(np.float64)


def number(value: Any, name: str) -> float:
    """One finite number of a dataset or an attribute.

    Raises:
        PtychoError: naming it.
    """
    values = np.asarray(array(value) if isinstance(value, h5py.Dataset) else value)
    if values.size != 1 or values.dtype.kind not in "buif" or not np.isfinite(values).all():
        raise PtychoError(f"{name}: shape {values.shape}, dtype {values.dtype}; one finite number is needed.")
    return float(values.reshape(()))


def unit_of(dataset: h5py.Dataset, usual: str, dimension: str) -> float:
    """Size of the unit of a dataset, from its attribute ``units`` or else ``usual``.

    Raises:
        PtychoError: for an unknown unit, or one of another dimension.
    """
    told = dataset.attrs.get("units", usual)
    return unit(told.decode(errors="replace") if isinstance(told, bytes) else str(told), str(dataset.name), dimension)


def unit(told: str, name: str, *dimensions: str) -> float:
    """Size of a unit in metres, electronvolts or pixels.

    Raises:
        PtychoError: for an unknown unit, or one of another dimension.
    """
    dimension, size = UNITS.get(told.strip(), ("", 0.0))
    if dimension not in dimensions:
        fitting = ", ".join(known for known, (kind, _) in UNITS.items() if kind in dimensions and known.isascii())
        raise PtychoError(f"{name}: unit {told!r}; a unit of {' or '.join(dimensions)} is needed: {fitting}.")
    return size


def positive(dataset: h5py.Dataset, usual: str, dimension: str) -> float:
    """A positive number with its unit, in metres or electronvolts.

    Raises:
        PtychoError: naming the dataset.
    """
    value = number(dataset, str(dataset.name)) * unit_of(dataset, usual, dimension)
    if not value > 0:
        raise PtychoError(f"{dataset.name}: {value:g} given; a positive {dimension} is needed.")
    return value


def write_frames(group: h5py.Group, name: str, counts: Counts, signed: bool = False) -> h5py.Dataset:
    """Write frames block by block, one chunk each; whole numbers as integers.

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


def given(file: h5py.File, name: str) -> h5py.Dataset | None:
    """A dataset; None where there is none, or where PtyPy marks one as None."""
    item = file.get(name)
    return item if isinstance(item, h5py.Dataset) and str(item.attrs.get("type", "")) != "None" else None


def scalar(file: h5py.File, name: str) -> float:
    """A positive number that is a dataset or an attribute."""
    item = given(file, name)
    value = None if item is None else hdf5.number(np.squeeze(hdf5.array(item)), name)
    if value is None and name in file.attrs:
        value = hdf5.number(file.attrs[name], name)
    if value is None or not value > 0:
        raise PtychoError(
            f"{name}: {'not there' if value is None else f'{value:g} given'}; a positive number is needed."
        )
    return value
