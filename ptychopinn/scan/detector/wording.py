"""Pixels and frames in words."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MOST_NAMED: Final = 6
"""Places that a sentence names; of more it says how many."""


MOST_OF_LINE: Final = 0.6
"""Share of a row or column from which on it is named as a whole."""


def pixels(mask: NDArray[np.bool_]) -> str:
    """Where the pixels of a mask lie: rows and columns of which most are in it, rectangles, pixels (row, column)."""
    rows, columns = (np.flatnonzero(mask.mean(axis=axis) > MOST_OF_LINE) for axis in (1, 0))
    rest = mask.copy()
    rest[rows], rest[:, columns] = False, False
    named = _lines("row", rows) + _lines("column", columns)
    labels, _ = ndimage.label(rest, np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    named += [_box(*box) for box in boxes[: max(1, MOST_NAMED - len(named))]]
    hidden = len(boxes) + len(_lines("row", rows)) + len(_lines("column", columns)) - len(named)
    return ", ".join(named) + (f" and {number(hidden, 'place')} more" if hidden else "")


def frames(numbers: NDArray[np.int64] | Sequence[int]) -> str:
    """``frame 84``, ``frames 3 to 7``, ``frames 3, 9, 12, 40 and 8 more``."""
    runs = _runs(np.asarray(numbers))
    named = [str(first) if first == last else f"{first} to {last}" for first, last in runs[:MOST_NAMED]]
    hidden = sum(last - first + 1 for first, last in runs[MOST_NAMED:])
    word = "frame" if len(numbers) == 1 else "frames"
    return f"{word} {', '.join(named)}" + (f" and {hidden} more" if hidden else "")


def events(found: NDArray[np.int64], width: int) -> str:
    """``frame 10 (5, 50), frame 50 (8, 48) and 3 more`` of (frame, flat pixel), for frames so many pixels wide."""
    named = [f"frame {frame} ({pixel // width}, {pixel % width})" for frame, pixel in found[:MOST_NAMED].tolist()]
    hidden = len(found) - len(named)
    return ", ".join(named) + (f" and {hidden} more" if hidden else "")


def number(count: int, word: str) -> str:
    """``1 pixel``, ``5 pixels``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _lines(word: str, numbers: NDArray[np.int64]) -> list[str]:
    return [f"{word} {first}" if first == last else f"{word}s {first} to {last}" for first, last in _runs(numbers)]


def _box(rows: slice, columns: slice) -> str:
    if rows.stop - rows.start == columns.stop - columns.start == 1:
        return f"({rows.start}, {columns.start})"
    return f"{_range('row', rows)} x {_range('column', columns)}"


def _range(word: str, part: slice) -> str:
    one = part.stop - part.start == 1
    return f"{word} {part.start}" if one else f"{word}s {part.start} to {part.stop - 1}"


def _runs(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and last of every run of consecutive numbers."""
    if not len(numbers):
        return []
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return [(int(part[0]), int(part[-1])) for part in parts]
