"""Why a fit leaves more than noise: how much of the excess deviance each likely cause explains.

The excess is D - E, the deviance less what noise alone leaves. Each cause is refitted alone, the image kept, and its
share is what that refit takes off the excess beyond what it would take off noise (one per parameter):

- flux: a factor per frame, ``c_j = sum k / sum I``; it takes off ``2 [K ln(K / S) - K + S]`` of the totals K and S;
- pixels: a factor per detector pixel, in the same way, less what the factor of the pixels around it takes off;
- light: a factor and a constant per detector pixel, by regression of the counts on the rates; less the share of pixels;
- object: one Fisher step of the image, which a fit at its end has not left to do;
- positions, probe: one of the image together with them, less that of the image alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import kl_div

from ptychopinn.engines.fisher import Linearised, Step, dot, scaling, solve
from ptychopinn.engines.projections import Estimate, Unknown
from ptychopinn.physics.likelihood import RATE_FLOOR
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.fits import PixelFits, pixel_fits
from ptychopinn.scan.scan import Scan

Cause = Literal["flux", "frames", "stop", "pixels", "light", "object", "positions", "probe"]
Vector = NDArray[np.float64]

FLUX, FRAMES, LIGHT, OBJECT, POSITIONS, PROBE = 0.3, 0.3, 0.15, 0.3, 0.3, 0.15
"""Shares of the excess from which a cause is named: about half of the least that simulated faults of its kind have."""

FLAT, SURELY_LIGHT = 5.0, 0.35
"""Deviation of the light, in its mean, up to which it lies everywhere as a background does; and the share from which it
counts though it is not flat: wrong positions and probes leave 5.6 or more, and at most 0.27."""

PIXELS, SURELY_PIXELS = 0.25, 0.6
"""The same of pixels, and the share from which a step of the probe that would explain as much does not count: a probe
is flexible enough to follow a few pixels."""

BLIND, LIT = 0.1, 100.0
"""A pixel is blind when it reads less than this part of its light, of which at least this many photons fell on it."""

MOST_LIGHT = 0.5
"""Share of all light that may be the same in every frame; a wrong probe makes more of the frames look alike."""

SOME_EXCESS = 1.05
"""Deviance over its expectation from which causes are looked for."""

STEPS = 8
"""Conjugate-gradient steps of the refits of probe and positions."""

SEEN = 256
"""Frames, the innermost, from which the causes on the detector, in probe and positions are judged."""

OUTLIER, TIMES = 8.0, 2.5
"""A frame stands out this many robust standard deviations, and this factor, above the median."""

WELL, BLATANT, AROUND = 1.3, 10.0, 2.5
"""Usual deviance of a frame, over that of noise, up to which frames that stand out are bad; how many times worse than
usual a bad one is where frames fit worse than that; and steps of the scan within which none is worse."""


@dataclass(frozen=True)
class Finding:
    """A cause of an excess deviance.

    Attributes:
        cause: flux of frames, single frames, pixels that read nothing, single pixels, light that is the same in every
            frame, an image that is not at its end, positions, probe.
        share: of the excess that it explains.
        amount: of ``light``: its part of all photons; of ``stop``: number of pixels;
            of ``pixels``: counts over rates of the worst pixel.
        pixel: of ``pixels``: row and column of that pixel; of ``stop``: of the middle of them.
    """

    cause: Cause
    share: float
    amount: float = float("nan")
    pixel: tuple[int, int] = (0, 0)


def findings(result: Reconstruction, scan: Scan, device: str = "cpu", doubtful: bool = True) -> list[Finding]:
    """Likely causes of an excess deviance, the most explaining first; empty where there is no excess.

    Where frames or pixels are wrong, probe and positions are not judged: they would follow the fault.

    Args:
        result: with the deviance of every frame.
        scan: that it was made of.
        device: torch device.
        doubtful: judge probe and positions too, which takes about 30 passes over ``SEEN`` frames.
    """
    if result.frame_deviance is None or not result.deviance > SOME_EXCESS * result.expected_deviance:
        return []
    if frames := _named(_of_frames(result, scan), {"flux": FLUX, "frames": FRAMES}):
        return frames
    some = _innermost(scan)
    probe = scan.probe if result.probe is None else result.probe
    part = replace(scan.subset(some), positions=result.positions[some], probe=probe)
    image, conditions = torch.from_numpy(result.object).to(device), result.conditions.of(torch.from_numpy(some))
    places = torch.from_numpy(part.positions - result.origin).to(device)
    estimate = Estimate(image, torch.from_numpy(probe).to(device), places, conditions.to(device))
    fits = pixel_fits(image, result.origin, part, result.subpixel, conditions)
    good = np.ones((scan.N, scan.N), np.bool_) if scan.good_pixels is None else scan.good_pixels
    detector = _named(_of_pixels(fits, good, len(some)), {"stop": PIXELS, "pixels": PIXELS, "light": LIGHT})
    if any(one.share >= SURELY_PIXELS for one in detector) or not (detector or doubtful):
        return detector
    steps = _of_steps(part, estimate, result)
    if sum(one.share for one in detector) > max(one.share for one in steps if one.cause != "object"):
        return detector
    return _named(steps, {"object": OBJECT, "positions": POSITIONS, "probe": PROBE})[:1] if doubtful else []


def _named(found: Iterable[Finding], least: dict[str, float]) -> list[Finding]:
    """The findings of at least these shares, the largest first."""
    return sorted((one for one in found if one.share >= least[one.cause]), key=lambda one: -one.share)


def outliers(result: Reconstruction) -> NDArray[np.int64]:
    """Rows of the frames that fit far worse than the others, the worst first; at most a tenth of all."""
    if result.frame_deviance is None or result.expected_frame_deviance is None or len(result.frame_deviance) < 8:
        return np.empty(0, np.int64)
    ratio = np.log(np.maximum(result.frame_deviance, 1e-12) / np.maximum(result.expected_frame_deviance, 1e-12))
    middle = np.median(ratio)
    spread = max(1.4826 * float(np.median(abs(ratio - middle))), 0.03)
    far = np.flatnonzero(ratio > middle + max(OUTLIER * spread, np.log(TIMES)))
    return far[np.argsort(-ratio[far])] if 10 * len(far) <= len(ratio) else np.empty(0, np.int64)


def misplaced(result: Reconstruction) -> NDArray[np.int64]:
    """Rows of frames that hold what is not of their place: they stand out, and no frame around is worse.

    A bad frame spoils the image under its neighbours, which then stand out too, and where an image fits badly as a
    whole frames of the finest detail do. So a frame must be the worst of all that lie within ``AROUND`` steps, and fit
    ``BLATANT`` times worse than a usual one unless usual ones fit well.
    """
    worst = outliers(result)
    if not len(worst):
        return worst
    assert result.frame_deviance is not None and result.expected_frame_deviance is not None
    ratio = result.frame_deviance / np.maximum(result.expected_frame_deviance, 1e-12)
    usual, tree = float(np.median(ratio)), cKDTree(result.positions)
    step = float(np.median(tree.query(result.positions, k=2)[0][:, 1]))
    found = [
        row
        for row in worst.tolist()
        if (usual < WELL or ratio[row] > BLATANT * usual)
        and ratio[row] >= ratio[tree.query_ball_point(result.positions[row], AROUND * step)].max()
    ]
    return np.sort(np.array(found, np.int64))


def flux_factors(result: Reconstruction) -> Vector:
    """Best factor of every frame of the image's rates, ``sum k / sum I`` over the good pixels, (n,)."""
    assert result.frame_photons is not None
    measured, predicted = result.frame_photons
    return np.asarray(measured / np.maximum(predicted, 1e-12))


