"""The light of a probe as an array: power, intensity, width, support, other pixels, light on a canvas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ptychopinn.physics.fourier import to_detector
from ptychopinn.physics.probe import curved_disc, probe_intensity, probe_power
from ptychopinn.scan.coverage import probe_coverage
from ptychopinn.scan.probe import light
from tests.helpers import assert_adjoint, power, random_tensor

EVEN_AND_ODD = pytest.mark.parametrize("size", [64, 65])


def width(probe: Tensor, level: float = 0.5) -> float:
    return light.width(probe.numpy(), level)


def cropped(field: Tensor, size: int) -> Tensor:
    return torch.from_numpy(light.cropped(field.numpy(), size))


def padded(field: Tensor, size: int) -> Tensor:
    return torch.from_numpy(light.padded(field.numpy(), size))


def radii(size: int) -> Tensor:
    """Distance of each pixel from ``[size // 2, size // 2]``."""
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    return torch.hypot(axis[:, None], axis[None, :])


@EVEN_AND_ODD
def test_light_is_that_of_the_operators_on_tensors(size):
    probe = random_tensor(3, size, size)
    torch.testing.assert_close(torch.from_numpy(light.power(probe.numpy())), probe_power(probe))
    torch.testing.assert_close(torch.from_numpy(light.intensity(probe.numpy())), probe_intensity(probe))
    far = probe_intensity(to_detector(probe))
    torch.testing.assert_close(torch.from_numpy(light.far_intensity(probe.numpy())), far)
    assert light.cropped(probe.numpy().astype(np.complex64), size - 4).dtype == np.complex64


def test_support_is_the_smallest_square_that_holds_the_power():
    probe = np.zeros((1, 64, 64), np.complex64)
    probe[0, 26:38, 26:38] = 1
    assert light.support(probe) == 12
    assert light.support(probe + 1) == 64


def test_spread_light_is_the_coverage(scan):
    for part in (
        scan,
        replace(scan, positions=scan.positions + np.random.default_rng(0).uniform(-9, 3, (len(scan), 2))),
    ):
        expected = probe_coverage(part).numpy()
        found = light.spread_light(part.probe, part.canvas_positions.numpy(), part.canvas_shape)
        np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * expected.max())


def band_limited(coefficients: Tensor, size: int, step: float) -> Tensor:
    """Sample the Fourier series of period 1 on a grid of ``size`` pixels of pitch ``step``, origin centred.

    Args:
        coefficients: (2k + 1, 2k + 1) amplitudes of the frequencies -k .. k.
        size: pixels.
        step: pixel pitch in periods.
    """
    order = torch.arange(len(coefficients)) - len(coefficients) // 2
    place = (torch.arange(size, dtype=torch.float64) - size // 2) * step
    waves = torch.exp(2j * math.pi * place[:, None] * order)
    return waves @ coefficients @ waves.T


@EVEN_AND_ODD
@pytest.mark.parametrize("radius", [8.3, 15.5, 24.7])
def test_width_of_a_disc_is_its_diameter(size, radius):
    probe = (radii(size) <= radius).to(torch.complex64)[None]
    assert width(probe) == pytest.approx(2 * radius, rel=0.015)


@pytest.mark.parametrize("curvature", [0.0, 3.0])
def test_width_of_a_soft_disc_is_that_of_half_its_intensity(curvature):
    radius, softness = 24.0, 1.0
    # The logistic amplitude falls to sqrt(1/2) where exp((r - radius) / softness) = sqrt(2) - 1.
    half = radius + softness * math.log(math.sqrt(2) - 1)
    assert width(curved_disc(128, radius, curvature, softness)) == pytest.approx(2 * half, rel=0.01)


@pytest.mark.parametrize("level", [0.25, 0.5])
@pytest.mark.parametrize("sigma", [5.0, 9.0])
def test_width_of_a_gaussian_is_its_full_width_at_that_level(sigma, level):
    # Intensity exp(-r^2 / 2 sigma^2); the robust peak is a few percent below the true one.
    probe = torch.exp(-radii(128).square() / (4 * sigma**2)).to(torch.complex64)[None]
    expected = 2 * sigma * math.sqrt(2 * math.log(1 / level))
    assert expected < width(probe, level) < 1.05 * expected


def test_width_depends_on_neither_photons_nor_modes():
    probe = curved_disc(64, 15.0, 1.0)
    found = width(probe)
    assert width(1e4 * probe) == found
    assert width(torch.cat([0.8 * probe, 0.6j * probe])) == pytest.approx(found, rel=0.01)


def test_width_ignores_one_hot_pixel():
    probe = curved_disc(64, 15.0, 1.0)
    hot = probe.clone()
    hot[0, 40, 35] *= 10
    assert width(hot) == pytest.approx(width(probe), rel=0.01)


@pytest.mark.parametrize(("full", "size"), [(64, 32), (64, 48), (63, 31), (64, 64), (33, 33)])
def test_crop_keeps_the_values_of_a_band_limited_field(full, size):
    coefficients = random_tensor(11, 11, seed=3)
    field = band_limited(coefficients, full, 1 / full)
    # A pixel of the coarse grid covers (full / size)^2 fine ones and carries their power.
    expected = band_limited(coefficients, size, 1 / size) * (full / size)
    torch.testing.assert_close(cropped(field, size), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("full", "size"), [(64, 32), (63, 31)])
def test_crop_keeps_the_power_of_a_band_limited_field(full, size):
    field = band_limited(random_tensor(11, 11, seed=4), full, 1 / full)
    torch.testing.assert_close(power(cropped(field, size)), power(field), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("full", "size"), [(64, 32), (63, 31)])
def test_crop_loses_the_power_outside_the_cropped_detector(full, size):
    field = random_tensor(2, full, full, seed=5)
    start = full // 2 - size // 2
    window = slice(start, start + size)
    spectrum = to_detector(field)[:, window, window]
    torch.testing.assert_close(power(cropped(field, size)), power(spectrum), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("full", "size"), [(64, 32), (63, 31), (96, 64)])
def test_crop_keeps_a_centred_spot_centred(full, size):
    axis = torch.arange(full, dtype=torch.float64) - full // 2
    spot = torch.exp(-(axis[:, None].square() + axis.square()) / 40).to(torch.complex128)
    small = cropped(spot, size)
    assert divmod(int(small.abs().argmax()), size) == (size // 2, size // 2)
    # Symmetric about the centre pixel; an even grid has one more pixel on the low side.
    inner = small[1 - size % 2 :, 1 - size % 2 :]
    torch.testing.assert_close(inner, inner.flip(0, 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(small[size // 2, size // 2].real, torch.tensor(full / size, dtype=torch.float64))


def test_crop_keeps_batch_and_modes_apart():
    field = random_tensor(2, 3, 32, 32)
    torch.testing.assert_close(cropped(field, 16)[1, 2], cropped(field[1, 2], 16))


@pytest.mark.parametrize(("small", "large"), [(16, 32), (12, 16), (32, 32), (15, 33)])
def test_padding_is_the_adjoint_of_cropping_and_undone_by_it(small, large):
    x, y = random_tensor(2, large, large, seed=1), random_tensor(2, small, small, seed=2)
    assert_adjoint(lambda field: cropped(field, small), lambda field: padded(field, large), x, y)
    torch.testing.assert_close(cropped(padded(y, large), small), y, rtol=0, atol=1e-13)
    torch.testing.assert_close(power(padded(y, large)), power(y), rtol=1e-13, atol=0)
