"""Errors of patches and images that training minimises in addition to the likelihood."""

import torch
from torch import Tensor

from ptychopinn.physics.likelihood import RATE_FLOOR


def mean_over(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of (..., N, N) over the pixels of a bool mask (N, N), or over all."""
    return values.mean() if mask is None else values[..., mask].mean()


def amplitude_mae(predicted: Tensor, measured: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute error of the amplitude, ``mean |sqrt(rate) - sqrt(k)|``, in sqrt(photons).

    Args:
        predicted: (..., N, N) expected photons, floored at ``RATE_FLOOR``: at 0 the root has no gradient.
        measured: (..., N, N) photons.
        mask: (N, N) bool, True for good detector pixels; all count when None.

    Returns:
        One number.
    """
    return mean_over((predicted.clamp_min(RATE_FLOOR).sqrt() - measured.sqrt()).abs(), mask)


def patch_error(patches: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Weighted squared error between groups of patches after each group's best global phase.

    ``min over phi of sum w |p - exp(i phi) t|^2 / sum w``, for each group. The counts do not
    determine the global phase of a group.

    Args:
        patches: (B, C, N, N) complex.
        targets: (B, C, N, N) complex.
        weight: (N, N) real, >= 0: the probe intensity; or (B, 1, N, N), that of each group.

    Returns:
        (B,) errors; vacuum against a phase object of 0.3 rad gives about 0.09.
    """
    error = (patches - _best_phase(patches, targets, weight) * targets).abs().square() * weight
    return error.sum(dim=(1, 2, 3)) / (weight.sum(dim=(-2, -1)).squeeze(-1) * patches.shape[1])


def complex_mae(patches: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean absolute error between groups of patches after each group's best global phase.

    ``sum w |p - exp(i phi) t| / sum w`` for each group, with the phase of :func:`patch_error`, but less
    sensitive to outliers.

    Args:
        patches: (B, C, N, N) complex.
        targets: (B, C, N, N) complex.
        weight: (N, N) real, >= 0: the probe intensity; or (B, 1, N, N), that of each group.

    Returns:
        (B,) errors; phase errors of 0.3 rad of either sign give about 0.3.
    """
    error = (patches - _best_phase(patches, targets, weight) * targets).abs() * weight
    return error.sum(dim=(1, 2, 3)) / (weight.sum(dim=(-2, -1)).squeeze(-1) * patches.shape[1])


def total_variation(image: Tensor) -> Tensor:
    """Sum of squared forward differences: ``sum |z[r+1, c] - z[r, c]|^2 + sum |z[r, c+1] - z[r, c]|^2``.

    A smoothness penalty. Real and imaginary parts add up, nothing is divided by the number of pixels and nothing
    wraps around.

    Args:
        image: (..., H, W) real or complex.

    Returns:
        (...) one sum for each image.
    """
    down, right = image.diff(dim=-2), image.diff(dim=-1)
    return down.abs().square().sum(dim=(-2, -1)) + right.abs().square().sum(dim=(-2, -1))


def _best_phase(patches: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Phase factors (B, 1, 1, 1) on the targets with the smallest squared error; no gradient goes through them."""
    with torch.no_grad():
        inner = (weight * patches * targets.conj()).sum(dim=(1, 2, 3), keepdim=True)
        return torch.polar(torch.ones_like(inner.real), inner.angle())