def _innermost(scan: Scan) -> NDArray[np.int64]:
    """The ``SEEN`` frames nearest to the middle, in order: the causes are judged on a part of a large scan."""
    distance = np.linalg.norm(scan.positions - np.median(scan.positions, axis=0), axis=1)
    return np.sort(np.argsort(distance, kind="stable")[:SEEN])


def _of_frames(result: Reconstruction, scan: Scan) -> Iterator[Finding]:
    """Flux of frames, and single bad frames."""
    assert result.frame_deviance is not None and result.frame_photons is not None
    assert result.expected_frame_deviance is not None
    pixels = scan.N**2 if scan.good_pixels is None else int(scan.good_pixels.sum())
    above = (result.frame_deviance - result.expected_frame_deviance) * pixels
    measured, predicted = result.frame_photons
    less = _taken_off(measured, predicted) - 1
    bad, flux = outliers(result), float(less.sum() / above.sum())
    # What a factor does not explain of the frames that stand out.
    rest = float((above - less)[bad].sum() / above.sum())
    if rest > flux:
        yield Finding("frames", rest)
        flux = float(np.delete(less, bad).sum() / above.sum())
    yield Finding("flux", flux)


def _taken_off(measured: Vector, predicted: Vector) -> Vector:
    """Deviance of totals: what the best factor takes off the deviance of their parts, ``2 [K ln(K / S) - K + S]``."""
    return np.asarray(2 * kl_div(measured, np.maximum(predicted, RATE_FLOOR)))


