"""Which linear map of the positions explains the frames best: swapped, mirrored, turned, scaled or sheared axes.

Each map is tried by a few epochs of projections on the innermost frames and judged by detector pixels that these do not
see. A turned scan is pixels off at its edge and not in its middle, so few frames find a coarse map, more a finer one.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from ptychopinn.engines.fisher import Linearised
from ptychopinn.engines.projections import Estimate, Projections
from ptychopinn.physics.conditions import IDEAL, Conditions
from ptychopinn.physics.exit_waves import SubPixel
from ptychopinn.scan.frames import chunks
from ptychopinn.scan.scan import Scan

Matrix = NDArray[np.float64]

FEW, SOME, MORE = 36, 64, 144
"""Innermost frames on which a map is tried: anything, a refinement, the last one and the verdict."""

EPOCHS: Final = 8
"""Passes over them."""

STEPS: Final = 6
"""Projection steps of a pass: more frames make larger batches, not more steps."""

SWAPS: Final = tuple(sorted(product((0, 1), (0, 1), (0, 1)), key=sum))
"""Exchanges of the axes, and mirrors after it, as ``--swap-xy --flip-y --flip-x`` do them; the simplest first."""

ANGLES: Final = tuple(sign * angle for angle in range(4, 46, 4) for sign in (1, -1))
"""Degrees; a step is a pixel at the edge of 36 frames with a usual overlap."""

SCALES: Final = (0.75, 0.83, 0.91, 1.1, 1.2, 1.33)
"""Factors, of a wrong pixel size."""

BETTER, CLEARLY, HARDLY, TIE = 0.95, 0.7, 0.97, 0.9
"""Share of the deviance on the held-out pixels below which a map is better, and so that no other needs to be tried;
above which it is not worth a refinement; and above which two exchanges of the axes are as good. Every map of right
positions leaves 0.98 or more."""

GLANCE: Final = 0.03
"""Size of the changes of a quick look, to both sides."""

CHANGES: Final = (
    ((0.0, 1.0), (-1.0, 0.0)),
    ((1.0, 0.0), (0.0, 1.0)),
    ((1.0, 0.0), (0.0, -1.0)),
    ((0.0, 1.0), (1.0, 0.0)),
)
"""A turn, a scale, a stretch along y and a shear, on (y, x)."""

NOISE, MOSTLY = 1.3, 0.5
"""Deviance that noise hardly leaves; a map after which more is left must explain half of it, or it is not the cause."""

STRETCHES: Final = (0.6, 1.7)
"""Plausible ones; a map beyond them only makes frames overlap that do not."""

STEP: Final = 0.03
"""First change of a map by its refinement: half a pixel at the edge of 64 frames."""

TRIALS: Final = 30
"""Evaluations of each refinement of a map."""

SMALLEST, MOST_LIGHT = 64, 0.95
"""Edge of the smallest part of a detector that is looked at, and the share of the light that it must hold."""

LEAST_FRAMES: Final = 25
"""Frames that a map must explain."""

TURN, STRETCH, SHEAR = 0.7, 0.015, 0.02
"""Degrees, and shares, below which a part of a map is not named: the errors of simulated cases."""


LOOKED_AT, SAMPLE, FAR_MORE = 512, 64, 2.0
"""Frames that are compared with their neighbours, how many are read at once, and the factor by which frames of another
place must differ more than those of the middle."""

SMALL: Final = "correct the positions in the file (axes of the motors, pixel size)"


@dataclass(frozen=True)
class Axes:
    """A linear map of measured positions to better ones, about their middle.

    Attributes:
        swap, flip_y, flip_x: exchange of the axes, and mirrors after it.
        matrix: (2, 2) what is left to do after them, (y, x).
        gain: deviance on held-out pixels over that of the measured positions.
    """

    swap: bool
    flip_y: bool
    flip_x: bool
    matrix: Matrix
    gain: float

    @property
    def rotation(self) -> float:
        """Degrees from x to y: clockwise on a picture whose y goes down."""
        return math.degrees(math.atan2(self.matrix[0, 1] - self.matrix[1, 0], np.trace(self.matrix)))

    @property
    def scale(self) -> float:
        """Mean stretch."""
        return float(np.linalg.svd(self.matrix, compute_uv=False).mean())

    @property
    def shear(self) -> float:
        """Difference of the two principal stretches."""
        return float(np.ptp(np.linalg.svd(self.matrix, compute_uv=False)))


def better_axes(scan: Scan, subpixel: SubPixel, device: str = "cpu", known: Conditions = IDEAL) -> Axes | None:
    """The map that explains the frames clearly better than the positions as they are; None where none does.

    Args:
        scan: as measured.
        subpixel: model between pixels.
        device: torch device.
        known: flux and background, without which the short fits blame the positions for these.
    """
    if not _spreads(scan):
        return None
    middle = telling_middle(scan)
    few, some, more = (_Trials(scan, count, subpixel, device, middle, known) for count in (FEW, SOME, MORE))
    swap = _best(few, (_turned(swap) for swap in SWAPS), TIE)
    start = swap
    if few(start) > CLEARLY * few(np.eye(2)):
        bases = {swap.tobytes(): swap, np.eye(2).tobytes(): np.eye(2)}.values()
        start = _best(few, (start, *(_rotation(angle) @ base for base in bases for angle in ANGLES)))
    start = _refined(some, _best(some, (np.eye(2), start, *(scale * start for scale in SCALES))))
    if _gain(start, some, more) > HARDLY:
        return None
    start = _refined(more, start)
    gain = _gain(start, some, more)
    stretches = np.linalg.svd(start, compute_uv=False)
    if (more(start) > NOISE and gain > MOSTLY) or not STRETCHES[0] < stretches.min() <= stretches.max() < STRETCHES[1]:
        return None
    reach = np.linalg.norm((scan.positions - scan.positions.mean(axis=0)) @ (start - np.eye(2)).T, axis=1).max()
    if not (gain < BETTER and reach > 1):
        return None
    # The exchange that leaves the smallest map to do.
    names = min(SWAPS, key=lambda each: float(np.linalg.norm(start @ _turned(each).T - np.eye(2))))
    return Axes(bool(names[0]), bool(names[1]), bool(names[2]), start @ _turned(names).T, gain)


def _gain(matrix: Matrix, some: "_Trials", more: "_Trials") -> float:
    """Share of the deviance that a map leaves: more frames must agree that it is better, fewer may tell it better."""
    clearly, surely = (trials(matrix) / trials(np.eye(2)) for trials in (some, more))
    return surely if surely >= 1 else min(clearly, surely)


def may_be_better(scan: Scan, subpixel: SubPixel, device: str = "cpu", known: Conditions = IDEAL) -> bool:
    """Whether :func:`better_axes` is worth its time: a look at small maps, a tenth of it.

    A fit adapts to axes that are a little wrong, and its deviance ends near that of noise; that of held-out pixels of
    short fits tells more. The changes at which parabolas through three sizes of each have the least deviance must,
    together, explain more frames too. Where a parabola has none, as of few photons, nothing is told.
    """
    if not _spreads(scan):
        return False
    middle = telling_middle(scan)
    some, more = (_Trials(scan, count, subpixel, device, middle, known) for count in (SOME, MORE))
    found = np.eye(2)
    for change in np.array(CHANGES):
        found += change * _lowest(*(some(np.eye(2) + size * change) for size in (-GLANCE, 0, GLANCE)))
    return bool(abs(found - np.eye(2)).max() > STRETCH / 2) and more(found) < HARDLY * more(np.eye(2))


def _lowest(below: float, here: float, above: float) -> float:
    """Where a parabola through values one ``GLANCE`` apart is lowest, from the middle one, at most two away."""
    bend = above + below - 2 * here
    return min(2.0, max(-2.0, (below - above) / (2 * bend))) * GLANCE if bend > 0 else 0.0


def _spreads(scan: Scan) -> bool:
    """Whether positions are enough, and not on a line, so that a map of them means something."""
    return len(scan) >= LEAST_FRAMES and np.linalg.matrix_rank(scan.positions - scan.positions.mean(axis=0)) == 2


def affine_in_words(matrix: Matrix) -> str:
    """Rotation, scale and shear of a small map (2, 2), (y, x)."""
    axes = Axes(False, False, False, matrix, 1.0)
    turned = f"turned by {axes.rotation:.2g} degrees (from x to y)"
    return f"{turned}, scaled by {axes.scale:.3f}, sheared by {axes.shear:.1%}"


def nearby_map(scan: Scan, subpixel: SubPixel, device: str = "cpu", known: Conditions = IDEAL) -> Matrix:
    """The small linear map of the positions about their middle that explains the innermost frames best, (y, x).

    A fit of the whole scan takes up most of a wrong map into its image, and then sees little of it; these short fits
    all begin at vacuum.

    Args:
        scan: with its positions as measured.
        subpixel: model between pixels.
        device: torch device.
        known: flux and background so far, without which the short fits blame the positions for these.
    """
    if not _spreads(scan):
        return np.eye(2)
    middle = telling_middle(scan)
    some, more = (_Trials(scan, count, subpixel, device, middle, known) for count in (SOME, MORE))
    found = _refined(more, _refined(some, np.eye(2)))
    stretches = np.linalg.svd(found, compute_uv=False)
    plausible = STRETCHES[0] < stretches.min() <= stretches.max() < STRETCHES[1]
    return found if plausible and more(found) < HARDLY * more(np.eye(2)) else np.eye(2)


def axes_in_words(axes: Axes) -> str:
    """What is wrong with the axes, and what mends it."""
    flags = " ".join(
        flag
        for flag, wanted in (("--swap-xy", axes.swap), ("--flip-y", axes.flip_y), ("--flip-x", axes.flip_x))
        if wanted
    )
    kinds = {
        "swapped": axes.swap,
        "mirrored": axes.flip_x != axes.flip_y,
        "turned by 180 degrees": axes.flip_x and axes.flip_y,
        f"turned by {axes.rotation:.1f} degrees (from x to y)": abs(axes.rotation) > TURN,
        f"scaled by {axes.scale:.3f}": abs(axes.scale - 1) > STRETCH,
        f"sheared by {axes.shear:.1%}": axes.shear > SHEAR,
    }
    small = any(list(kinds.values())[3:])
    mends = " and ".join(part for part in (f"give {flags}" if flags else "", SMALL if small else "") if part)
    if axes.flip_y and axes.flip_x and not axes.swap:
        mends += " (the same frames come of a conjugated probe, as programs of the other sign have it: is it one?)"
    return (
        f"the axes are wrong: with positions {', '.join(kind for kind, there in kinds.items() if there)} about their "
        f"middle the innermost frames leave {axes.gain:.2g} times the deviance; {mends or SMALL}"
    )


class _Trials:
    """Deviances on held-out pixels of the frames about a place, one for each map."""

    def __init__(
        self, scan: Scan, count: int, subpixel: SubPixel, device: str, middle: Matrix, known: Conditions = IDEAL
    ) -> None:
        distance = np.linalg.norm(scan.positions - middle, axis=1)
        rows = np.sort(np.argsort(distance, kind="stable")[:count])
        self.scan = _cropped(scan.subset(rows))
        cut = (scan.N - self.scan.N) // 2
        flux = None if known.flux is None else known.flux[rows]
        background = None if known.background is None else known.background[cut : scan.N - cut, cut : scan.N - cut]
        self.conditions = Conditions(flux, background).to(device)
        self.subpixel, self.device = subpixel, device
        self._known: dict[bytes, float] = {}

    def __call__(self, matrix: Matrix) -> float:
        key = np.round(matrix, 6).tobytes()
        if key not in self._known:
            self._known[key] = self._deviance(matrix)
        return self._known[key]

    def _deviance(self, matrix: Matrix) -> float:
        middle = self.scan.positions.mean(axis=0)
        scan = replace(self.scan, positions=middle + (self.scan.positions - middle) @ matrix.T, object=None)
        estimate = replace(Estimate.of(scan, self.device), conditions=self.conditions)
        steps = Projections(scan, estimate, self.subpixel, hold_out=True)
        for _ in range(EPOCHS):
            steps.epoch(max(1, len(scan) // STEPS))
        return Linearised(scan, estimate, self.subpixel, hold_out=True, deviance_only=True).held_out


def telling_middle(scan: Scan) -> Matrix:
    """The place (2,) whose frames tell positions: the middle, unless frames elsewhere differ far more from neighbours.

    Frames of vacuum or of one plane fit any positions. Two frames differ by
    ``sum (k - l)^2 / (k + l + 1) / pixels``, of which noise leaves 1 at most.
    """
    rows = np.unique(np.linspace(0, len(scan) - 1, min(len(scan), LOOKED_AT)).round().astype(np.int64))
    _, near = cKDTree(scan.positions).query(scan.positions[rows], k=2)
    differ = np.zeros(len(rows))
    for part in chunks(len(rows), SAMPLE):
        here, there = (scan.array(each).astype(np.float64) for each in (rows[part], near[part, 1]))
        differ[part] = (np.square(here - there) / (here + there + 1)).mean(axis=(1, 2))
    places, middle = scan.positions[rows], np.median(scan.positions, axis=0)
    count = max(1, round(SOME * len(rows) / len(scan)))
    _, around = cKDTree(places).query(np.vstack([middle, places]), k=range(1, min(count, len(rows)) + 1))
    told = np.maximum(differ[around].mean(axis=1) - 1, 0)
    best = int(told.argmax())
    return places[best - 1] if told[best] > FAR_MORE * told[0] else middle


def _cropped(scan: Scan) -> Scan:
    """A scan with the part of its detector that holds most light: coarser pixels tell axes as well, and sooner."""
    mean = scan.frames(slice(None)).double().mean(dim=0)
    for size in range(SMALLEST, scan.N, 32):
        inner = slice(scan.N // 2 - size // 2, scan.N // 2 + size // 2)
        if mean[inner, inner].sum() > MOST_LIGHT * mean.sum():
            return scan.crop(size)
    return scan


def _best(trials: _Trials, maps: Iterable[Matrix], tie: float = 1.0) -> Matrix:
    """The best map; a later one must be better by more than what chance does, ``tie``."""
    first, *others = maps
    for each in others:
        if trials(each) < tie * trials(first):
            first = each
    return first


def _refined(trials: _Trials, start: Matrix) -> Matrix:
    """A better map nearby, by the simplex search of Nelder and Mead over rotation, stretches and shear."""

    def of(change: Matrix) -> Matrix:
        turn, grow, stretch, shear = change.tolist()
        square = np.array([[grow + stretch, shear - turn], [shear + turn, grow - stretch]])
        return (np.eye(2) + square) @ start

    simplex = np.vstack([np.zeros(4), STEP * np.eye(4)])
    found = minimize(
        lambda change: trials(of(change)),
        np.zeros(4),
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "maxfev": TRIALS, "xatol": 1e-3, "fatol": 1e-3},
    )
    return of(np.asarray(found.x))


def _turned(swap: tuple[int, int, int]) -> Matrix:
    exchange, flip_y, flip_x = swap
    axes = np.eye(2)[::-1] if exchange else np.eye(2)
    return np.diag([1.0 - 2 * flip_y, 1.0 - 2 * flip_x]) @ axes


def _rotation(degrees: float) -> Matrix:
    """From x to y."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])
