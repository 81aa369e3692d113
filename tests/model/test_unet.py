"""The network: vacuum at first, amplitudes positive and unbounded, any phase, any size it can halve."""

import math

import pytest
import torch
from torch import Tensor

from ptychopinn.model.unet import UNet, to_complex
from tests.helpers import random_tensor


def trained(depth: int = 2, channels_in: int = 3, channels_out: int = 2) -> UNet:
    """A small network whose last layer is no longer zero."""
    torch.manual_seed(0)
    network = UNet(channels_in, channels_out, width=4, depth=depth)
    torch.nn.init.normal_(network.leave.weight, std=0.1)
    return network


def picture(*shape: int) -> Tensor:
    return random_tensor(*shape, dtype=torch.float32)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("halved", [1, 5, 6])
def test_sizes_are_kept_and_the_first_answer_is_no_change(depth, halved):
    edge = halved * 2**depth
    out = UNet(3, 4, width=4, depth=depth)(picture(2, 3, edge, edge))
    assert out.shape == (2, 4, edge, edge)
    assert not out.any()


def test_zero_channels_are_vacuum():
    torch.testing.assert_close(to_complex(torch.zeros(2, 6, 8, 8)), torch.ones(2, 3, 8, 8, dtype=torch.complex64))


@pytest.mark.parametrize("phase", [0.0, 1.0])
def test_amplitudes_are_positive_growing_and_unbounded(phase):
    a = torch.linspace(-80, 1e4, 5001)
    b = torch.full_like(a, phase)
    amplitude = to_complex(torch.stack([a, b])[None, :, None])[0, 0, 0].abs()
    assert amplitude.isfinite().all()
    assert amplitude.min() > 0
    assert (amplitude.diff() > 0).all()
    assert float(amplitude[-1]) == pytest.approx(1e4, rel=1e-3)


def test_the_phase_is_two_radians_per_unit_without_a_limit():
    b = torch.linspace(-10, 10, 201)
    found = to_complex(torch.stack([torch.zeros_like(b), b])[None, :, None])[0, 0, 0]
    expected = torch.polar(torch.ones_like(b), 2 * b)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert found.angle().max() > 0.99 * math.pi
    assert found.angle().min() < -0.99 * math.pi


def test_first_channels_are_amplitudes_and_last_ones_phases():
    channels = picture(2, 6, 5, 5)
    found = to_complex(channels)
    for i in range(3):
        torch.testing.assert_close(found[:, i], to_complex(channels[:, [i, i + 3]])[:, 0])


def test_gradients_are_finite_far_out():
    channels = torch.tensor([-200.0, -80.0, 0.0, 80.0, 1e4]).repeat(1, 2, 1, 1).requires_grad_()
    found = to_complex(channels)
    (gradient,) = torch.autograd.grad(found.abs().square().sum() + found.real.sum(), channels)
    assert gradient.isfinite().all()


def test_images_of_a_batch_do_not_see_each_other():
    network, x = trained(), picture(3, 3, 24, 24)
    together = network(x)
    assert together.abs().max() > 0.01
    for image, out in zip(x, together, strict=True):
        torch.testing.assert_close(network(image[None])[0], out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_shift_that_survives_the_halvings_shifts_the_result(depth):
    step = 2**depth
    x = torch.zeros(1, 3, 72, 72)
    x[..., 30:42, 30:42] = picture(1, 3, 12, 12)
    network = trained(depth)
    moved = network(x.roll((step, -step), dims=(-2, -1)))
    # Away from the edges, whose zero padding does not move along.
    inner = slice(26, 46)
    expected = network(x).roll((step, -step), dims=(-2, -1))
    torch.testing.assert_close(moved[..., inner, inner], expected[..., inner, inner], rtol=1e-4, atol=1e-5)


def test_every_parameter_learns():
    network = trained()
    network(picture(2, 3, 16, 16)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