def _of_pixels(fits: PixelFits, good: NDArray[np.bool_], count: int) -> Iterator[Finding]:
    """Factors of detector pixels, and light that is the same in every one of so many frames."""
    excess = float((fits.deviance - fits.expected)[good].sum()) * count
    if not excess > 0:
        return
    less = (_taken_off(fits.counts * count, fits.rates * count) - 1) * good
    pixels = float(less.sum()) / excess
    both = float((count * (fits.deviance - fits.regressed) - 2)[good].sum()) / excess
    row, column = np.unravel_index(int(less.argmax()), less.shape)
    dead = good & (fits.counts < BLIND * fits.rates) & (fits.rates * count > LIT)
    if float(less[dead].sum()) / excess > max(pixels / 4, float(less.max()) / excess):
        middle = np.argwhere(dead).mean(axis=0).round().astype(int).tolist()
        yield Finding("stop", pixels, float(dead.sum()), (middle[0], middle[1]))
        return
    alone = pixels * (1 - _smooth_part(fits.counts * count, fits.rates * count, good))
    reads = float(fits.counts[row, column] / fits.rates[row, column])
    yield Finding("pixels", alone, reads, (int(row), int(column)))
    constant = fits.constant[good]
    part, share = float(constant.sum() / fits.counts[good].sum()), both - max(pixels, 0.0)
    flat = float(constant.std() / max(constant.mean(), 1e-12)) < FLAT
    if part <= MOST_LIGHT and (flat or share > SURELY_LIGHT):
        yield Finding("light", share, part)


def _smooth_part(counts: Vector, rates: Vector, good: NDArray[np.bool_]) -> float:
    """Part of what factors of pixels take off that factors of their neighbours take off as well; totals are given."""
    around = np.ones((3, 3))
    around[1, 1] = 0
    k, s = (ndimage.convolve(x * good, around, mode="constant") for x in (counts, rates))
    factor = np.clip(k / np.maximum(s, 1e-12), 1e-3, 1e3)
    less = 2 * (counts * np.log(factor) - (factor - 1) * rates)
    whole = float(_taken_off(counts, rates)[good].sum())
    return min(1.0, max(0.0, float(less[good].sum()) / whole)) if whole > 0 else 0.0


def _of_steps(scan: Scan, estimate: Estimate, result: Reconstruction) -> list[Finding]:
    """What a step of the image would take off, and of the positions, or of the probe, beyond it."""
    linear = Linearised(scan, estimate, result.subpixel, {"object", "probe", "positions"})
    excess = linear.deviance - result.expected_deviance
    pixels = scan.N**2 if scan.good_pixels is None else int(scan.good_pixels.sum())
    excess *= len(scan) * pixels
    alone = _gain(linear, ("object",))
    freedom: dict[Literal["positions", "probe"], int] = {
        "positions": 2 * len(scan),
        "probe": 2 * estimate.probe.numel(),
    }
    found = [Finding(name, (_gain(linear, ("object", name)) - alone - free) / excess) for name, free in freedom.items()]
    return [Finding("object", alone / excess), *found]


def _gain(linear: Linearised, names: tuple[Unknown, ...]) -> float:
    """Deviance that a Fisher step of some unknowns takes off, ``-g^T dx``."""
    scales = linear.preconditioner()
    scales = {name: value if name in names else torch.zeros_like(value) for name, value in scales.items()}
    right: Step = {
        name: -value if name in names else torch.zeros_like(value) for name, value in linear.gradient.items()
    }
    return dot(right, solve(linear, right, STEPS, scaling(scales)))
