"""One pass over the frames of a scan, as they are stored, for what tells a broken pixel or frame from a good one."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ptychopinn.scan.frames import MAX_COUNTS, Counts, Frames, blocks

Mask = NDArray[np.bool_]
Image = NDArray[np.float64]

WIDEST: Final = 2.0**32 - 1
"""Marker of many detectors, also of those whose frames were written as floats."""

MARKERS: Final = tuple(float(2**bits - less) for bits in (16, 20, 24, 31, 32, 63, 64) for less in (1, 2))
"""Values that say "no count" when a pixel holds them in every frame: the largest of a counter, and one less."""

WHOLE_FRAME = 0.25
"""Share of the pixels that hold a marker from which on the whole frame is bad."""

AS_FREQUENT: Final = 3
"""Times the frequency of each value just below the top that the top itself may have as a count."""

MOST_EVENTS: Final = 5_000_000
"""Markers that are kept one by one; a scan with more of them is no scan."""


@dataclass(frozen=True)
class Rule:
    """Which stored values are no counts.

    Attributes:
        dtype: of the frames.
        amplitude: whether they are square roots of counts.
        top: the value on which the detector saturates; None where none is known.
        single: whether NaN and negative values are events; a saturated value always is one.
        negative: whether every negative value is one; else of floats only whole numbers are: others are a background
            that was taken off.
    """

    dtype: np.dtype[Any]
    amplitude: bool = False
    top: int | None = None
    single: bool = False
    negative: bool = False

    def marks(self, frame: NDArray[Any]) -> Mask | None:
        """Where a frame holds no count; None where nowhere."""
        if self.dtype.kind == "f":
            found = ~(abs(frame) <= MAX_COUNTS)  # NaN is not
            low = frame < 0
            found |= low if self.negative else low & (frame == np.rint(frame))
            found |= self.saturated(frame)
        else:
            highest = frame.max(initial=0)
            if frame.min(initial=0) >= 0 and highest <= MAX_COUNTS and (self.top is None or highest < self.top):
                return None
            found = (frame < 0) | (frame > MAX_COUNTS) | self.saturated(frame)
        return found if found.any() else None

    def saturated(self, frame: NDArray[Any]) -> Mask:
        """Where a frame holds the largest value of a detector."""
        found = np.zeros(frame.shape, bool) if self.top is None else frame == self.dtype.type(self.top)
        if self.dtype.kind == "f":
            found |= abs(frame / np.float32(np.sqrt(WIDEST) if self.amplitude else WIDEST) - 1) < 1e-6
        return np.asarray(found)

    def values(self, frame: NDArray[Any]) -> Image:
        """A frame as counts, or as the square of what it holds."""
        values = frame.astype(np.float64)
        return np.square(values, out=values) if self.amplitude else values

    @property
    def near(self) -> float:
        """Width of the range below the top in which counts would lie that reach it by chance: two deviations."""
        return 0.0 if self.top is None else 2 * float(np.sqrt(self.top))


@dataclass(eq=False)
class Survey:
    """What a pass saw; what is no count counts as 0.

    Attributes:
        rule: which values are none.
        good: (N, N) the pixels of which frames are the sum.
        numbers: (k,) the frames that were looked at.
        mean: (N, N) of these frames, in bad pixels too.
        highest: (N, N) the largest value of each pixel.
        second: (N, N) its second largest.
        lowest: (N, N) its smallest.
        where: (N, N) the frame with the largest.
        times: (N, N) frames with the largest.
        marked: (N, N) frames in which the pixel holds no count.
        marked_in: (k,) events of each frame.
        totals: (k,) sum of the good pixels of each frame.
        events: (e, 2) frame and flat pixel where a good pixel is saturated, or with ``rule.single`` holds none; not
            those of frames that are bad as a whole.
        at_top: how often good pixels hold ``rule.top``.
        near_top: how often they hold up to ``rule.near`` less.
    """

    rule: Rule
    good: Mask
    numbers: NDArray[np.int64]
    mean: Image = field(init=False)
    highest: Image = field(init=False)
    second: Image = field(init=False)
    lowest: Image = field(init=False)
    where: NDArray[np.int64] = field(init=False)
    times: NDArray[np.int64] = field(init=False)
    marked: NDArray[np.int64] = field(init=False)
    marked_in: NDArray[np.int64] = field(init=False)
    totals: Image = field(init=False)
    events: NDArray[np.int64] = field(init=False)
    at_top: int = 0
    near_top: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing seen."""
        shape, count = self.good.shape, len(self.numbers)
        self.mean, self.second, self.highest = np.zeros(shape), np.full(shape, -1.0), np.full(shape, -1.0)
        self.lowest = np.full(shape, np.inf)
        self.where, self.times, self.marked = (np.zeros(shape, np.int64) for _ in range(3))
        self.marked_in, self.totals = np.zeros(count, np.int64), np.zeros(count)
        self.events = np.empty((0, 2), np.int64)

    def add(self, row: int, frame: NDArray[Any]) -> NDArray[np.int64] | None:
        """Look at a frame; the flat good pixels in it that hold no count."""
        marks, values = self.rule.marks(frame), self.rule.values(frame)
        events = None
        if marks is not None:
            values[marks] = 0
            self.marked += marks
            events = np.flatnonzero((marks if self.rule.single else self.rule.saturated(frame)) & self.good)
            self.marked_in[row] = len(events)
        self.totals[row] = values.sum() if self.good.all() else values[self.good].sum()
        self._saturation(frame)
        self.mean += values
        np.maximum(self.second, np.minimum(self.highest, values), out=self.second)
        np.minimum(self.lowest, values, out=self.lowest)
        more = values > self.highest
        self.times += values == self.highest
        self.times[more] = 1
        self.where[more] = self.numbers[row]
        np.copyto(self.highest, values, where=more)
        return events

    def _saturation(self, frame: NDArray[Any]) -> None:
        top = self.rule.top
        if top is not None and self.rule.dtype.kind in "ui" and frame.max(initial=0) >= top - self.rule.near:
            seen = frame[self.good].astype(np.float64)
            self.at_top += int((seen == top).sum())
            self.near_top += int(((seen < top) & (seen >= top - self.rule.near)).sum())

    @property
    def whole(self) -> Mask:
        """Which of the frames are bad as a whole, (k,)."""
        return self.marked_in > WHOLE_FRAME * max(1, self.good.sum())

    @property
    def reaches_top_by_chance(self) -> bool:
        """Whether the values below the top are as frequent as it: it is a count among others then."""
        return self.at_top > 0 and self.near_top * AS_FREQUENT >= self.at_top * self.rule.near


