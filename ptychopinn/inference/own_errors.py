"""Error bars of a network that reconstructs whole scans: what its errors were on generated scans that looked alike.

Its errors are mostly its own, not those of the noise: images of the even and of the odd frames differ by far less. So
the bars are regressed, ``ln std = c . f``, on what can be seen of an image: how far the last projection step, the last
pass and the last cycle still moved it, its contrast, the light, the deviance, and how well the network reconstructs
simulated counts of this very image, of which the truth is known (a parametric bootstrap; Efron & Tibshirani 1993).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

SMOOTH: Final = 4.0
"""Pixels over which features and errors are averaged."""

FEATURES: Final = 13

TINY: Final = 1e-4

RIDGE: Final = 0.1
"""Of the regression, of features that are near 1: those of a scan are nearly those of its pixels."""

Features = NDArray[np.float64]


def features_of(images: Sequence[Tensor], step: Tensor, light: Tensor, scalars: Sequence[float]) -> Features:
    """What error bars are regressed on, (13, H, W): a constant, five of each pixel and seven of the scan.

    Args:
        images: (H, W) complex each: the image, before the last pass, and before the last cycle of passes.
        step: (H, W) complex, the correction of the last projection step.
        light: (H, W) photons on each pixel.
        scalars: of the scan: deviance over that of noise alone, and errors of amplitude and phase of a reconstruction
            of simulated counts of the image.
    """
    now, *earlier, moved = (part.cpu().numpy().astype(np.complex128) for part in (*images, step))
    seen = light.double().cpu().numpy()
    weight = seen / seen.max()
    contrast = now - (_smooth(now.real, 2) + 1j * _smooth(now.imag, 2))
    changes = (moved, *(now - one for one in earlier), contrast)
    local = [np.log(np.sqrt(_smooth(abs(part) ** 2, 1)) + TINY) for part in changes]
    whole = [np.full_like(seen, (weight * part).sum() / weight.sum()) for part in local]
    ones = np.ones_like(seen)
    of_scan = [np.log(value + TINY) * ones for value in scalars]
    return np.stack([ones, *local, np.log1p(seen) / 8, *whole, *of_scan])


def error_bars(features: Features, model: Sequence[Sequence[float]]) -> tuple[Features, Features]:
    """Standard deviations of amplitude and of phase in rad, (H, W) each."""
    amplitude, phase = (np.exp(np.tensordot(np.asarray(row), features, axes=1).clip(-12, 1.2)) for row in model)
    return amplitude, phase


def fitted(features: Features, errors: Features, usual: Features) -> tuple[float, ...]:
    """Coefficients c of ``ln std = c . f`` for pixels of generated scans.

    A least-squares fit of the logarithm, then a constant such that 1.645 standard deviations hold 90 % of the errors.

    Args:
        features: (13, n).
        errors: (n,) absolute errors.
        usual: (n,) root mean square errors around each pixel, see :func:`around`.
    """
    matrix = features @ features.T / features.shape[1] + RIDGE * np.eye(len(features))
    found = np.linalg.solve(matrix, features @ np.log(usual + TINY) / features.shape[1])
    ratio = errors / np.exp(found @ features)
    found[0] += np.log(np.quantile(ratio, 0.9) / 1.645)
    return tuple(float(value) for value in found)


def around(errors: Features) -> Features:
    """Root mean square (H, W) of errors over ``SMOOTH`` pixels around each pixel."""
    return np.sqrt(_smooth(errors**2, 1))


def _smooth(values: NDArray[np.floating[Any]], times: float) -> Features:
    return np.asarray(ndimage.gaussian_filter(values, times * SMOOTH))
