"""Probes to start from: what they are made of is found in them again."""

import math

import numpy as np
import pytest
import torch

from ptychopinn.physics.aperture import aperture_probe, pinhole_probe
from ptychopinn.physics.probe import curved_disc, probe_intensity, probe_power
from ptychopinn.physics.start_probes import (
    alike,
    far_field,
    from_far_field,
    gaussian_probe,
    hermite_modes,
    pattern_probe,
    propagated,
    resampled,
)
from ptychopinn.scan.probe.light import width
from tests.helpers import random_tensor

SIZES = pytest.mark.parametrize("size", [48, 64, 65])
NM, UM = 1e-9, 1e-6


@SIZES
def test_far_field_and_its_inverse_keep_power_and_field(size):
    probe = random_tensor(2, size, size)
    field = far_field(probe)
    assert torch.allclose(from_far_field(field), probe, atol=1e-5)
    assert torch.allclose(probe_power(field), probe_power(probe), rtol=1e-5)


@SIZES
@pytest.mark.parametrize("curvature", [-0.02, 0.0, 0.03])
def test_a_pattern_and_its_curvature_give_back_the_probe_of_a_lens(size, curvature):
    axis = np.arange(size) - size // 2
    squared = axis[:, None] ** 2 + axis[None, :] ** 2
    pupil = np.exp(-squared / (2 * (size / 9) ** 2))
    lens = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil * np.exp(1j * curvature * squared)), norm="ortho"))
    made = pattern_probe(torch.from_numpy(abs(pupil)), curvature)
    assert made.shape == (1, size, size)
    assert torch.allclose(made[0], torch.from_numpy(lens).to(torch.complex64), atol=1e-5)


def test_a_gaussian_has_its_full_width_at_half_maximum():
    probe = gaussian_probe(64, 13.0, 2.0)
    assert float(probe_power(probe).sum()) == pytest.approx(1, abs=1e-5)
    assert width(probe.numpy()) == pytest.approx(13, abs=0.6)
    middle = probe[0, 32]
    assert float((middle[36] / middle[32]).angle()) == pytest.approx(2.0 * (4 / 6.5) ** 2, abs=1e-4)


def test_propagation_there_and_back_is_nothing_and_keeps_the_power():
    probe, pixel = curved_disc(64, 10.0), (20 * NM, 25 * NM)
    there = propagated(probe, pixel, 0.1 * NM, 600 * UM)
    assert float(probe_power(there).sum()) == pytest.approx(1, abs=1e-5)
    assert float((there - probe).abs().max()) > 0.01
    assert torch.allclose(propagated(there, pixel, 0.1 * NM, -600 * UM), probe, atol=1e-6)


def test_a_gaussian_beam_spreads_as_it_should():
    """``w(z) = w0 sqrt(1 + (z / zR)^2)``, ``zR = pi w0^2 / wavelength`` (Saleh & Teich, Fundamentals of Photonics)."""
    pixel, wave, fwhm = 10 * NM, 0.2 * NM, 8.0
    waist = fwhm * pixel / math.sqrt(2 * math.log(2))
    rayleigh = math.pi * waist**2 / wave
    far = propagated(gaussian_probe(128, fwhm), (pixel, pixel), wave, 2 * rayleigh)
    axis = torch.arange(128) - 64.0
    light = probe_intensity(far)
    width = math.sqrt(float((light.sum(dim=0) * axis.square()).sum() / light.sum())) * 2
    assert width * pixel == pytest.approx(waist * math.sqrt(5), rel=0.02)


def test_underfocus_is_before_the_focus():
    """The probe of an underfocused lens comes to its focus further down the beam."""
    size, pixel, wave = 64, 20 * NM, 0.1 * NM
    frequency = (1 / (size * pixel),) * 2
    focus = aperture_probe((size, size), frequency, wave, 1e-3)
    before = aperture_probe((size, size), frequency, wave, 1e-3, 90 * UM)
    assert alike(before, focus) < 0.9
    assert torch.allclose(propagated(before, (pixel, pixel), wave, 90 * UM), focus, atol=1e-5)


def test_a_central_stop_takes_the_middle_of_the_far_field():
    size, pixel, wave = 64, 20 * NM, 0.1 * NM
    frequency = 1 / (size * pixel)
    probe = aperture_probe((size, size), (frequency,) * 2, wave, 15 * wave * frequency, stop=6 * wave * frequency)
    light = probe_intensity(far_field(probe))
    assert float(light[32, 32 - 5 : 32 + 6].max()) < 1e-9
    assert float(light[32, 32 + 8 : 32 + 14].min()) == pytest.approx(float(light.max()), rel=1e-3)
    assert float(light[32, 32 + 17 :].max()) < 1e-9


def test_a_pinhole_has_its_diameter():
    probe = pinhole_probe(64, (50 * NM, 50 * NM), 1 * UM)
    assert width(probe.numpy()) == pytest.approx(20, abs=0.5)
    apart = pinhole_probe(64, (50 * NM, 50 * NM), 1 * UM, 0.1 * NM, 2e-3)
    assert torch.allclose(propagated(probe, (50 * NM,) * 2, 0.1 * NM, 2e-3), apart, atol=1e-5)


@pytest.mark.parametrize("zoom", [0.8, 1.25, 2.0])
def test_a_resampled_probe_is_the_same_wave_on_other_pixels(zoom):
    probe = gaussian_probe(96, 14.0, 1.0)
    new = resampled(probe, 96, (zoom, zoom))
    expected = gaussian_probe(96, 14.0 / zoom, 1.0)
    assert float(probe_power(new).sum()) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(new, expected, atol=3e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("modes", [1, 3, 6])
def test_modes_made_of_one_are_orthogonal_and_keep_the_power(modes):
    made = hermite_modes(3 * curved_disc(64, 12.0, 2.0), modes, share=0.05)
    power = probe_power(made)
    assert float(power.sum()) == pytest.approx(9, rel=1e-4)
    assert torch.allclose(power[1:] / power[0], torch.full((modes - 1,), 0.05), rtol=1e-3)
    gram = torch.einsum("myx,nyx->mn", made.conj(), made)
    assert float((gram - torch.diag(gram.diagonal())).abs().max()) < 1e-4


def test_likeness_does_not_depend_on_shift_scale_and_phase():
    probe = curved_disc(64, 12.0, 2.0)
    moved = torch.roll(probe, (3, -5), dims=(1, 2)) * 2j
    assert alike(probe, moved) == pytest.approx(1, abs=1e-5)
    assert alike(probe, curved_disc(64, 12.0, -3.0)) < 0.8
