"""Checks of a whole scan: what cannot be used is refused, what looks wrong gets a line."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychopinn.errors import PtychoError
from ptychopinn.memory import check_memory, memory
from ptychopinn.scan.arrays import NO_LIGHT
from ptychopinn.scan.beam import beam_offset, mean_frame, off_centre
from ptychopinn.scan.frames import chunks, light_in_corners
from ptychopinn.scan.outliers import check_wild
from ptychopinn.scan.probe_scale import LOWEST, light_of
from ptychopinn.scan.scan import Scan
from ptychopinn.text import readable

CANVAS_BYTES = 50
"""Memory per pixel of the image while it is made: sums of the halves and of the whole, steps and pictures."""

LIKELY_FACTOR = 4.0
"""Largest usual ratio of the photons of a probe and of its brightest frames: few objects absorb more."""

DRIFT_FRAMES, STEADY, DRIFT = 30, 0.75, 0.2
"""Least frames, least share of the variance of ln(photons) that a straight line in time explains, and its least change:
the structure of an object is hardly ever that steady."""

PART, STEP, EXPLAINED, AT_ONCE, ALIKE = 10, 1.25, 0.5, 0.7, 0.9
"""Least frames before and after a step of the flux, its least factor and share of the variance, the least part of it
between frames side by side, and the least share of these that change so: across an edge of the object overlapping
frames change little by little."""

SHIFT = "numpy.fft.fftshift over rows and columns"

SAMPLE = 64
"""Frames, spread over the scan, that are enough to recognise a wrong scan."""


def check_scan(scan: Scan, single_pass: bool = False) -> None:
    """Refuse a scan of which no image can be made. A job calls this once, before it starts.

    Args:
        scan: to check; its frames are read.
        single_pass: one pass of a network makes the image: all frames may lie at one position, and reading stops at
            the first photon.

    Raises:
        PtychoError: when a few frames lie far from the others, the image does not fit in memory, all frames lie at one
            position, or no frame has a photon.
    """
    check_wild(scan.positions, scan.N, scan.numbers)
    if not single_pass and _places(scan) < 2:
        raise PtychoError(f"positions: {_at_one_position(scan)}; overlapping frames at several positions are needed.")
    _check_canvas(scan)
    parts = (scan.array(part) for part in chunks(len(scan), SAMPLE))
    if not (any(part.any() for part in parts) if single_pass else scan.photons > 0):
        raise PtychoError(NO_LIGHT)


def _check_canvas(scan: Scan) -> None:
    """Refuse positions so far apart that their image does not fit in the memory of this machine."""
    height, width = scan.canvas_shape
    check_memory(
        CANVAS_BYTES * height * width,
        f"positions: they reach over {height} x {width} object pixels, too many for an image; "
        "check the unit of xcoords and ycoords",
    )


def beyond_canvas(positions: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Indices of positions so far from the middle of all that an image of them would not fit in memory.

    Args:
        positions: (n, 2) finite, pixels.
        size: edge N of a frame.
    """
    edge = (memory() / CANVAS_BYTES) ** 0.5 / 2 - size
    return np.flatnonzero((abs(positions - np.median(positions, axis=0)) > edge).any(axis=1))


def dark_frames(numbers: NDArray[np.int64], frames: int) -> list[str]:
    """One line about the frames without a photon, out of ``frames``; no line when there are none."""
    if not len(numbers):
        return []
    first = f"frame {numbers[0]}" if len(numbers) == 1 else f"the first is frame {numbers[0]}"
    return [
        f"no photon in {len(numbers)} of {frames} frames ({first}), as with a closed shutter; they make holes in the "
        "image: --set drop_dark=true leaves them out."
    ]


def common_frames(scan: Scan, other: Scan) -> list[tuple[int, int]]:
    """Frames of one scan that are in another, count for count, as numbers of their files; dark ones aside."""
    if scan.N != other.N:
        return []
    theirs = {digest: number for number, digest in _digests(other)}
    return [(number, theirs[digest]) for number, digest in _digests(scan) if digest in theirs]


