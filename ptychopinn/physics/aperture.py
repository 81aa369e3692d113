"""Probes of optics: the aperture of a lens seen at the object, and a pinhole before it."""

import math

import torch

from ptychopinn.physics.probe import normalise_probe
from ptychopinn.physics.start_probes import propagated


def aperture_probe(
    shape: tuple[int, int],
    frequency: tuple[float, float],
    wavelength_m: float,
    semiangle: float,
    defocus_m: float = 0.0,
    stop: float = 0.0,
) -> torch.Tensor:
    """Probe (1, H, W), complex64, of unit power, centred at ``[H // 2, W // 2]``.

    In the aperture, at the spatial frequency k, it is ``exp(i pi wavelength defocus k^2)`` where ``wavelength |k|``
    is below the semi-angle, with an edge as soft as a pixel is wide, and 0 beyond (Kirkland, Advanced Computing in
    Electron Microscopy, 2010; py4DSTEM has the same sign). A positive defocus is underfocus: the object lies before the
    focus. A zone plate of diameter D and focal length f has the semi-angle ``D / 2 f``, and a central stop in the same
    way.

    Args:
        shape: of a frame.
        frequency: size of a detector pixel (y, x), 1 / m.
        wavelength_m: in metres.
        semiangle: of the aperture, radians.
        defocus_m: in metres.
        stop: semi-angle of a central stop, radians.
    """
    rows, columns = (
        (torch.arange(size, dtype=torch.float64) - size // 2) * step
        for size, step in zip(shape, frequency, strict=True)
    )
    squared = rows[:, None] ** 2 + columns[None, :] ** 2
    light = _within(semiangle / wavelength_m, squared, max(frequency))
    if stop:
        light = light - _within(stop / wavelength_m, squared, max(frequency))
    wave = light.clamp_min(0).sqrt() * torch.exp(1j * math.pi * wavelength_m * defocus_m * squared)
    probe = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(wave), norm="ortho"))
    return (probe / probe.abs().square().sum().sqrt()).to(torch.complex64)[None]


def pinhole_probe(
    size: int, pixel_m: tuple[float, float], diameter_m: float, wavelength_m: float = 1.0, distance_m: float = 0.0
) -> torch.Tensor:
    """Probe (1, N, N), complex64, of unit power: an evenly lit disc, ``distance_m`` of free space before the object.

    Args:
        size: of a frame.
        pixel_m: of the object (y, x), metres.
        diameter_m: of the pinhole.
        wavelength_m: metres; any without a distance.
        distance_m: from the pinhole to the object.
    """
    rows, columns = ((torch.arange(size, dtype=torch.float64) - size // 2) * step for step in pixel_m)
    squared = rows[:, None] ** 2 + columns[None, :] ** 2
    disc = _within(diameter_m / 2, squared, max(pixel_m)).sqrt().to(torch.complex128)[None]
    disc = propagated(disc, pixel_m, wavelength_m, distance_m) if distance_m else disc
    return normalise_probe(disc, 1.0).to(torch.complex64)


def _within(radius: float, squared: torch.Tensor, pixel: float) -> torch.Tensor:
    """Share of each pixel that lies within a radius, its edge as soft as a pixel is wide."""
    return ((radius - squared.sqrt()) / pixel + 0.5).clamp(0, 1)
