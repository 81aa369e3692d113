"""What training minimises. Counts in photons, images up to a global phase."""

import torch
from torch import Tensor

RATE_FLOOR = 1e-6
"""Smallest expected count, in photons: keeps rate 0 with k > 0 finite, with a finite gradient."""


def poisson_nll(rate: Tensor, counts: Tensor) -> Tensor:
    """Negative log-likelihood per element without the constant: ``rate - k log(rate)``.

    Args:
        rate: (...) expected photons, floored at ``RATE_FLOOR``.
        counts: (...) measured photons.
    """
    rate = rate.clamp_min(RATE_FLOOR)
    return rate - counts * rate.log()


def poisson_deviance(rate: Tensor, counts: Tensor) -> Tensor:
    """Deviance per element, ``2 [rate - k + k log(k / rate)]``: 0 when perfect, about 1 on average at the noise.

    Where a pixel expects far less than one photon the average is below 1 even for the true rate.
    """
    rate = rate.clamp_min(RATE_FLOOR)
    # The ratio is 1 where k = 0: xlogy would be right there, but its gradient is 0 / 0.
    ratio = torch.where(counts > 0, counts / rate, torch.ones_like(rate))
    return 2 * (rate - counts + counts * ratio.log())


def mean_over(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of (..., N, N) over the pixels of a bool mask (N, N), or over all."""
    return values.mean() if mask is None else values[..., mask].mean()


def patch_error(patches: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Weighted squared error between groups of patches after each group's best global phase.

    ``min over phi of sum w |p - exp(i phi) t|^2 / sum w``, for each group. No frame knows the global
    phase of its group, so no error may ask for it.

    Args:
        patches: (B, C, N, N) complex.
        targets: (B, C, N, N) complex.
        weight: (N, N) real, >= 0: the probe intensity.

    Returns:
        (B,) errors; vacuum against a phase object of 0.3 rad gives about 0.09.
    """
    with torch.no_grad():
        inner = (weight * patches * targets.conj()).sum(dim=(1, 2, 3), keepdim=True)
        phase = torch.polar(torch.ones_like(inner.real), inner.angle())
    error = (patches - phase * targets).abs().square() * weight
    return error.sum(dim=(1, 2, 3)) / (weight.sum() * patches.shape[1])
