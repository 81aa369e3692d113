"""The centred unitary transform: Parseval, inverse, adjoint, where frequencies land."""

import math

import pytest
import torch
from torch import Tensor

from ptychopinn.physics.fourier import from_detector, to_detector
from tests.helpers import assert_adjoint, assert_gradient_is_adjoint, power, random_tensor

EVEN_AND_ODD = pytest.mark.parametrize("size", [32, 33])


def plane_wave(size: int, row: int, col: int) -> Tensor:
    """Field with ``row`` periods down and ``col`` periods across, modulus 1, phase 0 at the first pixel."""
    axis = torch.arange(size, dtype=torch.float64)
    phase = 2 * math.pi / size * (row * axis[:, None] + col * axis[None, :])
    return torch.polar(torch.ones_like(phase), phase)


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
    assert to_detector(field).dtype == from_detector(field).dtype == dtype