def survey(counts: Counts, rows: NDArray[np.int64], rule: Rule, good: Mask) -> Survey:
    """Look at some frames, ascending, once, in blocks that fit in memory.

    Args:
        counts: (n, N, N) as stored.
        rows: (k,) which of them.
        rule: which values are no counts.
        good: (N, N) pixels that are not known to be bad.
    """
    seen = Survey(rule, good, rows)
    found: list[NDArray[np.int64]] = []
    left = MOST_EVENTS
    for block in blocks((len(rows), *counts.shape[1:])):
        for events in _events(seen, stored(counts, rows[block]), block.start):
            if len(events) <= min(left, WHOLE_FRAME * good.sum()):
                left -= len(events)
                found.append(events)
    seen.mean /= max(1, len(rows))
    seen.events = np.concatenate([seen.events, *found])
    return seen


def _events(seen: Survey, frames: NDArray[Any], first: int) -> Iterator[NDArray[np.int64]]:
    """Look at frames, from row ``first`` on; the events of those that have some, (e, 2)."""
    for row, frame in enumerate(frames, first):
        events = seen.add(row, frame)
        if events is not None:
            yield np.stack([np.full(len(events), seen.numbers[row]), events], axis=-1)


def stored(counts: Counts, index: slice | NDArray[np.int64]) -> NDArray[Any]:
    """Some frames as they are stored, neither masked nor checked."""
    return counts.stored(index) if isinstance(counts, Frames) else counts[index]


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of ``count`` frames, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
