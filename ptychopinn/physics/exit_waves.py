"""Exit waves at sub-pixel positions: the operators, their adjoints and their derivatives.

Two sub-pixel models. ``bilinear`` interpolates the object between its pixels. ``fourier`` reads the object at whole
pixels and shifts the probe by the remainder, ``P_j = F^-1[exp(-2 pi i f . d_j) F P]``; this is exact for a band-limited
probe. Both give the same intensity for smooth objects.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ptychopinn.physics.patches import Canvas, chunk_length, extract_patches, place_patches

SubPixel = Literal["bilinear", "fourier"]

CHUNK, CHUNK_ON_GPU = 2**19, 2**24
"""Pixels of exit waves in one chunk: 4 MB on a CPU, where the system allocates larger arrays anew each time, slowly.
A GPU keeps its memory and needs larger chunks to be busy."""


class ProbeViews(NamedTuple):
    """Probes of some frames, and where each one lies on the object.

    Attributes:
        probes: (n, m, N, N) complex, or (1, m, N, N) where all frames share one; sqrt(photons).
        places: (n, 2) pixels (y, x) at which the patches are read.
        shifts: (n, 2) pixels by which each probe was shifted; None without shifts.
    """

    probes: Tensor
    places: Tensor
    shifts: Tensor | None


def frames_per_chunk(probe: Tensor) -> int:
    """Frames in one chunk of exit waves of a probe (m, N, N)."""
    return chunk_length(probe.numel(), CHUNK_ON_GPU if probe.is_cuda else CHUNK)


def probe_views(probe: Tensor, positions: Tensor, subpixel: SubPixel) -> ProbeViews:
    """Place a probe (m, N, N), or one per frame (n, m, N, N), at positions (n, 2) on a canvas, pixels (y, x)."""
    real = probe.real.dtype
    if subpixel == "bilinear":
        return ProbeViews(probe if probe.ndim == 4 else probe[None], positions.to(real), None)
    whole = positions.detach().floor()
    shifts = (positions - whole).to(real)
    return ProbeViews(shift_probe(probe, shifts), whole.to(real), shifts)


def shift_probe(probe: Tensor, shifts: Tensor) -> Tensor:
    """Shift a probe by sub-pixel distances, periodically and without loss of power.

    Args:
        probe: (..., m, N, N) complex.
        shifts: (n, 2) pixels (y, x); positive values move the content down and right.

    Returns:
        (n, m, N, N) complex.
    """
    return torch.fft.ifft2(torch.fft.fft2(probe) * _ramp(shifts, probe.shape[-1]).unsqueeze(1))


def object_to_waves(views: ProbeViews, image: Tensor) -> Tensor:
    """Exit waves ``P_jm O[patch at r_j]``, linear in the object.

    Args:
        views: n frames.
        image: (H, W) complex.

    Returns:
        (n, m, N, N) complex.
    """
    return views.probes * extract_patches(image, views.places, views.probes.shape[-1]).unsqueeze(1)


def waves_to_object(views: ProbeViews, waves: Tensor, shape: tuple[int, int]) -> Tensor:
    """Adjoint of :func:`object_to_waves`: (n, m, N, N) -> (H, W) on a canvas of ``shape``."""
    return place_patches((views.probes.conj() * waves).sum(dim=1), views.places, shape)


def add_to_object(canvas: Canvas, views: ProbeViews, waves: Tensor) -> None:
    """:func:`waves_to_object` of some more frames, added to a canvas."""
    canvas.add((views.probes.conj() * waves).sum(dim=1), views.places)


def add_light(canvas: Canvas, views: ProbeViews) -> None:
    """:func:`illumination_map` of some more frames, added to a canvas."""
    canvas.add(_power(views), views.places)


def illumination_map(views: ProbeViews, shape: tuple[int, int]) -> Tensor:
    """Photons that the frames put on each pixel of a canvas, ``sum |P|^2``: (H, W) real."""
    return place_patches(_power(views), views.places, shape)


def _power(views: ProbeViews) -> Tensor:
    """Photons of every frame on its pixels: (n, N, N)."""
    power = (views.probes.real.square() + views.probes.imag.square()).sum(dim=1)
    return power.expand(len(views.places), -1, -1)


def probe_to_waves(views: ProbeViews, patches: Tensor, probe: Tensor) -> Tensor:
    """Exit waves of another probe at the same views, linear in the probe.

    Args:
        views: n frames.
        patches: (n, N, N) complex, the object at ``views.places``.
        probe: (m, N, N) complex, not shifted yet; or one for each frame, (n, m, N, N).

    Returns:
        (n, m, N, N) complex.
    """
    moved = (probe if probe.ndim == 4 else probe[None]) if views.shifts is None else shift_probe(probe, views.shifts)
    return moved * patches.unsqueeze(1)


def waves_to_probe(views: ProbeViews, patches: Tensor, waves: Tensor) -> Tensor:
    """Adjoint of :func:`probe_to_waves`: (n, m, N, N) -> (m, N, N)."""
    fields = patches.conj().unsqueeze(1) * waves
    if views.shifts is None:
        return fields.sum(dim=0)
    ramp = _ramp(views.shifts, fields.shape[-1]).unsqueeze(1).conj()
    return torch.fft.ifft2((torch.fft.fft2(fields) * ramp).sum(dim=0))


def waves_to_probes(views: ProbeViews, patches: Tensor, waves: Tensor) -> Tensor:
    """Adjoint of :func:`probe_to_waves` with a probe for each frame: (n, m, N, N) -> (n, m, N, N)."""
    fields = patches.conj().unsqueeze(1) * waves
    return fields if views.shifts is None else shift_probe(fields, -views.shifts)


def position_gradients(views: ProbeViews, patches: Tensor) -> Tensor:
    """Derivative of the exit waves with respect to the positions, ``d psi / d r = -grad P O``.

    It leaves out a phase ramp on the detector, which the counts do not see.

    Args:
        views: n frames.
        patches: (n, N, N) complex, the object at ``views.places``.

    Returns:
        (n, 2, m, N, N) complex, per pixel along y and x.
    """
    size = views.probes.shape[-1]
    frequency = torch.fft.fftfreq(size, dtype=views.places.dtype, device=views.places.device)
    if size % 2 == 0:
        # The highest frequency of an even length has no sign, so no derivative.
        frequency[size // 2] = 0
    derivative = -2j * math.pi * torch.stack([frequency[:, None].expand(-1, size), frequency[None, :].expand(size, -1)])
    moved = torch.fft.ifft2(torch.fft.fft2(views.probes).unsqueeze(1) * derivative[:, None])
    return moved * patches[:, None, None]


def _ramp(shifts: Tensor, size: int) -> Tensor:
    """``exp(-2 pi i f . d)`` for each shift: (n, N, N)."""
    frequency = torch.fft.fftfreq(size, dtype=shifts.dtype, device=shifts.device)
    angle = -2 * math.pi * shifts[:, :, None] * frequency
    row, col = torch.polar(torch.ones_like(angle), angle).unbind(dim=1)
    return row[:, :, None] * col[:, None, :]
