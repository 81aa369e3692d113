"""Pixels and frames of a detector that are probably broken, told from those that are only bright or dark.

Light behind a probe of D pixels is a band-limited function of the detector pixel: no pattern is sharper than the far
field of the probe, which is looked at too. A pixel far above its neighbours and above its own other frames is no light.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychopinn.scan.beam import offset_between
from ptychopinn.scan.detector.gains import Gains, gains
from ptychopinn.scan.detector.survey import Image, Mask, Survey, stored
from ptychopinn.scan.frames import Counts
from ptychopinn.scan.probe import light

PAIR, TRACK = 2, 3
"""Which of its brightest neighbours a pixel is compared with: pairs of hot pixels are common, cosmic rays leave short
tracks, and light in a line has two bright neighbours."""

SHARPEST: Final = 5.0
"""Times its second brightest neighbour a pixel of the mean pattern may hold."""

SHARPEST_ONCE: Final = 8.0
"""Times its third brightest neighbour a pixel of one frame may hold."""

ABOVE_ITSELF: Final = 4.0
"""Times its second largest value a pixel may hold; on good scans it is at most 1.9."""

ENOUGH: Final = 100
"""Counts of the neighbours from which on a pixel without any is dead, not dark."""

WIDEST_GAP: Final = 40
"""Pixels of a gap or beam stop between lit pixels; more are a dark field."""

FEWEST: Final = 10
"""Frames from which on a constant pixel is stuck."""

MOST_ZINGERS: Final = 200
"""Frames that are read once more for zingers; more of them are no rare events."""

BRIGHT: Final = 4.0
"""Times the light of its neighbours a frame may have; overlapping frames share most of theirs."""

DIM: Final = 0.1
"""The least of it."""

SPARSE: Final = 30
"""Counts of a frame from which on their places tell noise from light."""

FARTHEST: Final = 1e100
"""Places up to which distances, whose squares are summed, do not overflow; NaN is none."""

OPAQUE: Final = 2e-4
"""Share of the usual light that an opaque object may let through; a frame with fewer counts is one without light."""

MOST_FRAMES: Final = 0.1
"""Share of the frames that may be far from the others; more of them are how the light was."""


@dataclass(frozen=True, eq=False)
class Faults:
    """What is wrong with pixels, (N, N) each, and frames.

    Attributes:
        hot: pixels brighter in every frame than the light can be.
        dead: pixels without a count between lit ones.
        stuck: pixels with one and the same count in every frame.
        zingers: (e, 2) frame and flat pixel of single values far too bright.
        bright: frames with far more light than their neighbours.
        dim: frames with nearly none, but some.
        dark: frames with none.
        gains: lines and modules that read a multiple of their light.
    """

    hot: Mask
    dead: Mask
    stuck: Mask
    zingers: NDArray[np.int64]
    bright: NDArray[np.int64]
    dim: NDArray[np.int64]
    dark: NDArray[np.int64]
    gains: Gains


def faults_in(counts: Counts, seen: Survey, probe: NDArray[np.complex64] | None, places: Image | None) -> Faults:
    """Look for what is probably broken.

    Args:
        counts: (n, N, N) as stored.
        seen: a pass over them.
        probe: (m, N, N); None where there is none.
        places: (k, 2) positions of the frames that were looked at; None where they are not known.
    """
    field = _far_field(probe, seen.good.shape)
    blur = 1.0 if probe is None or field is None else _blur(probe)
    bright, dim, dark = _odd_frames(seen, places)
    dim = _noise(counts, seen, dim)
    dead, stuck = _dead(seen, field), _stuck(seen)
    return Faults(
        hot=_hot(seen, field, seen.good & ~dead & ~stuck, blur),
        dead=dead,
        stuck=stuck,
        zingers=_zingers(counts, seen, bright, blur),
        bright=bright,
        dim=dim,
        dark=dark,
        gains=_gains(seen, field, seen.good & ~dead & ~stuck, bright),
    )


def _gains(seen: Survey, field: Image | None, good: Mask, bright: NDArray[np.int64]) -> Gains:
    """Lines and steps of the gain; none where there is no probe, the beam is off, or odd frames decide the mean."""
    frames = len(seen.numbers)
    if field is None or len(bright) or offset_between(seen.mean, field, good, frames) is not None:
        return Gains(np.zeros_like(good), 1.0, ())
    return gains(seen.mean, field, good, frames)


def _far_field(probe: NDArray[np.complex64] | None, shape: tuple[int, ...]) -> Image | None:
    """Photons of the probe on the detector, (N, N); None where the probe does not tell."""
    if probe is None or probe.ndim != 3 or probe.shape[1:] != shape or not np.isfinite(probe).all():
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # a scan refuses such a probe
        field: Image = light.far_intensity(probe.astype(np.complex128)).astype(np.float64)
        single = probe.astype(np.complex64)
    return field if field.any() and np.isfinite(field).all() and np.isfinite(single).all() else None


def _blur(probe: NDArray[np.complex64]) -> float:
    """How much sharper than usual patterns may be: a probe wider than half a frame is not sampled finely."""
    width = light.width(probe.astype(np.complex64), level=0.1)
    return max(1.0, (2 * width / probe.shape[-1]) ** 4)


def beside(image: Image, good: Mask, rows: NDArray[np.int64], columns: NDArray[np.int64], rank: int) -> Image:
    """The ``rank``-th brightest of the good neighbours, of eight, of some pixels (k,); -1 where there are fewer."""
    padded = np.pad(np.where(good, image, -1.0), 1, constant_values=-1.0)
    moves = [(y, x) for y in (0, 1, 2) for x in (0, 1, 2) if (y, x) != (1, 1)]
    near = np.stack([padded[rows + y, columns + x] for y, x in moves])
    found: Image = np.partition(near, 8 - rank, axis=0)[8 - rank]
    return found


def _above(value: Image, other: Image, times: float | Image) -> Mask:
    """Where counts are more than so many times what gave ``other`` counts can give, noise of both included."""
    most = other + 3 + 3 * np.sqrt(other + 2)
    return value > times * most + 8 * np.sqrt(times * most)


def _hot(seen: Survey, field: Image | None, good: Mask, blur: float) -> Mask:
    """Pixels of the mean pattern, without their brightest frame, that are sharper than the light.

    The beam itself, within 2 px of the zero frequency, is left alone.
    """
    frames = len(seen.numbers)
    found = np.zeros_like(good)
    if frames < 3:
        return found
    total = np.maximum(seen.mean * frames - seen.highest, 0)
    rows, columns = np.nonzero(good & (total > ENOUGH) & (seen.second > 0))
    near = beside(total, good, rows, columns, PAIR)
    sharpest = np.full(len(rows), SHARPEST * blur)
    if field is not None:
        own = field[rows, columns] / np.maximum(beside(field, good, rows, columns, PAIR), 1e-300)
        peaks = field[rows, columns] > 0.1 * field.max()
        sharpest = np.maximum(sharpest, 2 * np.maximum(own, own[peaks].max(initial=0.0)))
    height, width = good.shape
    beam = np.hypot(rows - height // 2, columns - width // 2) < 3
    hot = (near >= 0) & ~beam & _above(total[rows, columns], np.maximum(near, 0), sharpest)
    found[rows[hot], columns[hot]] = True
    return found


def _dead(seen: Survey, field: Image | None) -> Mask:
    """Pixels without any count between two lit ones, where the probe says that there is light.

    A row or column without any count is dead as a whole when a part of it is.
    """
    total = seen.mean * len(seen.numbers)
    empty = seen.good & (total == 0)
    found = np.zeros_like(empty)
    if field is None or not empty.any():
        return found
    found |= _between(total, empty, field, seen.good)
    found |= _between(total.T, empty.T, field.T, seen.good.T).T
    for axis in (0, 1):
        line = (empty | ~seen.good).all(axis=axis) & found.any(axis=axis)
        found |= empty & (line[None, :] if axis == 0 else line[:, None])
    return found


def _between(total: Image, empty: Mask, field: Image, good: Mask) -> Mask:
    """Empty pixels of a row between two lit ones of it."""
    width = total.shape[1]
    at = np.arange(width)
    lit = good & ~empty
    left = np.maximum.accumulate(np.where(lit, at, -1), axis=1)
    right = np.minimum.accumulate(np.where(lit, at, width)[:, ::-1], axis=1)[:, ::-1]
    inside = empty & (left >= 0) & (right < width) & (right - left <= min(WIDEST_GAP, width // 2))
    rows, columns = np.nonzero(inside)
    sides = left[rows, columns], right[rows, columns]
    seen = np.minimum(*(total[rows, side] for side in sides))
    expected = np.minimum(*(field[rows, side] for side in sides))
    told = field[rows, columns]
    dead = (seen >= ENOUGH) & (told > 0) & (told >= 0.1 * expected) & (expected >= 1e-6 * field.max())
    found = np.zeros_like(empty)
    found[rows[dead], columns[dead]] = True
    return found


def _stuck(seen: Survey) -> Mask:
    """Pixels whose count never changes though it is not zero, unless most lit pixels are so."""
    lit = seen.good & (seen.highest > 0)
    stuck = lit & (seen.lowest == seen.highest)
    return stuck if len(seen.numbers) >= FEWEST and 2 * stuck.sum() < lit.sum() else np.zeros_like(stuck)


def _zingers(counts: Counts, seen: Survey, bright: NDArray[np.int64], blur: float) -> NDArray[np.int64]:
    """Values far above the pixel's other frames, and above its neighbours in the same frame."""
    nothing = np.empty((0, 2), np.int64)
    if len(seen.numbers) < FEWEST:
        return nothing
    above = seen.good & _above(seen.highest, np.maximum(seen.second, 0), ABOVE_ITSELF)
    above &= ~np.isin(seen.where, bright)
    flat = np.flatnonzero(above)
    numbers = np.unique(seen.where.ravel()[flat])
    if not 0 < len(numbers) <= MOST_ZINGERS:
        return nothing
    found = [nothing]
    for number in numbers:
        frame = stored(counts, np.array([number]))[0]
        values, marks = seen.rule.values(frame), seen.rule.marks(frame)
        here = flat[seen.where.ravel()[flat] == number]
        rows, columns = np.unravel_index(here, seen.good.shape)
        near = beside(values, seen.good if marks is None else seen.good & ~marks, rows, columns, TRACK)
        sharp = (near >= 0) & _above(values[rows, columns], np.maximum(near, 0), SHARPEST_ONCE * blur)
        found.append(np.stack([np.full(int(sharp.sum()), number), here[sharp]], axis=-1))
    return np.concatenate(found)


