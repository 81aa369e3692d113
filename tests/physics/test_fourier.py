"""The centred unitary transform: Parseval, inverse, adjoint, where frequencies land, cropping."""

import math

import pytest
import torch
from torch import Tensor

from ptychopinn.physics.fourier import fourier_crop, fourier_pad, from_detector, to_detector
from tests.helpers import assert_adjoint, assert_gradient_is_adjoint, power, random_tensor

EVEN_AND_ODD = pytest.mark.parametrize("size", [32, 33])


def plane_wave(size: int, row: int, col: int) -> Tensor:
    """Field with ``row`` periods down and ``col`` periods across, modulus 1, phase 0 at the first pixel."""
    axis = torch.arange(size, dtype=torch.float64)
    phase = 2 * math.pi / size * (row * axis[:, None] + col * axis[None, :])
    return torch.polar(torch.ones_like(phase), phase)


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
@pytest.mark.parametrize("transform", [to_detector, from_detector])
def test_parseval(size, transform):
    field = random_tensor(3, size, size)
    torch.testing.assert_close(power(transform(field)), power(field), rtol=1e-13, atol=0)


@EVEN_AND_ODD
def test_inverse_in_both_orders(size):
    field = random_tensor(2, 3, size, size)
    torch.testing.assert_close(from_detector(to_detector(field)), field, rtol=0, atol=1e-13)
    torch.testing.assert_close(to_detector(from_detector(field)), field, rtol=0, atol=1e-13)


@EVEN_AND_ODD
def test_inverse_is_adjoint_and_gradient(size):
    x, y = random_tensor(2, size, size, seed=1), random_tensor(2, size, size, seed=2)
    assert_adjoint(to_detector, from_detector, x, y)
    assert_gradient_is_adjoint(to_detector, from_detector, x, y)
    assert_gradient_is_adjoint(from_detector, to_detector, y, x)


@EVEN_AND_ODD
@pytest.mark.parametrize(("row", "col"), [(0, 0), (3, -5), (-7, 2), (0, 1)])
def test_plane_wave_lands_on_one_pixel_with_all_its_power(size, row, col):
    expected = torch.zeros(size, size, dtype=torch.complex128)
    expected[size // 2 + row, size // 2 + col] = size
    torch.testing.assert_close(to_detector(plane_wave(size, row, col)), expected, rtol=0, atol=1e-11)


@EVEN_AND_ODD
def test_leading_dimensions_are_independent(size):
    field = random_tensor(2, 3, size, size)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(to_detector(field)[i, j], to_detector(field[i, j]))
            torch.testing.assert_close(from_detector(field)[i, j], from_detector(field[i, j]))


@EVEN_AND_ODD
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_dtype_is_kept(size, dtype):
    field = random_tensor(size, size, dtype=dtype)
    assert to_detector(field).dtype == from_detector(field).dtype == fourier_crop(field, size - 4).dtype == dtype


@pytest.mark.parametrize(("full", "size"), [(64, 32), (64, 48), (63, 31), (64, 64), (33, 33)])
def test_crop_keeps_the_values_of_a_band_limited_field(full, size):
    coefficients = random_tensor(11, 11, seed=3)
    field = band_limited(coefficients, full, 1 / full)
    # A pixel of the coarse grid covers (full / size)^2 fine ones and carries their power.
    expected = band_limited(coefficients, size, 1 / size) * (full / size)
    torch.testing.assert_close(fourier_crop(field, size), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("full", "size"), [(64, 32), (63, 31)])
def test_crop_keeps_the_power_of_a_band_limited_field(full, size):
    field = band_limited(random_tensor(11, 11, seed=4), full, 1 / full)
    torch.testing.assert_close(power(fourier_crop(field, size)), power(field), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("full", "size"), [(64, 32), (63, 31)])
def test_crop_loses_the_power_outside_the_cropped_detector(full, size):
    field = random_tensor(2, full, full, seed=5)
    start = full // 2 - size // 2
    window = slice(start, start + size)
    spectrum = to_detector(field)[:, window, window]
    torch.testing.assert_close(power(fourier_crop(field, size)), power(spectrum), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("full", "size"), [(64, 32), (63, 31), (96, 64)])
def test_crop_keeps_a_centred_spot_centred(full, size):
    axis = torch.arange(full, dtype=torch.float64) - full // 2
    spot = torch.exp(-(axis[:, None].square() + axis.square()) / 40).to(torch.complex128)
    cropped = fourier_crop(spot, size)
    assert divmod(int(cropped.abs().argmax()), size) == (size // 2, size // 2)
    # Symmetric about the centre pixel; an even grid has one more pixel on the low side.
    inner = cropped[1 - size % 2 :, 1 - size % 2 :]
    torch.testing.assert_close(inner, inner.flip(0, 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(cropped[size // 2, size // 2].real, torch.tensor(full / size, dtype=torch.float64))


def test_crop_keeps_batch_and_modes_apart():
    field = random_tensor(2, 3, 32, 32)
    torch.testing.assert_close(fourier_crop(field, 16)[1, 2], fourier_crop(field[1, 2], 16))


@pytest.mark.parametrize(("small", "large"), [(16, 32), (12, 16), (32, 32), (15, 33)])
def test_padding_is_the_adjoint_of_cropping_and_undone_by_it(small, large):
    x, y = random_tensor(2, large, large, seed=1), random_tensor(2, small, small, seed=2)
    assert_adjoint(lambda field: fourier_crop(field, small), lambda field: fourier_pad(field, large), x, y)
    torch.testing.assert_close(fourier_crop(fourier_pad(y, large), small), y, rtol=0, atol=1e-13)
    torch.testing.assert_close(power(fourier_pad(y, large)), power(y), rtol=1e-13, atol=0)