def _digests(scan: Scan) -> Iterator[tuple[int, bytes]]:
    """Number and hash of every frame that is not dark."""
    for block in scan.blocks():
        for number, frame in zip(scan.numbers[block], scan.array(block).astype(np.float32, copy=False), strict=True):
            if frame.any():
                yield int(number), hashlib.blake2b(frame.tobytes(), digest_size=16).digest()


def flux_changes(scan: Scan, totals: NDArray[np.float64]) -> list[str]:
    """One line about photons per frame that step, or fall or rise steadily, in time; no line when they do not.

    Args:
        scan: positions and numbers of the frames.
        totals: (n,) their photons, in the order of the scan.
    """
    return _flux_step(scan, totals) or _flux_drift(totals)


def _flux_step(scan: Scan, totals: NDArray[np.float64]) -> list[str]:
    """One line about a time from which on overlapping frames hold another number of photons."""
    lit = np.flatnonzero(totals > 0)
    count = len(lit)
    if count < 2 * PART:
        return []
    light, places = np.log(totals[lit]), scan.positions[lit]
    before = np.arange(1, count)
    sums = np.cumsum(light)[:-1]
    change = (light.sum() - sums) / (count - before) - sums / before
    share = change**2 * before * (count - before) / max(count**2 * float(np.var(light)), 1e-12)
    first = PART + int(np.argmax(share[PART - 1 : count - PART]))
    step = float(change[first - 1])
    if abs(step) < np.log(STEP) or share[first - 1] < EXPLAINED:
        return []
    usual = float(np.median(cKDTree(places).query(places, k=2)[0][:, 1]))
    apart, near = cKDTree(places[:first]).query(places[first:])
    beside = apart <= 2 * usual
    between = (light[first:] - light[:first][near])[beside] / step
    if len(between) < PART // 2 or np.median(between) < AT_ONCE or (between > AT_ONCE / 2).mean() < ALIKE:
        return []
    return [
        f"from frame {scan.numbers[lit[first]]} on the photons per frame are {readable(float(np.exp(step)), 2)} times "
        "those before, beside the same places too: are two exposures joined in one file? The image takes the change "
        "for absorption; take one part (--drop-frames FILE), or fit a factor to every frame (refine --refine-flux)."
    ]


def _flux_drift(totals: NDArray[np.float64]) -> list[str]:
    """One line about photons per frame that fall or rise steadily over the scan."""
    lit = np.flatnonzero(totals > 0)
    if len(lit) < DRIFT_FRAMES:
        return []
    time, light = lit / len(totals), np.log(totals[lit])
    slope, start = np.polyfit(time, light, 1)
    steady = 1 - np.var(light - slope * time - start) / max(float(np.var(light)), 1e-12)
    if steady < STEADY or abs(slope) < DRIFT:
        return []
    return [
        f"the photons per frame change steadily over the scan, by a factor of {readable(float(np.exp(slope)), 2)} from "
        "the first frame to the last: a beam whose flux drifts does that, and the image then takes it for absorption "
        "(compare with the monitor of the beam)."
    ]


def _places(scan: Scan) -> int:
    """Number of different positions."""
    ordered = scan.positions[np.lexsort(scan.positions.T)]  # a fifth of the time of np.unique
    return 1 + int((np.diff(ordered, axis=0) != 0).any(axis=1).sum())


def _at_one_position(scan: Scan) -> str:
    y, x = scan.positions[0]
    return f"all {len(scan)} frames lie at one position, y {y:.1f}, x {x:.1f} (did the motors move?)"


class Doubt(NamedTuple):
    """What looks wrong in a valid scan.

    Attributes:
        warning: a sentence.
        cause: of an image that does not explain the frames, as what is wrong; empty where none would come of it.
        remedy: what to do about it.
    """

    warning: str
    cause: str = ""
    remedy: str = ""


