"""The probe of a lens: its aperture seen at the object."""

import math

import torch


def aperture_probe(
    shape: tuple[int, int],
    frequency: tuple[float, float],
    wavelength_m: float,
    semiangle: float,
    defocus_m: float = 0.0,
) -> torch.Tensor:
    """Probe (1, H, W), complex64, of unit power, centred at ``[H // 2, W // 2]``.

    In the aperture, at the spatial frequency k, it is ``exp(i pi wavelength defocus k^2)`` where ``wavelength |k|``
    is below the semi-angle, with an edge as soft as a pixel is wide, and 0 beyond (Kirkland, Advanced Computing in
    Electron Microscopy, 2010; py4DSTEM has the same sign). A positive defocus is underfocus.

    Args:
        shape: of a frame.
        frequency: size of a detector pixel (y, x), 1 / m.
        wavelength_m: in metres.
        semiangle: of the aperture, radians.
        defocus_m: in metres.
    """
    rows, columns = (
        (torch.arange(size, dtype=torch.float64) - size // 2) * step
        for size, step in zip(shape, frequency, strict=True)
    )
    squared = rows[:, None] ** 2 + columns[None, :] ** 2
    edge = (semiangle / wavelength_m - squared.sqrt()) / max(frequency) + 0.5
    wave = edge.clamp(0, 1).sqrt() * torch.exp(1j * math.pi * wavelength_m * defocus_m * squared)
    probe = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(wave), norm="ortho"))
    return (probe / probe.abs().square().sum().sqrt()).to(torch.complex64)[None]
