"""How much light the far field of a probe explains, whatever some of the detector pixels read.

Over a scan the mean frame is the far field of the probe, spread by the power spectrum S of the object:
``mean = |F P|^2 * S`` (convolution; exact for positions that are spread evenly). With S constant on rings, and a
constant background, few numbers describe all pixels; a regression to a quantile finds them from most of the pixels, and
those that read multiples of their light do not count.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import ndtri

Image = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEAST, MIDDLE = 1 / 4, 1 / 2
"""Quantiles of the pixels: up to three quarters of them, or half, may read too much."""

WIDER = 1.6
"""Ratio of the radii of neighbouring rings."""

ROUNDS = 12
"""Reweighted least-squares fits that make a quantile of a mean."""

UNEVEN = 0.15
"""Relative scatter of pixels, beside their noise, below which they agree."""

ENOUGH = 20.0
"""Counts of a pixel, over all frames, from which its misfit is looked at."""

NOT_THAT_PROBE = 0.45
"""Median misfit of pixels from which on the far field of the probe says nothing about the frames."""

MOST_STEPS = 1000
"""Steps of the solver of one fit; it takes about as many as there are rings."""

MOST_PIXELS = 2**14
"""Pixels that are fitted, spread over a larger detector."""


class Explained(NamedTuple):
    """Photons per frame, hidden pixels included, that the far field of a probe explains.

    Attributes:
        least: by a quarter of the pixels.
        middle: by half of them.
        seen: share of ``middle`` that falls on good pixels.
        misfit: median of ``|mean / fit - 1|`` of the pixels: large where the probe is not that of the frames.
    """

    least: float
    middle: float
    seen: float
    misfit: float


def explained(mean: Image, far: Image, good: Mask, frames: int) -> Explained:
    """The light of a mean frame that spread far fields explain.

    Args:
        mean: (N, N) photons.
        far: (N, N) far field of the probe, any unit.
        good: (N, N) pixels to look at; the probe has light on some.
        frames: of which ``mean`` is the mean.
    """
    parts = _parts(far)
    least = _fit(parts, mean, good, frames, LEAST)
    light = _fit(parts, mean, good, frames, MIDDLE)
    pattern = np.tensordot(light, parts, axes=1)
    told = good & (mean * frames > ENOUGH)
    misfit = abs(mean[told] / np.maximum(pattern[told], 1e-300) - 1)
    whole = float(light[:-1].sum())
    seen = float(np.tensordot(light[:-1], parts[:-1], axes=1)[good].sum()) / whole if whole > 0 else 0.0
    return Explained(float(least[:-1].sum()), whole, seen, float(np.median(misfit)) if misfit.size else float("inf"))


def expected_pattern(mean: Image, far: Image, good: Mask, frames: int) -> Image:
    """The mean pattern (N, N) that most pixels agree on, with its background; see :func:`explained`."""
    parts = _parts(far)
    return np.asarray(np.tensordot(_fit(parts, mean, good, frames, MIDDLE), parts, axes=1))


def _parts(far: Image) -> Image:
    """The far field spread by each ring, and the background last, of unit sum: (k, N, N)."""
    parts = [_spread(far / far.sum(), ring) for ring in _rings(far.shape)]
    return np.stack([*parts, np.full(far.shape, 1 / far.size)])


def _rings(shape: tuple[int, ...]) -> list[Mask]:
    """Rings of growing width up to a third of the frame: beyond, S looks like a background."""
    rows, columns = (np.arange(size) - size // 2 for size in shape)
    radius = np.hypot(rows[:, None], columns)
    edges = [0.0, 0.5]
    while edges[-1] < min(shape) / 3:
        edges.append(max(1.5, WIDER * edges[-1]))
    return [(radius >= low) & (radius < high) for low, high in zip(edges[:-1], edges[1:], strict=True)]


def _spread(far: Image, ring: Mask) -> Image:
    """The far field convolved with a ring of unit sum; it wraps round like the frames."""
    kernel = np.fft.rfft2(np.fft.ifftshift(ring / ring.sum()))
    return np.maximum(np.fft.irfft2(np.fft.rfft2(far) * kernel, far.shape), 0.0)


def _fit(parts: Image, mean: Image, good: Mask, frames: int, quantile: float) -> Image:
    """Coefficients (k,), none negative, of which the fit is a quantile of what pixels hold, relative to their noise."""
    pixels = np.flatnonzero(good)
    pixels = pixels[:: -(-len(pixels) // MOST_PIXELS)]
    columns, seen = parts.reshape(len(parts), -1)[:, pixels].T, mean.ravel()[pixels]
    weight, target = 1 / np.sqrt(np.maximum(seen, 1e-6 * seen.max()) + 1 / frames), seen
    for _ in range(ROUNDS):
        weighted = columns * weight[:, None]
        size = np.linalg.norm(weighted, axis=0) + 1e-300  # of equal size, or the solver goes in circles
        found = nnls(weighted / size, target * weight, maxiter=MOST_STEPS)[0] / size
        fit = columns @ found
        noise = np.sqrt(fit / frames)
        spread = np.sqrt((UNEVEN * fit) ** 2 + noise**2 + 1e-12 * seen.max() ** 2)
        target = seen - ndtri(quantile) * noise  # noise alone is not to lower the quantile
        off = (target - fit) / spread
        # Below 0.3 deviations the pinball loss is rounded off.
        weight = np.sqrt(np.where(off > 0, quantile, 1 - quantile) / np.maximum(abs(off), 0.3)) / spread
    return np.asarray(found)
