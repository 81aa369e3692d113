"""Photon counting."""

import torch
from torch import Tensor


def draw_counts(rate: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw Poisson counts.

    Args:
        rate: (...) expected photons, >= 0.
        generator: source of randomness, on the device of ``rate``.

    Returns:
        (...) whole numbers in the dtype of ``rate``.
    """
    return torch.poisson(rate, generator=generator)


def thin_counts(counts: Tensor, fraction: float, generator: torch.Generator | None = None) -> Tensor:
    """Keep each counted photon with probability ``fraction``: a true lower-dose copy of a measurement.

    Args:
        counts: (...) whole numbers >= 0, float dtype.
        fraction: in (0, 1].
        generator: source of randomness, on the device of ``counts``.

    Returns:
        (...) binomially thinned counts in the dtype of ``counts``.
    """
    return torch.binomial(counts, torch.full_like(counts, fraction), generator=generator)