def doubts(scan: Scan) -> list[str]:
    """One line for each unit or order of a valid scan that looks wrong."""
    health = [] if scan.health is None else list(scan.health.doubts)
    return [*health, *(doubt.warning for doubt in _doubts(scan))]


def warned_of(scan: Scan) -> str:
    """What the warnings of a scan say of an image that does not explain its frames: cause and remedy, or nothing."""
    if scan.health is not None and scan.health.doubts:
        return "leave out the faults of the detector that are named above, and fit again"
    found = next((doubt for doubt in _doubts(scan) if doubt.cause), None)
    return "" if found is None else f"{found.cause}; {found.remedy}, and fit again"


def _doubts(scan: Scan) -> list[Doubt]:
    """Orders, units and scales, the one first that hides the others."""
    mean, half = mean_frame(scan), scan.N // 2
    found = [*_order_of_frames(scan, mean), *_places_in_doubt(scan), *_light_in_doubt(scan)]
    if light_in_corners(np.square(np.abs(scan.probe)).sum(axis=0)):
        found.append(
            Doubt(
                f"the probe lies in the corners of its frame; its middle belongs at [{half}, {half}]: {SHIFT} "
                "brings it there.",
                "the probe lies in the corners of its frame",
                "bring its middle to that of the frame",
            )
        )
    return found


def _order_of_frames(scan: Scan, mean: NDArray[np.float64]) -> list[Doubt]:
    """The zero frequency of the frames: in their corners, or beside the middle."""
    if light_in_corners(mean):
        return [
            Doubt(
                f"the frames are brightest in their corners; the zero frequency belongs at [{scan.N // 2}, "
                f"{scan.N // 2}]: {SHIFT} brings it there.",
                "the frames have their zero frequency in the corners",
                f"bring it to the middle by {SHIFT}",
            )
        ]
    if (offset := beam_offset(scan, mean)) is None:
        return []
    return [Doubt(off_centre(offset, scan.N), "the beam is not where the probe puts it", "move it by --centre auto")]


def _places_in_doubt(scan: Scan) -> list[Doubt]:
    """Positions that repeat, or are in another unit."""
    found = []
    places, extent = _places(scan), float(np.ptp(scan.positions, axis=0).max())
    if 1 == places < len(scan):
        found.append(Doubt(f"{_at_one_position(scan)}; an image needs overlapping frames at several positions."))
    elif places <= len(scan) / 2:
        few = f"the {len(scan)} frames lie at {places} different positions only"
        found.append(
            Doubt(
                f"{few}; did a motor not move, or are several scans in one file?", few, "give each frame its position"
            )
        )
    if 0 < extent < scan.probe_diameter / 4:
        within = (
            f"all positions lie within {readable(extent)} px, and the probe is {readable(scan.probe_diameter)} px wide"
        )
        found.append(
            Doubt(
                f"{within}; positions are object pixels, are these metres or micrometres?",
                within,
                "give positions in object pixels",
            )
        )
    return found


def _light_in_doubt(scan: Scan) -> list[Doubt]:
    """The photons of probe and frames, and of detector pixels among themselves."""
    found = []
    light = light_of(scan)
    if light is not None and not light.within(LOWEST, LIKELY_FACTOR):
        found.append(
            Doubt(
                f"the probe holds {readable(light.ratio)} times the photons of the brightest frames; about 1 is "
                "expected of a probe in sqrt(photons), and what is missing goes into the amplitude of the object: "
                "--probe-scale counts scales it to them."
            )
        )
    if light is not None and light.uneven:
        found.append(
            Doubt(
                f"the detector pixels do not agree about the light: all of them ask for a probe of "
                f"{readable(light.total)} photons, half of them for {readable(light.frames)}; is there a background, "
                "or a module of another gain?"
            )
        )
    return found
