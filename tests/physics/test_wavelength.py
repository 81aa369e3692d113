"""Wavelengths of photons and electrons."""

import math

import pytest
import torch

from ptychopinn.physics.aperture import aperture_probe
from ptychopinn.physics.wavelength import energy, wavelength


@pytest.mark.parametrize(("kilovolts", "picometres"), [(300, 1.9687), (200, 2.5079), (80, 4.1757)])
def test_relativistic_wavelength(kilovolts, picometres):
    """Tabulated in Reimer, Transmission Electron Microscopy; and de Broglie's formula in SI units."""
    found = wavelength(1e3 * kilovolts, "electron")
    assert found == pytest.approx(picometres * 1e-12, rel=5e-5)
    h, m, e, c = 6.62607015e-34, 9.1093837015e-31, 1.602176634e-19, 299792458.0
    volts = 1e3 * kilovolts
    assert found == pytest.approx(h / math.sqrt(2 * m * e * volts * (1 + e * volts / (2 * m * c**2))), rel=1e-8)


@pytest.mark.parametrize("particle", ["photon", "electron"])
def test_energy_is_the_inverse(particle):
    assert energy(wavelength(8e4, particle), particle) == pytest.approx(8e4, rel=1e-10)


def test_aperture_is_flat_and_its_focus_is_airy():
    """Half a radius of 8 px in Fourier space: the focus is a disc's transform, real, with its maximum in the middle."""
    probe = aperture_probe((64, 64), (1.0, 1.0), 1e-3, 8e-3)[0]
    assert float(probe.abs().square().sum()) == pytest.approx(1, rel=1e-5)
    assert int(probe.abs().argmax()) == 32 * 64 + 32
    assert float(probe.imag.abs().max()) < 1e-6
    spectrum = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(probe), norm="ortho")).abs()
    assert float(spectrum[32, 32]) == pytest.approx(float(spectrum[32, 38]), rel=1e-4)
    assert float(spectrum[32, 42]) < 1e-6


def test_defocus_widens_by_its_angle():
    """Geometrical optics: the radius is defocus times semi-angle."""
    step = 1 / (256 * 1e-11)
    probe = aperture_probe((256, 256), (step, step), 2e-12, 20e-3, 400e-10)[0].abs().square()
    y, x = torch.meshgrid(*(torch.arange(256) - 128.0,) * 2, indexing="ij")
    inside = (y**2 + x**2).sqrt() * 1e-11 < 1.05 * 400e-10 * 20e-3
    assert float(probe[inside].sum()) > 0.93
