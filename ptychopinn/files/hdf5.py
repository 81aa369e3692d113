"""HDF5: files opened to read, stacks of frames that stay in them, values with their unit.

What is missing, damaged or of another kind raises a PtychoError of one sentence that names it.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import hdf5plugin  # noqa: F401 - registers the filters of detectors
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import IncurableError, PtychoError, shortened
from ptychopinn.files.conventions.declared import hollow
from ptychopinn.files.conventions.links import NOT_THERE, broken
from ptychopinn.files.conventions.own_folder import DAMAGED, Folders, ScanFile, check_sources, opened_file
from ptychopinn.files.conventions.units import told_unit, unit
from ptychopinn.files.naming import naming
from ptychopinn.files.values import Array, as_numbers, check_frames
from ptychopinn.files.written_hdf5 import WrittenFile
from ptychopinn.memory import check_memory
from ptychopinn.scan.dtypes import counts_dtype
from ptychopinn.scan.frames import Counts, Frames, Source, blocks, stored_dtype

CACHE = 2**24
"""Least bytes of decompressed chunks that HDF5 caches; raised to hold two chunks."""

NO_FILTER = "its compression filter is not installed"

REASONS: Final = (
    ("file signature not found", "it has not the signature of HDF5"),
    *((sign, NO_FILTER) for sign in ("required filter", "unable to open shared object", "can't open directory")),
    ("unable to lock file", "another program writes it, and not in SWMR mode"),
    ("external raw data file", "the file with its raw values, outside the HDF5 file, is not there"),
)
"""Words in an error of HDF5, and what they mean."""

SAME = 1e-3
"""Largest relative spread of a number that is stored once per frame and still is one number."""

PER_FRAME = 50
"""Bytes of a frame that stays in its file: its number and position, and copies of them."""

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
        order: for each of frame, row and column, the axis of the dataset, the axes of a scan counted as one.
        grid: frames along each axis of the scan, the last one running fastest; (n,) in a plain stack.
        corner: whether the file stores the zero frequency at [0, 0].
        cache: bytes of decompressed chunks to keep.
        folders: of the files that it may read from.
        hollow: why far more is declared than was written; empty where it is not.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: tuple[int, int, int] = (0, 1, 2)
    grid: tuple[int, ...] = ()
    corner: bool = False
    cache: int = CACHE
    folders: Folders = ()
    hollow: str = ""
    _open: tuple[int, Any, Any] | None = None

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Frames by number, ascending without repeats: (k, H, W)."""
        try:
            along = self.grid[-1] if self.grid else self.shape[0]
            runs = np.split(rows, np.flatnonzero((np.diff(rows) > 1) | (rows[1:] % max(1, along) == 0)) + 1)
            with self._dataset() as dataset:
                parts = [self._run(dataset, int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
        except DAMAGED as error:
            raise PtychoError(f"{self.path}: {self.name}: cannot be read: {reason(error)}.") from None
        found = parts[0] if len(parts) == 1 else np.concatenate([np.empty((0, *self.shape[1:]), self.dtype), *parts])
        return np.fft.fftshift(found, axes=(1, 2)) if self.corner else found

    def _run(self, dataset: Any, first: int, after: int) -> NDArray[Any]:
        """Frames of one line of the scan, or of a plain stack."""
        along = self.grid[-1] if self.grid else self.shape[0]
        line, start = divmod(first, along)
        lines = np.unravel_index(line, self.grid[:-1]) if len(self.grid) > 1 else ()
        index: list[Any] = [slice(None)] * 2
        index[self.order[0] : self.order[0]] = [*map(int, lines), slice(start, start + after - first)]
        return np.transpose(dataset[tuple(index)], self.order).astype(self.dtype, copy=False)

    @contextmanager
    def _dataset(self) -> Iterator[Any]:
        """The open dataset; closed again in a growing file, where a refresh by another reader would invalidate it."""
        process = os.getpid()  # a forked process must not share the file of its parent
        if self._open is None or self._open[0] != process:
            file = opened_file(self.path, self.folders, rdcc_nbytes=self.cache)
            if file.swmr_mode:
                with file:
                    yield file[self.name]
                return
            self._open = (process, file, file[self.name])
        yield self._open[2]

    def close(self) -> None:
        """Close the file, which the next read opens again."""
        if self._open is not None and self._open[0] == os.getpid():
            self._open[1].close()
        self._open = None

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

    def close(self) -> None:
        """Close all files."""
        for part in self.parts:
            part.close()


def frames_of(source: Source, in_memory: int) -> Counts:
    """A small stack as an array, a large one as :class:`ptychopinn.scan.frames.Frames` that stay in the file.

    Raises:
        PtychoError: when so many are declared that their numbers do not fit in memory, or, unless the file grows
            (``in_memory`` 0), hardly any was written.
    """
    if in_memory and (why := getattr(source, "hollow", "")):
        raise PtychoError(why)
    check_memory(PER_FRAME * source.shape[0], f"diffraction: {source.shape[0]} frames")
    if source.dtype.itemsize * int(np.prod(source.shape, dtype=float)) > in_memory:
        return Frames.of(source)
    return source.read(np.arange(source.shape[0]))


def _as_it_is_now(dataset: h5py.Dataset) -> h5py.Dataset:
    """Refresh a growing dataset, so that it shows what was appended since this process opened it."""
    if dataset.file.swmr_mode:
        dataset.id.refresh()
    return dataset


@contextmanager
def opened(path: Path, allow_external: bool = False) -> Iterator[ScanFile]:
    """Open a file to read; errors inside the block name it.

    Args:
        path: file.
        allow_external: let it read from files outside its folder, too.

    Raises:
        PtychoError: when it is no readable HDF5 file, also where the block meets damage in it.
    """
    if path.is_dir():
        raise PtychoError(f"{path}: is a folder; an HDF5 file is needed.")
    try:
        with naming(path), opened_file(path, None if allow_external else ()) as file:
            yield file
    except FileNotFoundError:
        raise PtychoError(f"{path}: no such file.") from None
    except DAMAGED as error:
        raise PtychoError(f"{path}: is no readable HDF5 file ({reason(error)}).") from None


def folders_of(dataset: h5py.Dataset) -> Folders:
    """The folders that the file of a dataset may read from."""
    return getattr(dataset, "folders", ())


def has_signature(path: Path) -> bool:
    """Whether a file is HDF5, also behind a block of the user, as MATLAB 7.3 writes."""
    return bool(h5py.is_hdf5(path))


def is_matlab(file: h5py.File) -> bool:
    """Whether MATLAB wrote the file; it stores the axes of its arrays in reverse."""
    if file.userblock_size:
        with Path(file.filename).open("rb") as stream:
            if stream.read(6) == b"MATLAB":
                return True
    own = (file[key] for key in file if isinstance(file.get(key, getlink=True), h5py.HardLink))
    return any("MATLAB_class" in item.attrs for item in own)


def reason(error: Exception) -> str:
    """The reason of an HDF5 error, in plain words."""
    text = str(error)
    if cut := re.search(r"truncated file: eof = (\d+), .*stored_eof = (\d+)", text):
        return f"it is cut short: {cut[1]} of {cut[2]} bytes are there"
    for sign, meaning in REASONS:
        if sign in text:
            return meaning
    if told := re.search(r"error message = '([^']+)'", text):
        return told[1].lower()
    inner = re.search(r"\((.*)\)", text)
    lines = (inner[1] if inner else text.strip("'\"")).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def find(file: h5py.Group, name: str, need: str = "it is needed") -> h5py.Dataset:
    """A dataset."""
    try:
        found = file.get(name)
    except DAMAGED:
        found = None
    if found is None:
        raise PtychoError(f"{name}: {broken(file, name)}; {need}.")
    if isinstance(found, h5py.Group):
        inside = ", ".join(list(found)[:6]) or "nothing"
        raise IncurableError(f"{name}: is a group; a dataset is needed. It holds {shortened(inside)}.")
    if not isinstance(found, h5py.Dataset):
        raise IncurableError(f"{name}: is a type; a dataset is needed.")
    return found


def first(file: h5py.Group, *names: str, need: str = "it is needed") -> h5py.Dataset | None:
    """The first of several datasets that is there; None where there is none.

    Raises:
        PtychoError: for a group, or where only a link that leads nowhere is there.
    """
    for name in names:
        if _leads_somewhere(file, name):
            return find(file, name)
    for name in names:
        if broken(file, name) != NOT_THERE:
            return find(file, name, need)
    return None


def _leads_somewhere(file: h5py.Group, name: str) -> bool:
    try:
        return file.get(name) is not None
    except DAMAGED:
        return False


def stack(dataset: h5py.Dataset, order: tuple[int, int, int] = (0, 1, 2), corner: bool = False) -> Stack:
    """The frames of a dataset, not read yet; an external link is followed."""
    name = str(_as_it_is_now(dataset).name)
    check_frames(dataset, name)
    check_sources(dataset)
    # After an external link this is the file, and the name, that the link points to.
    path, stored = Path(dataset.file.filename), dataset.shape
    grid = stored[order[0] : order[0] + len(stored) - 2]
    flat = (*stored[: order[0]], int(np.prod(grid)), *stored[order[0] + len(grid) :])
    shape = tuple(int(flat[axis]) for axis in order)
    chunk = dataset.dtype.itemsize * int(np.prod(dataset.chunks or ()))
    dtype, cache = counts_dtype(dataset.dtype), max(CACHE, 2 * chunk)
    return Stack(path, name, shape, dtype, order, grid, corner, cache, folders_of(dataset), hollow(dataset))


def array(dataset: h5py.Dataset) -> Array:
    """All values of a dataset."""
    check_sources(dataset)
    try:
        return as_numbers(np.asarray(_as_it_is_now(dataset)[()]))
    except DAMAGED as error:
        raise PtychoError(f"{dataset.name}: cannot be read: {reason(error)}.") from None


def reals(dataset: h5py.Dataset) -> NDArray[np.float64]:
    """All values of a dataset of real numbers."""
    values = array(dataset)
    if values.dtype.kind not in "uif":
        raise IncurableError(f"{dataset.name}: dtype {values.dtype}; real numbers are needed.")
    return values.astype(np.float64)


def number(value: Any, name: str) -> float:
    """One finite number of a dataset or an attribute."""
    values = np.asarray(array(value) if isinstance(value, h5py.Dataset) else value)
    if values.size != 1 or values.dtype.kind not in "buif" or not np.isfinite(values).all():
        raise PtychoError(f"{name}: shape {values.shape}, dtype {values.dtype}; one finite number is needed.")
    return float(values.reshape(()))


def told_unit_of(dataset: h5py.Dataset) -> str | None:
    """The unit that a dataset names in ``units`` or ``unit``; None where it names none."""
    stored = dataset.attrs.get("units", dataset.attrs.get("unit"))
    return told_unit(stored, str(dataset.name))


def unit_of(dataset: h5py.Dataset, usual: str, dimension: str) -> float:
    """Size of the unit of a dataset, from its attribute ``units`` or else ``usual``."""
    return unit(told_unit_of(dataset) or usual, str(dataset.name), dimension)


def one_number(dataset: h5py.Dataset) -> float:
    """One finite number, stored once or, where it does not change, once per frame.

    Raises:
        PtychoError: for values that differ by more than ``SAME`` of their mean.
    """
    name, values = str(dataset.name), array(dataset)
    if values.size < 2 or values.dtype.kind not in "uif" or not np.isfinite(values).all():
        return number(values, name)
    values = values.astype(np.float64)
    low, mean, high = float(values.min()), float(values.mean()), float(values.max())
    if high - low > SAME * abs(mean):
        raise PtychoError(f"{name}: {values.size} values from {low:g} to {high:g}; one value for all frames is needed.")
    return mean


def positive(dataset: h5py.Dataset, usual: str, dimension: str) -> float:
    """A positive number with its unit, in metres or electronvolts."""
    name = str(dataset.name)
    return above_zero(one_number(dataset) * unit_of(dataset, usual, dimension), name, dimension)


def write_frames(file: WrittenFile, name: str, counts: Counts, signed: bool = False) -> h5py.Dataset:
    """Write frames block by block, one frame per chunk; whole numbers as integers.

    Args:
        file: where.
        name: of the dataset.
        counts: (n, N, N).
        signed: whether integers are to be signed, of 32 bits or, where the counts need it, of 64.
    """
    dtype = stored_dtype(counts)
    if signed and dtype.kind == "u":
        dtype = np.dtype(np.int32 if _largest(counts, dtype) <= np.iinfo(np.int32).max else np.int64)
    dataset = file.create_dataset(name, counts.shape, dtype, chunks=(1, *counts.shape[1:]), **OPTIONS)
    for block in blocks(counts.shape):
        dataset[block] = counts[block]
        file.check()
    return dataset


def _largest(counts: Counts, dtype: np.dtype[Any]) -> int:
    """The largest count, for which frames are read only where their type leaves it open."""
    if dtype.itemsize < 4:
        return int(np.iinfo(dtype).max)
    return max((int(np.max(counts[block])) for block in blocks(counts.shape)), default=0)


def optional(file: h5py.File, name: str) -> h5py.Dataset | None:
    """A dataset; None where there is none, or where PtyPy marks one as None."""
    item = file.get(name) if _leads_somewhere(file, name) else first(file, name)
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
