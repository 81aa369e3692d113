"""Likelihood, amplitude error and smoothness; the errors of the older losses are not copied."""

import cmath

import pytest
import torch

from ptychopinn.physics.likelihood import RATE_FLOOR
from ptychopinn.physics.reassembly import central_mask
from ptychopinn.training.losses import amplitude_mae, complex_mae, total_variation
from tests.helpers import poisson_nll, random_tensor
from tests.parity.oracle import assert_within, channels_first, oracle

NLL_TOLERANCE = 1e-6
TOLERANCE = 1e-5


@pytest.mark.parametrize(
    ("rate", "counts", "expected"), [("pred", "true", "nll_elementwise"), ("big_pred", "big_true", "big_nll")]
)
def test_nll_of_every_element(rate, counts, expected):
    data = oracle("poisson_nll")
    assert_within(poisson_nll(data[rate], data[counts]), data[expected], NLL_TOLERANCE)


def test_mean_nll_and_its_gradient():
    data = oracle("poisson_nll")
    rate = data["pred"].clone().requires_grad_()
    mean = poisson_nll(rate, data["true"]).mean()
    assert_within(mean.detach(), data["nll_keras"], NLL_TOLERANCE)
    (gradient,) = torch.autograd.grad(mean, rate)
    assert_within(gradient, data["grad_of_mean"], NLL_TOLERANCE)


def test_nll_of_a_rate_of_zero_is_not_infinite():
    """The older loss is inf or NaN at rate 0; ours is that of the floor, with a finite gradient."""
    data = oracle("poisson_nll")
    rate, counts, older = data["edge_pred"].clone().requires_grad_(), data["edge_true"], data["edge_nll"]
    found = poisson_nll(rate, counts)
    (gradient,) = torch.autograd.grad(found.sum(), rate)
    broken = ~older.isfinite()
    assert torch.equal(broken, rate == 0)
    assert found.isfinite().all()
    assert gradient.isfinite().all()
    floor = torch.tensor(RATE_FLOOR)
    torch.testing.assert_close(found[broken], floor - counts[broken] * floor.log())
    # The smallest of the finite ones, 1e-12, lies below the floor of 1e-6 photons.
    torch.testing.assert_close(found[~broken], older[~broken], rtol=NLL_TOLERANCE, atol=1.001e-6)


def test_amplitude_mae():
    data = oracle("losses")
    found = amplitude_mae(data["pred_amp"].square(), data["true_amp"].square())
    assert_within(found, data["amp_mae_keras"], TOLERANCE)


def test_amplitude_mae_of_dark_and_bad_pixels():
    rate = torch.zeros(2, 4, 4, requires_grad=True)
    counts = torch.ones(2, 4, 4)
    good = torch.ones(4, 4, dtype=torch.bool)
    good[0, 0] = False
    counts[:, 0, 0] = 1e9
    found = amplitude_mae(rate, counts, good)
    (gradient,) = torch.autograd.grad(found, rate)
    assert float(found.detach()) == pytest.approx(1, abs=2e-3)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("part", "name"),
    [(torch.Tensor.clone, "tv_complex"), (torch.Tensor.abs, "tv_amp_only"), (torch.real, "tv_real_part")],
    ids=["complex", "amplitude", "real part"],
)
def test_total_variation(part, name):
    """A sum of squares over batch and pixels, not a mean and not of absolute values."""
    data = oracle("losses")
    assert_within(total_variation(part(channels_first(data["pred_c"]))).sum(), data[name], TOLERANCE)


@pytest.mark.parametrize(("mask", "name"), [(None, "realspace_tv01"), (central_mask(64, 32), "realspace_tv01_masked")])
def test_realspace_loss(mask, name):
    data = oracle("losses")
    image = channels_first(data["pred_c"])
    image = image if mask is None else mask * image
    assert_within(0.1 * total_variation(image).sum(), data[name], TOLERANCE)


def test_complex_mae_has_no_reference_and_is_checked_by_definition():
    """The older one compares amplitudes with complex numbers, and no longer runs."""
    data = oracle("losses")
    image, truth = channels_first(data["pred_c"]), channels_first(data["true_c"])
    light = random_tensor(64, 64, dtype=torch.float32).square()
    inner = (light * image * truth.conj()).sum(dim=(1, 2, 3))
    turned = (inner / inner.abs())[:, None, None, None] * truth
    expected = (light * (image - turned).abs()).sum(dim=(1, 2, 3)) / light.sum()
    found = complex_mae(image, truth, light)
    assert_within(found, expected, TOLERANCE)
    assert_within(complex_mae(cmath.exp(2.1j) * image, truth, 3 * light), found, TOLERANCE)
    assert (complex_mae(truth, cmath.exp(-1.3j) * truth, light) < 1e-6).all()
    assert_within(complex_mae(image.expand(-1, 4, -1, -1), truth.expand(-1, 4, -1, -1), light), found, TOLERANCE)
