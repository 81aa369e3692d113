"""What training minimises, and what is left at the noise. Counts in photons, images up to a global phase."""

import math
from functools import cache

import torch
from torch import Tensor

RATE_FLOOR = 1e-6
"""Smallest expected count, in photons: keeps rate 0 with k > 0 finite, with a finite gradient."""

BRIGHT = 64.0
"""Photons from which on the expected deviance is taken from its series in 1 / rate; below, from a table."""

TABLE_STEP = 0.002
"""Step of that table in the logarithm of the rate: linear interpolation is then right to 5e-7 of the value."""


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


def expected_deviance(rate: Tensor) -> Tensor:
    """Mean of :func:`poisson_deviance` over counts ``k ~ Poisson(rate)``: what noise alone leaves at the true rate.

    ``E 2 [rate - k + k log(k / rate)] = 2 rate (E log(1 + k) - log rate)``, since ``E k f(k) = rate E f(k + 1)``. It is
    ``-2 rate log rate`` far below one photon, 1.16 at most (at 1.3 photons) and ``1 + 1 / (6 rate) + ...`` for many.

    Args:
        rate: (...) expected photons, floored at ``RATE_FLOOR``.

    Returns:
        (...) of the dtype of ``rate``, right to 1e-6 of its value.
    """
    rate = rate.clamp_min(RATE_FLOOR)
    table = _dim_deviance().to(rate.device, rate.dtype)
    place = ((rate.clamp_max(BRIGHT).log() - math.log(RATE_FLOOR)) / TABLE_STEP).clamp(0, len(table) - 1.001)
    below = place.long()
    dim = torch.lerp(table[below], table[below + 1], place - below)
    x = 1 / rate.clamp_min(BRIGHT)
    return torch.where(rate < BRIGHT, dim, 1 + x * (1 / 6 + x * (1 / 6 + x * (19 / 60 + x * 0.9))))


@cache
def _dim_deviance() -> Tensor:
    """The expected deviance at rates from ``RATE_FLOOR`` to ``BRIGHT``, float64, summed over the counts."""
    steps = math.ceil(math.log(BRIGHT / RATE_FLOOR) / TABLE_STEP)
    log_rate = math.log(RATE_FLOOR) + TABLE_STEP * torch.arange(steps + 1, dtype=torch.float64)
    rate = log_rate.exp()
    mean_log, chance = torch.zeros_like(rate), (-rate).exp()
    for count in range(1, math.ceil(BRIGHT + 12 * math.sqrt(BRIGHT))):
        chance = chance * rate / count
        mean_log += chance * math.log(1 + count)
    return 2 * rate * (mean_log - log_rate)


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

    ``min over phi of sum w |p - exp(i phi) t|^2 / sum w``, for each group. No frame knows the global
    phase of its group, so no error may ask for it.

    Args:
        patches: (B, C, N, N) complex.
        targets: (B, C, N, N) complex.
        weight: (N, N) real, >= 0: the probe intensity.

    Returns:
        (B,) errors; vacuum against a phase object of 0.3 rad gives about 0.09.
    """
    error = (patches - _best_phase(patches, targets, weight) * targets).abs().square() * weight
    return error.sum(dim=(1, 2, 3)) / (weight.sum() * patches.shape[1])


def complex_mae(patches: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean absolute error between groups of patches after each group's best global phase.

    ``sum w |p - exp(i phi) t| / sum w`` for each group, with the phase of :func:`patch_error`, but less
    swayed by a few pixels that are far off.

    Args:
        patches: (B, C, N, N) complex.
        targets: (B, C, N, N) complex.
        weight: (N, N) real, >= 0: the probe intensity.

    Returns:
        (B,) errors; a phase that is 0.3 rad off, now up and now down, gives about 0.3.
    """
    error = (patches - _best_phase(patches, targets, weight) * targets).abs() * weight
    return error.sum(dim=(1, 2, 3)) / (weight.sum() * patches.shape[1])


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
