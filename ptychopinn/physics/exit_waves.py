"""What frames see of an object: the exit waves at sub-pixel positions, their adjoint and their derivatives.

Two sub-pixel models. ``bilinear`` interpolates the object between its pixels. ``fourier`` reads the object at whole
pixels and moves the probe by the remainder, exactly for a probe within the band of its pixels,
``P_j = F^-1[exp(-2 pi i f . d_j) F P]``. Both give the same intensity of smooth objects.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ptychopinn.physics.patches import extract_patches, place_patches

SubPixel = Literal["bilinear", "fourier"]

TOGETHER, TOGETHER_ON_GPU = 2**19, 2**24
"""Pixels of exit waves handled together. 4 MB on a CPU: for much larger arrays the system gives fresh memory every
time, slowly. A GPU keeps its memory, and is not busy with so few."""


class Views(NamedTuple):
    """How some frames look at the object.

    Attributes:
        probes: (n, m, N, N) complex, or (1, m, N, N) where all frames share one; sqrt(photons).
        places: (n, 2) pixels (y, x) at which the patches are read.
        shifts: (n, 2) pixels by which each probe was moved; None where none was.
    """

    probes: Tensor
    places: Tensor
    shifts: Tensor | None


def views_together(probe: Tensor) -> int:
    """How many frames under a probe (m, N, N) are handled together."""
    return max(1, (TOGETHER_ON_GPU if probe.is_cuda else TOGETHER) // probe.numel())


def look(probe: Tensor, positions: Tensor, subpixel: SubPixel) -> Views:
    """Views of a probe (m, N, N) at positions (n, 2) on a canvas, float64 or float32 pixels (y, x)."""
    real = probe.real.dtype
    if subpixel == "bilinear":
        return Views(probe[None], positions.to(real), None)
    whole = positions.detach().floor()
    shifts = (positions - whole).to(real)
    return Views(shift_probe(probe, shifts), whole.to(real), shifts)


def shift_probe(probe: Tensor, shifts: Tensor) -> Tensor:
    """Move a probe by sub-pixel distances, periodically and without loss of power.

    Args:
        probe: (..., m, N, N) complex.
        shifts: (n, 2) pixels (y, x); content moves down and right.

    Returns:
        (n, m, N, N) complex.
    """
    return torch.fft.ifft2(torch.fft.fft2(probe) * _ramp(shifts, probe.shape[-1]).unsqueeze(1))


def waves_of_object(views: Views, image: Tensor) -> Tensor:
    """Exit waves ``P_jm O[patch at r_j]``, linear in the object.

    Args:
        views: of n frames.
        image: (H, W) complex.

    Returns:
        (n, m, N, N) complex.
    """
    return views.probes * extract_patches(image, views.places, views.probes.shape[-1]).unsqueeze(1)


def object_of_waves(views: Views, waves: Tensor, shape: tuple[int, int]) -> Tensor:
    """Adjoint of :func:`waves_of_object`: (n, m, N, N) -> (H, W) on a canvas of ``shape``."""
    return place_patches((views.probes.conj() * waves).sum(dim=1), views.places, shape)


def light_of_views(views: Views, shape: tuple[int, int]) -> Tensor:
    """Photons that the frames lay on each pixel of a canvas, ``sum |P|^2``: (H, W) real."""
    power = (views.probes.real.square() + views.probes.imag.square()).sum(dim=1)
    return place_patches(power.expand(len(views.places), -1, -1), views.places, shape)


def waves_of_probe(views: Views, patches: Tensor, probe: Tensor) -> Tensor:
    """Exit waves of any probe in place of the one of the views, linear in the probe.

    Args:
        views: of n frames.
        patches: (n, N, N) complex, the object at ``views.places``.
        probe: (m, N, N) complex, not yet moved.

    Returns:
        (n, m, N, N) complex.
    """
    moved = probe[None] if views.shifts is None else shift_probe(probe, views.shifts)
    return moved * patches.unsqueeze(1)


def probe_of_waves(views: Views, patches: Tensor, waves: Tensor) -> Tensor:
    """Adjoint of :func:`waves_of_probe`: (n, m, N, N) -> (m, N, N)."""
    fields = patches.conj().unsqueeze(1) * waves
    if views.shifts is None:
        return fields.sum(dim=0)
    ramp = _ramp(views.shifts, fields.shape[-1]).unsqueeze(1).conj()
    return torch.fft.ifft2((torch.fft.fft2(fields) * ramp).sum(dim=0))


def waves_per_pixel(views: Views, patches: Tensor) -> Tensor:
    """How the exit waves change when positions move, up to a phase ramp on the detector that no count sees.

    Moving a frame by dr moves its probe; read in the frame of the object ``d psi / d r = -grad P O``.

    Args:
        views: of n frames.
        patches: (n, N, N) complex, the object at ``views.places``.

    Returns:
        (n, 2, m, N, N) complex per pixel, for y and x.
    """
    size = views.probes.shape[-1]
    frequency = torch.fft.fftfreq(size, dtype=views.places.dtype, device=views.places.device)
    if size % 2 == 0:
        # The highest frequency of an even length has no sign, and no slope.
        frequency[size // 2] = 0
    slope = -2j * math.pi * torch.stack([frequency[:, None].expand(-1, size), frequency[None, :].expand(size, -1)])
    moved = torch.fft.ifft2(torch.fft.fft2(views.probes).unsqueeze(1) * slope[:, None])
    return moved * patches[:, None, None]


def _ramp(shifts: Tensor, size: int) -> Tensor:
    """``exp(-2 pi i f . d)`` for each shift: (n, N, N)."""
    frequency = torch.fft.fftfreq(size, dtype=shifts.dtype, device=shifts.device)
    angle = -2 * math.pi * shifts[:, :, None] * frequency
    row, col = torch.polar(torch.ones_like(angle), angle).unbind(dim=1)
    return row[:, :, None] * col[:, None, :]
