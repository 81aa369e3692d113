"""Pixels that hold no count: in every frame, or in a few; and what loses least without them."""

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ptychopinn.scan.detector.survey import MARKERS, Mask, Rule, Survey, spread, stored, survey
from ptychopinn.scan.frames import Counts

LOOKED_AT: Final = 64
"""Frames, spread over the scan, that tell what a pixel holds in every frame."""

NEARLY_ALL: Final = 0.9
"""Share of the frames in which a pixel holds no count from which on it never does."""

COUNTERS: Final = tuple(float(2**bits - 1) for bits in (10, 12, 14, 16, 20, 24, 31, 32))
"""Values at which detectors saturate, also where their frames are stored in a wider type."""

PILED_UP: Final = 3
"""Times the largest value of a scan is such a value from which on it is no coincidence."""


def usual_rule(dtype: np.dtype[Any], amplitude: bool = False) -> Rule:
    """What is no count in frames of a type: its largest value, what is negative, NaN, infinity."""
    return Rule(dtype, amplitude, int(np.iinfo(dtype).max) if dtype.kind in "ui" else None)


def never_counting(counts: Counts, rule: Rule, good: Mask) -> Mask:
    """Pixels (N, N) that hold no count in nearly every frame, of frames spread over the scan.

    Args:
        counts: (n, N, N) as stored.
        rule: which values are no counts; here all negative ones are.
        good: (N, N) pixels that are not known to be bad.
    """
    seen = survey(counts, spread(len(counts), LOOKED_AT), replace(rule, negative=True), good)
    frames = len(seen.numbers)
    known = np.min([abs(seen.highest / value - 1) for value in MARKERS], axis=0) < 1e-6
    stuck = known & (seen.times >= NEARLY_ALL * frames) & (frames > 1)
    return good & ((seen.marked >= NEARLY_ALL * frames) | stuck)


def held(counts: Counts, where: Mask, row: int) -> str:
    """The values that some pixels hold in a frame: ``-1 or -2``, ``65535 (the largest uint16)``."""
    dtype = counts.dtype
    values = np.unique(np.asarray(stored(counts, np.array([row])))[0][where])
    finite = values[np.isfinite(values.astype(np.float64))][:3]
    words = [f"{value:.10g}" if dtype.kind == "f" else str(value) for value in finite]
    top = usual_rule(dtype).top
    if top is not None and len(finite) and finite[-1] == top:
        words[-1] += f" (the largest {dtype.name})"
    return " or ".join(words + ["NaN or infinity"] * bool(len(values) > len(finite) and len(finite) < 3))


def look(counts: Counts, rows: NDArray[np.int64], rule: Rule, good: Mask) -> Survey:
    """A survey that knows on which value the detector saturates.

    The largest value of the type is a count where values just below it are as frequent; the largest value of all is a
    saturated one where it is the largest of a counter and comes several times.
    """
    seen = survey(counts, rows, rule, good)
    if seen.reaches_top_by_chance:
        return survey(counts, rows, replace(rule, top=None), good)
    peak = seen.highest[good].max(initial=0.0)
    if peak in COUNTERS and not rule.amplitude and int(seen.times[good & (seen.highest == peak)].sum()) >= PILED_UP:
        return survey(counts, rows, replace(rule, top=int(peak)), good)
    return seen


def cover(
    events: NDArray[np.int64], weight: NDArray[np.float64], frames: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frames to leave out and pixels to mask so that no event is left, and little is lost.

    A pixel p costs its weight, which the frames it is bad in share; a frame costs 1 / ``frames``, and is left out when
    its pixels cost more than that.

    Args:
        events: (e, 2) frame and flat pixel.
        weight: (N * N) what the scan loses with each pixel, of 1.
        frames: of the scan.

    Returns:
        Numbers of frames, and of flat pixels.
    """
    if not len(events):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    numbers, row = np.unique(events[:, 0], return_inverse=True)
    pixels, column, times = np.unique(events[:, 1], return_inverse=True, return_counts=True)
    share = (weight[pixels] / times)[column]
    costly = np.bincount(row, weights=share) > 1 / frames
    return numbers[costly], np.unique(events[~costly[row], 1])


def weights(seen: Survey) -> NDArray[np.float64]:
    """What a scan loses with each pixel, flat: its share of the good pixels or of the light, the larger.

    The light is that without the brightest value of each pixel, which may be none.
    """
    good = seen.good
    light = np.where(good, np.maximum(seen.mean * len(seen.numbers) - seen.highest, 0), 0.0)
    return np.maximum(light / max(float(light.sum()), 1e-300), 1.0 / max(1, good.sum())).ravel()
