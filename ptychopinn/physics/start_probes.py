"""Probes to start from: made of a mean pattern, of optics, of one mode several; propagated and resampled."""

import math
from itertools import count, islice

import torch
from torch import Tensor

from ptychopinn.physics.fourier import from_detector, to_detector
from ptychopinn.physics.probe import normalise_probe, probe_power


def _axis(size: int) -> Tensor:
    return torch.arange(size, dtype=torch.float64) - size // 2


def squared_radius(size: int) -> Tensor:
    """Squared distance of each pixel from ``[N // 2, N // 2]``, (N, N) float64."""
    axis = _axis(size).square()
    return axis[:, None] + axis[None, :]


def far_field(probe: Tensor) -> Tensor:
    """Field on the detector of probes (..., N, N), with the phase about the middle of the probe."""
    return to_detector(torch.fft.ifftshift(probe, dim=(-2, -1)))


def from_far_field(field: Tensor) -> Tensor:
    """Inverse of :func:`far_field`."""
    return torch.fft.fftshift(from_detector(field), dim=(-2, -1))


def pattern_probe(root: Tensor, curvature: float = 0.0) -> Tensor:
    """The probe whose far field has a given amplitude and a parabolic phase: ``F^-1[root exp(i curvature |q|^2)]``.

    The far field of most lenses is an evenly lit pupil, so that defocus is all that its phase holds; an object blurs
    the mean frame only (SHARP, Marchesini et al., J. Appl. Cryst. 49, 2016, starts so without curvature).

    Args:
        root: (N, N) amplitude, the root of a mean frame.
        curvature: rad per squared detector pixel.

    Returns:
        (1, N, N) complex64 of the power of ``root``.
    """
    phase = torch.polar(root.double(), curvature * squared_radius(root.shape[-1]))
    return from_far_field(phase)[None].to(torch.complex64)


def gaussian_probe(size: int, fwhm: float, curvature: float = 0.0) -> Tensor:
    """``exp(-4 ln2 (r / fwhm)^2 / 2 + i curvature (2 r / fwhm)^2)``: fwhm, in pixels, is that of the intensity.

    Returns:
        (1, N, N) complex64 of unit power.
    """
    scaled = squared_radius(size) / fwhm**2
    field = torch.polar((-2 * math.log(2) * scaled).exp(), 4 * curvature * scaled)[None]
    return normalise_probe(field, 1.0).to(torch.complex64)


def propagated(probe: Tensor, pixel_m: tuple[float, float], wavelength_m: float, distance_m: float) -> Tensor:
    """A probe (m, N, N) after free space: its spectrum times ``exp(-i pi wavelength distance k^2)``, k in 1 / m.

    The Fresnel propagator (Goodman, Introduction to Fourier Optics, 4.2); it keeps the power of every mode.

    Args:
        probe: (m, N, N).
        pixel_m: of the probe (y, x), metres.
        wavelength_m: metres.
        distance_m: metres along the beam; negative goes back.
    """
    ky, kx = (_axis(size) / (size * step) for size, step in zip(probe.shape[-2:], pixel_m, strict=True))
    phase = -math.pi * wavelength_m * distance_m * (ky.square()[:, None] + kx.square()[None, :])
    turned = far_field(probe.to(torch.complex128)) * torch.polar(torch.ones_like(phase), phase)
    return from_far_field(turned).to(probe.dtype)


def resampled(probe: Tensor, size: int, zoom: tuple[float, float]) -> Tensor:
    """The same wave on other pixels: trigonometric interpolation, zero outside the old frame, the power kept.

    Args:
        probe: (m, N, N).
        size: edge of the result.
        zoom: new pixels over old ones (y, x).

    Returns:
        (m, size, size).
    """
    spectrum = far_field(probe.to(torch.complex128)) / probe.shape[-1]
    rows, columns = (_fourier_sum(probe.shape[-1], size, factor) for factor in zoom)
    found = rows @ spectrum @ columns.T * math.sqrt(zoom[0] * zoom[1])
    power = probe_power(probe).double().sum() / probe_power(found).sum()
    return (found * power.sqrt()).to(probe.dtype)


def _fourier_sum(full: int, size: int, zoom: float) -> Tensor:
    """Matrix (size, full) that sums the frequencies of ``full`` pixels at ``size`` places, ``zoom`` pixels apart."""
    place = zoom * _axis(size)[:, None]
    # Beyond half a cycle per new pixel nothing can be sampled.
    known = (place.abs() <= full / 2) & (_axis(full).abs() * zoom <= full / 2)
    phase = 2 * math.pi / full * place * _axis(full)
    return torch.polar(known.double(), phase)


def hermite_modes(probe: Tensor, modes: int, share: float = 0.03) -> Tensor:
    """Incoherent modes made of the strongest mode of a probe: its far field times 1, x, y, xy, x^2, y^2 ...

    A source of finite size blurs the probe, which the products with low polynomials describe to first order, as those
    of Hermite do for a Gaussian beam; each is made orthogonal to those before.

    Args:
        probe: (m, N, N).
        modes: number of modes.
        share: of the power of the first one, for each of the others.

    Returns:
        (modes, N, N) complex64 of the power of ``probe``.
    """
    field = far_field(probe[probe_power(probe).argmax()].to(torch.complex128))
    axis = _axis(field.shape[-1]) / field.shape[-1]
    powers = ((i, order - i) for order in count() for i in range(order + 1))
    found: list[Tensor] = []
    for i, j in islice(powers, modes):
        new = field * (axis[:, None] ** i * axis[None, :] ** j)
        for other in found:
            new = new - other * torch.vdot(other.flatten(), new.flatten())
        found.append(new / torch.linalg.vector_norm(new))
    weights = torch.tensor([1.0, *[math.sqrt(share)] * (modes - 1)], dtype=torch.float64)
    made = from_far_field(torch.stack(found) * weights[:, None, None])
    return normalise_probe(made, float(probe_power(probe).sum())).to(torch.complex64)


def alike(one: Tensor, other: Tensor) -> float:
    """Largest overlap of two probes over shifts, ``max |<P, Q(x - s)>| / (|P| |Q|)``, of their strongest modes."""
    fields = [torch.fft.fft2(probe[probe_power(probe).argmax()].to(torch.complex128)) for probe in (one, other)]
    product = torch.fft.ifft2(fields[0].conj() * fields[1]).abs().max()
    norms = [torch.linalg.vector_norm(field) for field in fields]
    return float(product * fields[0].numel() / (norms[0] * norms[1]))
