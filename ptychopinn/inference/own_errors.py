"""Error bars of a network that reconstructs whole scans: what its errors were on generated scans that looked alike.

Its errors are mostly its own, not those of the noise: images of the even and of the odd frames differ by far less. So
the bars are regressed, ``ln std = c . f``, on what can be seen of an image: how far the last projection step and the
last pass still moved it, its contrast, and the light.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

SMOOTH: Final = 4.0
"""Pixels over which features and errors are averaged."""

FEATURES: Final = 8

TINY: Final = 1e-4

Features = NDArray[np.float64]


def features_of(image: Tensor, before: Tensor, step: Tensor, light: Tensor) -> Features:
    """What error bars are regressed on, (8, H, W): a constant, four of each pixel and three of the scan.

    Args:
        image: (H, W) complex.
        before: the same before the last pass.
        step: (H, W) complex, the correction of the last projection step.
        light: (H, W) photons on each pixel.
    """
    now, earlier, moved = (part.cpu().numpy().astype(np.complex128) for part in (image, before, step))
    seen = light.double().cpu().numpy()
    weight = seen / seen.max()
    contrast = now - (_smooth(now.real, 2) + 1j * _smooth(now.imag, 2))
    local = [np.log(np.sqrt(_smooth(abs(part) ** 2, 1)) + TINY) for part in (moved, now - earlier, contrast)]
    whole = [np.full_like(seen, (weight * part).sum() / weight.sum()) for part in local]
    return np.stack([np.ones_like(seen), *local, np.log1p(seen) / 8, *whole])


def error_bars(features: Features, model: Sequence[Sequence[float]]) -> tuple[Features, Features]:
    """Standard deviations of amplitude and of phase in rad, (H, W) each."""
    amplitude, phase = (np.exp(np.tensordot(np.asarray(row), features, axes=1).clip(-12, 1.2)) for row in model)
    return amplitude, phase


def fitted(features: Features, errors: Features, usual: Features) -> tuple[float, ...]:
    """Coefficients c of ``ln std = c . f`` for pixels of generated scans.

    A least-squares fit of the logarithm, then a constant such that 1.645 standard deviations hold 90 % of the errors.

    Args:
        features: (8, n).
        errors: (n,) absolute errors.
        usual: (n,) root mean square errors around each pixel, see :func:`around`.
    """
    # A little ridge: features of a scan are nearly those of its pixels.
    matrix = features @ features.T / features.shape[1] + 1e-3 * np.eye(len(features))
    found = np.linalg.solve(matrix, features @ np.log(usual + TINY) / features.shape[1])
    ratio = errors / np.exp(found @ features)
    found[0] += np.log(np.quantile(ratio, 0.9) / 1.645)
    return tuple(float(value) for value in found)


def around(errors: Features) -> Features:
    """Root mean square (H, W) of errors over ``SMOOTH`` pixels around each pixel."""
    return np.sqrt(_smooth(errors**2, 1))


def _smooth(values: NDArray[np.floating[Any]], times: float) -> Features:
    return np.asarray(ndimage.gaussian_filter(values, times * SMOOTH))
