"""Rows and columns of a detector that read a multiple of their light, and modules of another gain.

A gain is one factor along a whole line, in the beam and in the dark field alike; light is not: a streak of the object
fades towards the beam. Patterns are compared with what the far field of the probe explains of them.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.scan.detector.survey import Image, Mask
from ptychopinn.scan.probe.far_field import NOT_THAT_PROBE, expected_pattern

WIDEST_LINE: Final = 4
"""Rows, side by side, that are looked at as one line: border pixels of two chips are up to four."""

LEAST_GAIN: Final = 1.25
"""Factor from which on a gain is told from the pattern."""

LEAST_UNTOLD: Final = 1.6
"""The same of a line where the far field hardly explains the pattern, as behind a grating."""

SAME_SIGN: Final = 0.8
"""Share of the pixels of a line that must read too much (or too little) when one does."""

ALIKE: Final = 1.6
"""Largest ratio of the logarithms of the gain where the light is and anywhere."""

SURE, SURELY = 5.0, 10.0
"""Standard errors of the median, of a line and of a step: the light around a step is uneven too."""

MOST_LINES: Final = 4
"""Lines along an axis; more of them are orders of a grating."""

SIDE: Final = 0.05
"""Least share of the light on either side of a step."""

LEAST_PIXELS: Final = 16
"""Pixels of a line with enough counts."""

COUNTS: Final = 30.0
"""Counts of a pixel, over all frames, from which it is looked at."""

BESIDE: Final = 3
"""Rows on each side of a step of the gain that are compared."""

SHARP: Final = 0.7
"""Share of a step that must lie between two rows."""


class Gains(NamedTuple):
    """Where the gain of a detector is another one.

    Attributes:
        lines: (N, N) rows and columns that read a multiple.
        gain: of the worst of them; 1 where there is none.
        steps: of modules: the axis (0: rows), the first row or column behind the step, and the factor behind it.
    """

    lines: Mask
    gain: float
    steps: tuple[tuple[int, int, float], ...]


def gains(mean: Image, far: Image, good: Mask, frames: int) -> Gains:
    """Look for lines and steps.

    Args:
        mean: (N, N) mean frame.
        far: (N, N) far field of the probe.
        good: (N, N) pixels to look at.
        frames: of which ``mean`` is the mean.
    """
    lines, worst, steps = np.zeros_like(good), 1.0, []
    usable = good & (mean * frames > COUNTS)
    if usable.sum() < LEAST_PIXELS or not far[good].any():
        return Gains(lines, worst, ())
    pattern = expected_pattern(mean, far, good, frames)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(usable & (pattern > 0), np.log(mean / pattern), np.nan)
    known = ratio[np.isfinite(ratio)]
    told = len(known) > 0 and np.median(abs(np.expm1(np.minimum(known, 1.0)))) < NOT_THAT_PROBE
    least = np.log(LEAST_GAIN if told else LEAST_UNTOLD)
    found = [[line for line in _lines(*view) if abs(line[0]) > least] for view in ((ratio, mean), (ratio.T, mean.T))]
    for view, some in zip((lines, lines.T), found, strict=True):
        for log, first, width in some if not any(_is_grating(each, len(mean)) for each in found) else ():
            view[first : first + width] = True
            worst = max(worst, float(np.exp(log)), key=lambda gain: abs(np.log(gain)))
    clear = np.where(lines, np.nan, ratio)
    for axis in (0, 1):
        steps += [(axis, *step) for step in _steps(*((clear, mean) if axis == 0 else (clear.T, mean.T)))]
    return Gains(lines & good, worst, tuple(steps))


def _lines(ratio: Image, light: Image) -> list[tuple[float, int, int]]:
    """Lines of rows: the logarithm of the gain, first row, number of rows."""
    found: list[tuple[float, int, int]] = []
    edge = _edges(ratio)
    for width in range(1, WIDEST_LINE + 1):
        for first in (1 + np.flatnonzero(edge[: len(edge) - width] & edge[width:])).tolist():
            band, photons = ratio[first : first + width], light[first : first + width].sum(axis=0)
            # All rows of a line are off, each as a whole, against both sides: a step of the gain is so against one.
            logs = [_gain(row - ratio[side], photons) for row in band for side in (first - 1, first + width)]
            if min(logs) > 0 or max(logs) < 0:
                found.append((min(logs, key=abs), first, width))
    chosen: list[tuple[float, int, int]] = []
    taken = np.zeros(len(ratio), bool)
    for log, first, width in sorted(found, key=lambda line: -abs(line[0])):
        if not taken[max(0, first - 1) : first + width + 1].any():
            chosen.append((log, first, width))
            taken[first : first + width] = True
    return chosen


def _edges(ratio: Image) -> Mask:
    """Whether most pixels of a row are far from those of the row before, (rows - 1,); quick."""
    jump = np.diff(ratio, axis=0)
    known = np.isfinite(jump).sum(axis=1) >= LEAST_PIXELS
    found = np.zeros(len(jump), bool)
    found[known] = abs(np.nanmedian(jump[known], axis=1)) > 0.8 * np.log(LEAST_GAIN)
    return found


def _is_grating(lines: list[tuple[float, int, int]], size: int) -> bool:
    """Whether lines are orders of a grating: many, or as far from the zero frequency on both sides."""
    middles = np.array([2 * (first - size // 2) + width - 1 for _, first, width in lines])
    pairs = abs(middles[:, None] + middles) <= 2
    return len(lines) > MOST_LINES or bool((pairs & (abs(middles) > 4)).any())


def _steps(ratio: Image, light: Image) -> list[tuple[int, float]]:
    """First row behind the largest step of the gain, and the factor."""
    found = []
    below = np.cumsum(light.sum(axis=1)) / light.sum()
    for row in (1 + np.flatnonzero(_edges(ratio))).tolist():
        if not (SIDE < below[row - 1] < 1 - SIDE and BESIDE <= row <= len(ratio) - BESIDE):
            continue
        wide = ratio[row : row + BESIDE].mean(axis=0) - ratio[row - BESIDE : row].mean(axis=0)
        log = _gain(wide, light[row - BESIDE : row + BESIDE].sum(axis=0), SURELY)
        if log and float(np.nanmedian(ratio[row] - ratio[row - 1])) / log > SHARP:
            found.append((abs(log), row, float(np.exp(log))))
    best = max(found, default=None)
    return [] if best is None else [best[1:]]


def _gain(logs: NDArray[np.float64], light: NDArray[np.float64], times: float = SURE) -> float:
    """The logarithm of the one gain of all pixels of a line, from theirs; 0 where there is none."""
    known = np.isfinite(logs)
    if known.sum() < LEAST_PIXELS:
        return 0.0
    logs, light = logs[known], light[known]
    anywhere = float(np.median(logs))
    error = 1.25 * float(np.median(abs(logs - anywhere))) * 1.4826 / np.sqrt(len(logs))
    order = np.argsort(logs)
    lit = float(logs[order][np.searchsorted(np.cumsum(light[order]), light.sum() / 2)])
    same = float((logs * anywhere > 0).mean())
    small, large = sorted((abs(anywhere), abs(lit)))
    sure = small > max(np.log(LEAST_GAIN), times * error) and large < ALIKE * small
    return anywhere if sure and anywhere * lit > 0 and same > SAME_SIGN else 0.0
