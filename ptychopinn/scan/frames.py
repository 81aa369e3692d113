"""Frames that stay in their file until they are asked for."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ptychopinn.errors import UnusableError
from ptychopinn.scan.dtypes import counts_dtype

MAX_COUNTS = 1e15
"""Largest count of a pixel: no detector reaches it, markers of bad pixels exceed it."""

MARK_THEM = "mark pixels that hold no counts in bad_pixels, or leave them out by --mask auto"

BLOCK_BYTES = 2**26
"""Memory, as float32, of the frames that a pass over a scan reads together."""

Index = slice | NDArray[np.int64] | NDArray[np.bool_]


class Source(Protocol):
    """A stack of frames in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, N, N)."""
        ...

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the values."""
        ...

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Frames by number, (k,) ascending without repeats: (k, N, N)."""
        ...

    def close(self) -> None:
        """Close its file, which the next read opens again."""
        ...


@dataclass(frozen=True, eq=False)
class Frames:
    """Counts (n, N, N) of a file; ``frames[index]`` reads and checks some of them, ``select`` and ``window`` do not.

    Attributes:
        source: where they are.
        rows: (n,) which frames of the source.
        keep: rows and columns of the detector; they may reach beyond it, where frames are 0.
        good_pixels: of the whole detector; bad pixels read as 0.
        scale: counts per squared value where the file holds amplitudes; None where it holds counts.
    """

    source: Source
    rows: NDArray[np.int64]
    keep: tuple[slice, slice]
    good_pixels: NDArray[np.bool_] | None = None
    scale: float | None = None

    @classmethod
    def of(cls, source: Source) -> Self:
        """All frames of a source."""
        return cls(source, np.arange(source.shape[0]), (slice(0, source.shape[1]), slice(0, source.shape[2])))

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, N, N)."""
        return (len(self.rows), *(part.stop - part.start for part in self.keep))

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the frames that indexing returns."""
        stored = self.source.dtype
        return np.dtype(np.float32) if self.scale is not None or stored.kind == "f" else counts_dtype(stored)

    def __len__(self) -> int:
        return len(self.rows)

    def stored(self, index: Index) -> NDArray[np.generic]:
        """Some frames as the file holds them, neither masked nor checked."""
        numbers, back = np.unique(self.rows[index], return_inverse=True)
        return _in_order(self.source.read(numbers)[:, self.keep[0], self.keep[1]], back)

    def __getitem__(self, index: Index) -> NDArray[np.generic]:
        numbers, back = np.unique(self.rows[index], return_inverse=True)
        block = cut(self.source.read(numbers), self.keep)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
            block = block.astype(self.dtype)
            if self.good_pixels is not None:
                block[:, ~cut(self.good_pixels[None], self.keep)[0]] = 0
            if self.scale is not None:
                check_amplitudes(block, numbers)
                block = np.square(block) * np.float32(self.scale)
        check_counts(block, numbers)
        return _in_order(block, back)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.generic]:
        return self[slice(None)].astype(dtype or self.dtype, copy=False)

    def select(self, index: Index) -> Self:
        """Some of the frames, not read."""
        return replace(self, rows=self.rows[index])

    def masked(self, good: NDArray[np.bool_]) -> Self:
        """The same frames, 0 where ``good``, of their rows and columns, is False; not read."""
        whole = np.ones(self.source.shape[1:], dtype=bool)
        whole[self.keep] = good
        return replace(self, good_pixels=whole)

    def window(self, rows: slice, columns: slice) -> Self:
        """The same rows and columns of every frame, not read."""
        wanted = zip(self.keep, (rows, columns), strict=True)
        keep = [slice(part.start + some.start, part.start + some.stop) for part, some in wanted]
        return replace(self, keep=(keep[0], keep[1]))

    def moved(self, rows: int, columns: int) -> Self:
        """Every frame moved down by ``rows`` and to the right by ``columns``, not read; the margin is 0."""
        down, right = self.keep
        return replace(
            self,
            keep=(slice(down.start - rows, down.stop - rows), slice(right.start - columns, right.stop - columns)),
        )


def _in_order(block: NDArray[np.generic], order: NDArray[np.int64]) -> NDArray[np.generic]:
    """Frames in an order; not copied where they have it already."""
    return block if np.array_equal(order, np.arange(len(block))) else block[order]


Counts = NDArray[np.generic] | Frames
"""In memory, or in a file."""


def select(counts: Counts, index: Index) -> Counts:
    """Some frames, not read when they are in a file."""
    return counts.select(index) if isinstance(counts, Frames) else counts[index]


def window(counts: Counts, rows: slice, columns: slice) -> Counts:
    """The same rows and columns of every frame, not read when they are in a file."""
    return counts.window(rows, columns) if isinstance(counts, Frames) else counts[:, rows, columns]


def moved(counts: Counts, rows: int, columns: int) -> Counts:
    """Every frame moved down and to the right by whole pixels, not read when it is in a file; the margin is 0."""
    if isinstance(counts, Frames):
        return counts.moved(rows, columns)
    height, width = counts.shape[1:]
    return cut(counts, (slice(-rows, height - rows), slice(-columns, width - columns)))


def cut(stack: NDArray[np.generic], keep: tuple[slice, slice]) -> NDArray[np.generic]:
    """Rows and columns of frames (n, H, W), in any place; 0 where they reach beyond the frames."""
    if all(part.start >= 0 and part.stop <= size for part, size in zip(keep, stack.shape[1:], strict=True)):
        return stack[:, keep[0], keep[1]]
    found = np.zeros((len(stack), *(part.stop - part.start for part in keep)), dtype=stack.dtype)
    here, there = [], []
    for part, size in zip(keep, stack.shape[1:], strict=True):
        first = min(max(part.start, 0), size)
        last = max(min(part.stop, size), first)
        there.append(slice(first, last))
        here.append(slice(first - part.start, last - part.start))
    found[:, here[0], here[1]] = stack[:, there[0], there[1]]
    return found


def chunks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that pass over ``count`` things in order."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices that pass over a stack (n, ...) in blocks of about ``BLOCK_BYTES``."""
    return chunks(shape[0], max(1, BLOCK_BYTES // max(1, 4 * int(np.prod(shape[1:])))))


def light_in_corners(mean: NDArray[np.generic]) -> bool:
    """Whether a mean frame (N, N) seems to have its zero frequency at [0, 0], not in the middle.

    Its corners, a quarter of all pixels, then have more than twice the light of its middle quarter.
    """
    rows, columns = (slice(size // 4, size // 4 + size // 2) for size in mean.shape)
    middle = float(mean[rows, columns].sum(dtype=np.float64))
    return float(np.fft.fftshift(mean)[rows, columns].sum(dtype=np.float64)) > 2 * middle


def stored_dtype(counts: Counts) -> np.dtype[np.generic]:
    """Type to store frames in: whole numbers in floats become the smallest unsigned integers, others stay."""
    if counts.dtype.kind != "f":
        return counts.dtype
    largest = 0.0
    for block in blocks(counts.shape):
        part = counts[block]
        if not (part == np.rint(part)).all():
            return counts.dtype
        largest = max(largest, float(part.max(initial=0)))
    if largest >= 2**32:
        return counts.dtype
    return np.dtype(np.uint16 if largest < 2**16 else np.uint32)


def check_all(counts: Counts) -> None:
    """:func:`check_counts` of all frames in memory; those in a file are checked when they are read."""
    if not isinstance(counts, Frames):
        for block in blocks(counts.shape):
            check_counts(counts[block], np.arange(block.start, block.stop))


def check_counts(block: NDArray[np.generic], numbers: NDArray[np.int64]) -> None:
    """Refuse frames that are not counts; ``numbers`` are their numbers in the file.

    Raises:
        UnusableError: for NaN, infinity, negative or impossibly large values.
    """
    if not block.size:
        return
    if block.dtype.kind == "f" and not (finite := np.isfinite(block)).all():
        raise UnusableError(f"diffraction: NaN or infinity in frame {_first(~finite, numbers)}; {MARK_THEM}.")
    if (lowest := block.min()) < 0:
        raise UnusableError(
            f"diffraction: negative counts ({lowest}) in frame {_first(block == lowest, numbers)}; {MARK_THEM}."
        )
    if (highest := block.max()) > MAX_COUNTS:
        raise UnusableError(
            f"diffraction: {float(highest):.3g} counts in a pixel of frame {_first(block == highest, numbers)}; "
            f"at most {MAX_COUNTS:g} are read; {MARK_THEM}."
        )


def _first(wrong: NDArray[np.bool_], numbers: NDArray[np.int64]) -> int:
    return int(numbers[wrong.any(axis=(1, 2)).argmax()])


def check_amplitudes(block: NDArray[np.generic], numbers: NDArray[np.int64], key: str = "diffraction") -> None:
    """Refuse negative amplitudes; ``numbers`` are the numbers of the frames in the file.

    Raises:
        UnusableError: naming ``key`` and the first such frame.
    """
    if block.size and (lowest := block.min()) < 0:
        raise UnusableError(
            f"{key}: negative amplitudes ({lowest}) in frame {_first(block == lowest, numbers)}; {MARK_THEM}."
        )
