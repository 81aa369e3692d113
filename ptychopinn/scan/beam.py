"""Where the beam lies on the detector, against where the probe puts it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ptychopinn.errors import IncurableError
from ptychopinn.scan.probe.light import far_intensity
from ptychopinn.scan.scan import Scan

OFF_CENTRE = 0.6
"""Distance along an axis, detector pixels, from which the beam is off: right scans stay below 0.1, and frames are moved
by whole pixels."""

CERTAIN = 5.0
"""Standard deviations of the photon noise that a distance must exceed."""

SAMPLE = 64
"""Frames, spread over the scan, of which the mean is taken."""

BETTER = 0.1
"""Share by which a move must lower the misfit of mean frame and far field: a hot pixel or an uneven background moves
the centre of mass as well, but then no move of the far field explains the frames."""

SPREAD = 512
"""Frames, spread over the scan, of the mean frame that a probe is made of."""

NEAR = 0.05
"""Weight of good pixels in the neighbourhood of a bad one that is enough to fill it."""

CORE = 0.1
"""Share of the brightest light from which on a detector pixel is lit by the direct beam."""

Vector = NDArray[np.float64]


def mean_frame(scan: Scan) -> Vector:
    """Mean (N, N) of ``SAMPLE`` frames, spread over the scan; bad pixels are 0."""
    shown = np.linspace(0, len(scan) - 1, min(len(scan), SAMPLE)).round().astype(np.int64)
    return np.asarray(scan.array(shown).mean(axis=0, dtype=np.float64))


def beam_offset(scan: Scan, mean: Vector) -> Vector | None:
    """Distance (y, x) of the beam from its place, detector pixels; None where it is not significant.

    The centre of mass of the mean frame minus that of the far field of the probe, ``sum_m |F P_m|^2``, both over the
    good pixels: a probe may be asymmetric, so the centre of mass of the frames alone says nothing.

    Args:
        scan: its probe and mask.
        mean: (N, N) photons, of some or all frames.
    """
    good = np.ones_like(mean, dtype=bool) if scan.good_pixels is None else scan.good_pixels
    far = far_intensity(scan.probe).astype(np.float64)
    return offset_between(mean, far, good, min(len(scan), SAMPLE))


def offset_between(mean: Vector, far: Vector, good: NDArray[np.bool_], frames: int) -> Vector | None:
    """:func:`beam_offset` of a mean of so many frames and the far field of a probe, (N, N) each."""
    if not (mean[good].sum() > 0 and far[good].sum() > 0):
        return None
    offset = _centre(mean * good) - _centre(far * good)
    spread = np.sqrt(_variance(mean * good) / (mean.sum() * frames))
    if not (abs(offset) > np.maximum(OFF_CENTRE, CERTAIN * spread)).any():
        return None
    whole = offset.round().astype(int)
    moved = _shifted(far, whole)
    return offset if misfit(mean, moved, good) < (1 - BETTER) * misfit(mean, far, good) else None


def centre_of(scan: Scan, given: str) -> tuple[int, int]:
    """The detector pixel (y, x) that a setting ``centre`` asks for: ``"y,x"``, or ``"auto"``.

    Raises:
        PtychoError: for a pixel outside the frames.
    """
    half = scan.N // 2
    if given == "auto":
        offset = beam_offset(scan, mean_frame(scan))
        y, x = (0, 0) if offset is None else offset.round().astype(int).tolist()
        return half + y, half + x
    y, x = (int(part) for part in given.split(","))
    if not (0 <= y < scan.N and 0 <= x < scan.N):
        raise IncurableError(
            f"centre: {given} given; a pixel y,x of the frames of {scan.N} x {scan.N} pixels is needed, counted from 0."
        )
    return y, x


def mean_root(scan: Scan) -> Vector:
    """Root of the mean frame, (N, N), of ``SPREAD`` frames; bad pixels are filled from those around them."""
    shown = np.unique(np.linspace(0, len(scan) - 1, min(len(scan), SPREAD)).round().astype(np.int64))
    mean = np.zeros((scan.N, scan.N))
    for rows in np.array_split(shown, max(1, len(shown) // SAMPLE)):
        mean += scan.array(rows).sum(axis=0, dtype=np.float64)
    root = np.sqrt(mean / len(shown))
    return root if scan.good_pixels is None else _filled(root, scan.good_pixels)


def _filled(values: Vector, good: NDArray[np.bool_]) -> Vector:
    """Values with those of bad pixels from a Gaussian neighbourhood, as wide as it takes to reach good ones."""
    found, known = np.where(good, values, 0.0), good.copy()
    width = 1.0
    while not known.all() and width < len(values):
        weight = ndimage.gaussian_filter(good.astype(np.float64), width, mode="constant")
        smooth = ndimage.gaussian_filter(np.where(good, values, 0.0), width, mode="constant")
        near = ~known & (weight > NEAR)
        found[near] = smooth[near] / weight[near]
        known |= near
        width *= 2
    return found


def pattern_offset(root: Vector) -> Vector:
    """Distance (y, x) of the light of a mean frame from the middle, detector pixels, without a probe.

    The centre of mass of what is brighter than ``CORE`` of the brightest: scattered light and background do not count.
    It is no more than where the light lies: a probe that is found at the same time takes up the rest.

    Args:
        root: (N, N) root of the mean frame.
    """
    light = ndimage.gaussian_filter(root**2, 1.0)
    top = float(np.quantile(light[light > 0], 0.999)) if (light > 0).any() else 0.0
    core = np.where(light > CORE * top, light, 0.0)
    return _centre(core) - len(root) // 2 if core.any() else np.zeros(2)


def off_centre(offset: Vector, size: int) -> str:
    """One line about a beam that lies beside its place."""
    y, x = offset.tolist()
    row, column = (size // 2 + offset.round().astype(int)).tolist()
    return (
        f"the beam lies ({y:.1f}, {x:.1f}) px (y, x) on the detector beside where the probe puts it, which makes a "
        f"phase ramp of ({2 * np.pi * y / size:.2f}, {2 * np.pi * x / size:.2f}) rad per pixel in the image: "
        f"--centre auto moves the frames (here --centre {row},{column})."
    )


def _centre(light: Vector) -> Vector:
    """Centre of mass (y, x)."""
    return np.array(
        [(np.arange(len(side)) * side).sum() / side.sum() for side in (light.sum(axis=1), light.sum(axis=0))]
    )


def _variance(light: Vector) -> Vector:
    """Variance along (y, x) about the centre of mass."""
    sides, centre = (light.sum(axis=1), light.sum(axis=0)), _centre(light)
    return np.array(
        [((np.arange(len(side)) - at) ** 2 * side).sum() / side.sum() for side, at in zip(sides, centre, strict=True)]
    )


def _shifted(light: Vector, shift: NDArray[np.int_]) -> Vector:
    return np.asarray(np.roll(light, shift.tolist(), axis=(0, 1)))


def misfit(mean: Vector, far: Vector, good: NDArray[np.bool_]) -> float:
    """Squared distance of the roots of mean frame and far field after the best factor, of 1."""
    a, b = np.sqrt(mean[good]), np.sqrt(far[good])
    return float(1 - (a @ b) ** 2 / ((a @ a) * (b @ b)))
