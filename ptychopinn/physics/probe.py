"""Probes: making, normalising and measuring the illumination."""

import math

import torch
from torch import Tensor


def curved_disc(size: int, radius: float, curvature: float = 0.0, softness: float = 1.0) -> Tensor:
    """A soft-edged disc with a parabolic wavefront, of unit power.

    ``A(r) exp(i curvature (r / radius)^2)`` with ``A`` falling from 1 to 0 around ``radius`` as a logistic
    step of width ``softness``.

    Args:
        size: edge N in pixels.
        radius: pixels.
        curvature: phase at the edge of the disc in rad.
        softness: pixels over which the edge falls.

    Returns:
        (1, N, N) complex64, ``sum |P|^2 = 1``.
    """
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    r = torch.hypot(axis[:, None], axis[None, :])
    amplitude = torch.sigmoid((radius - r) / softness)
    field = torch.polar(amplitude, curvature * (r / radius).square())[None]
    return normalise_probe(field, 1.0).to(torch.complex64)


def circular_mask(size: int, radius: float | None = None, softness: float = 0.0) -> Tensor:
    """A disc of ones to cut a probe with, about the middle of the array: pixels with ``r < radius``.

    ``r = hypot(i - (N - 1) / 2, j - (N - 1) / 2)``, half a pixel before ``[N // 2, N // 2]`` for even N.

    Args:
        size: edge N in pixels.
        radius: pixels; N // 4 when None.
        softness: pixels over which the edge falls as a logistic step; 0 cuts sharply.

    Returns:
        (N, N) float32 in [0, 1].
    """
    axis = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    inwards = (size // 4 if radius is None else radius) - torch.hypot(axis[:, None], axis[None, :])
    return (torch.sigmoid(inwards / softness) if softness > 0 else inwards > 0).to(torch.float32)


def probe_power(probe: Tensor) -> Tensor:
    """Power of each mode, ``sum |P_m|^2`` in photons: (..., m, N, N) -> (..., m)."""
    return (probe.real.square() + probe.imag.square()).sum(dim=(-2, -1))


def probe_intensity(probe: Tensor) -> Tensor:
    """Photons per object pixel summed over modes: (..., m, N, N) -> (..., N, N)."""
    return (probe.real.square() + probe.imag.square()).sum(dim=-3)


def normalise_probe(probe: Tensor, photons: float) -> Tensor:
    """Scale a probe so that its modes together carry ``photons``: (m, N, N) -> (m, N, N)."""
    return probe * math.sqrt(photons / float(probe_power(probe).sum()))


def orthogonal_modes(probe: Tensor) -> Tensor:
    """Incoherent modes that are orthogonal, the strongest first, and give the same intensity behind every object.

    The rows of ``S V^H`` of the singular value decomposition ``U S V^H`` of the (m, N^2) matrix of modes (Thibault &
    Menzel, Nature 494, 2013).
    """
    _, strength, modes = torch.linalg.svd(probe.flatten(1), full_matrices=False)
    return (strength[:, None] * modes).reshape(probe.shape)
