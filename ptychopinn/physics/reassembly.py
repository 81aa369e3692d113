"""Patches to image: one weighted reassembly."""

import torch
from torch import Tensor

from ptychopinn.physics.patches import place_patches


def reassemble(patches: Tensor, positions: Tensor, shape: tuple[int, int], weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean of overlapping patches: ``place(w p) / place(w)``, 0 where nothing covers.

    Args:
        patches: (..., n, N, N) complex.
        positions: (..., n, 2) patch centres (y, x), pixels.
        shape: height and width of the image.
        weight: (N, N) real, >= 0: probe intensity, ones, or a mask.

    Returns:
        The image (..., H, W) and its coverage ``place(w)`` (..., H, W).
    """
    total = place_patches(weight * patches, positions, shape)
    coverage = place_patches(weight.expand(patches.shape), positions, shape)
    return normalise(total, coverage), coverage


def central_mask(size: int, inner: int) -> Tensor:
    """Weights for :func:`reassemble` that count only the middle of each patch.

    Args:
        size: edge N of the patches, pixels.
        inner: edge M of the square of ones, ``[N // 2 - M // 2, N // 2 - M // 2 + M)`` on both axes.

    Returns:
        (N, N) float32, 1 inside and 0 outside.
    """
    distance = torch.arange(size) - (size // 2 - inner // 2)
    inside = (distance >= 0) & (distance < inner)
    return (inside[:, None] & inside[None, :]).to(torch.float32)


def normalise(total: Tensor, coverage: Tensor) -> Tensor:
    """Divide a weighted sum by its weights; 0 where the weights vanish."""
    floor = torch.finfo(coverage.dtype).tiny
    share = torch.where(coverage > floor, coverage.clamp_min(floor).reciprocal(), 0)
    return torch.view_as_complex(torch.view_as_real(total) * share[..., None]) if total.is_complex() else total * share