def _noise(counts: Counts, seen: Survey, dim: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the dim frames whose counts lie anywhere, not where an opaque object would leave some light."""
    light = np.where(seen.good, seen.mean, 0.0)
    order = np.sort(light, axis=None)[::-1]
    core = light >= order[np.searchsorted(np.cumsum(order), 0.5 * order.sum())]
    share = core.sum() / seen.good.sum()
    found = []
    for number in dim:
        frame = stored(counts, np.array([number]))[0]
        values, marks = seen.rule.values(frame), seen.rule.marks(frame)
        values = np.where(seen.good if marks is None else seen.good & ~marks, values, 0.0)
        total, inside = float(values.sum()), float(values[core].sum())
        if total < SPARSE:
            noise = total < OPAQUE * np.median(seen.totals)
        else:
            noise = inside < 2 * share * total + 3 * np.sqrt(share * total)
        if noise:
            found.append(number)
    return np.array(found, np.int64)


def _odd_frames(seen: Survey, places: Image | None) -> tuple[NDArray[np.int64], ...]:
    """Frames with far more light than their neighbours, with nearly none, and with none; of those not bad as a whole.

    Neighbours are the eight nearest positions: the second brightest of them tells how bright a frame may be, and the
    fifth brightest how dim. More than a tenth of all frames are not odd.
    """
    usual = np.flatnonzero(~seen.whole)
    totals, numbers = seen.totals[usual], seen.numbers[usual]
    dark = numbers[totals == 0]
    nothing = np.empty(0, np.int64)
    if len(usual) < FEWEST:
        return nothing, nothing, dark
    known = places is not None and bool((abs(places) <= FARTHEST).all())
    points = places[usual] if known and places is not None else np.stack([np.arange(len(usual)), 0 * usual], axis=-1)
    _, near = cKDTree(points).query(points, k=10)
    own = near == np.arange(len(usual))[:, None]
    others = np.sort(np.where(own, -1, totals[near]), axis=1)[:, ::-1][:, :8]
    brightest, middle = others[:, 1], others[:, 4]
    high = np.sort(totals)[int(0.9 * (len(totals) - 1))]
    bright = _above(totals, np.maximum(brightest, high), BRIGHT)
    lack = middle - totals > 8 * np.sqrt(np.maximum(middle, 1))
    dim = (totals < DIM * middle) & (totals < DIM * np.median(totals)) & lack & (totals > 0)
    most = MOST_FRAMES * len(seen.numbers)
    return (
        numbers[bright] if bright.sum() <= most else nothing,
        numbers[dim] if dim.sum() <= most else nothing,
        dark,
    )
