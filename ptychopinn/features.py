"""What the network sees: scaled amplitudes, or projection-step corrections in real space."""

import torch
from torch import Tensor

from ptychopinn.physics.diffraction import project_to_counts
from ptychopinn.physics.patches import place_patches
from ptychopinn.physics.probe import probe_intensity

RELATIVE_FLOOR = 0.1
"""Regulariser of the division by the probe, in units of its mean intensity over the support."""


def amplitude_scale(counts: Tensor) -> float:
    """The one number per scan that scales amplitudes to mean ``sum x^2 = (N/2)^2``: (n, N, N) photons."""
    return scale_at(counts.shape[-1], float(counts.double().sum(dim=(-2, -1)).mean()))


def scale_at(size: int, photons: float) -> float:
    """:func:`amplitude_scale` of frames of edge ``size`` that hold so many photons in the mean."""
    return size / 2 / max(photons, 1e-12) ** 0.5


def centre(images: Tensor, size: int) -> Tensor:
    """Central ``size`` x ``size`` pixels around ``[N // 2, N // 2]``: (..., N, N) -> (..., size, size)."""
    start = images.shape[-1] // 2 - size // 2
    return images[..., start : start + size, start : start + size]


def probe_share(probe: Tensor, support: int) -> Tensor:
    """How far the probe, and not the regulariser, decides each pixel: ``I / (I + c)``, (support, support)."""
    intensity = centre(probe_intensity(probe), support)
    return intensity / (intensity + RELATIVE_FLOOR * intensity.mean())


def corrections(counts: Tensor, probe: Tensor, patches: Tensor, support: int, mask: Tensor | None) -> Tensor:
    """What one projection step would add to each patch: ``sum_m P_m^* dpsi_m / (I + c)``.

    Args:
        counts: (B, C, N, N) photons.
        probe: (m, N, N) complex.
        patches: (B, C, N, N) complex estimate to correct; ones mean vacuum.
        support: edge of the central square to return.
        mask: (N, N) bool, True for good detector pixels.

    Returns:
        (B, C, support, support) complex.
    """
    change = (probe.conj() * project_to_counts(probe, patches, counts, mask)).sum(dim=-3)
    intensity = centre(probe_intensity(probe), support)
    return centre(change, support) / (intensity + RELATIVE_FLOOR * intensity.mean())


def in_register(images: Tensor, positions: Tensor, size: int) -> Tensor:
    """Put every image of a group at its place on a canvas of its own: (B, C, n, n) -> (B, C, size, size).

    Args:
        images: (B, C, n, n).
        positions: (B, C, 2) pixels on the canvas.
        size: edge of the canvas.
    """
    return place_patches(images[:, :, None], positions[:, :, None], (size, size))


def realspace_channels(found: Tensor, share: Tensor, positions: Tensor, size: int) -> Tensor:
    """Stack corrections and probe shares of a group's frames as real channels in register.

    Args:
        found: (B, C, n, n) complex, from :func:`corrections`.
        share: (n, n) from :func:`probe_share`.
        positions: (B, C, 2) pixels on the canvas.
        size: edge of the canvas.

    Returns:
        (B, 3 C, size, size): real parts, imaginary parts, shares.
    """
    placed = in_register(found, positions, size)
    shares = in_register(share.expand(found.shape), positions, size)
    return torch.cat([placed.real, placed.imag, shares], dim=1)
