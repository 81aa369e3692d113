"""Poisson likelihood of counts, and the deviance that noise alone leaves."""

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
