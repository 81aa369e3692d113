"""Losses: the likelihood of counts with its floor, the deviance that people read, the error that forgives a phase."""

import numpy as np
import pytest
import torch
from scipy.stats import poisson
from torch import Tensor

from ptychopinn.physics.likelihood import RATE_FLOOR, expected_deviance, poisson_deviance
from ptychopinn.training.losses import amplitude_mae, complex_mae, mean_over, patch_error, total_variation
from tests.helpers import poisson_nll, random_tensor

COUNTS = pytest.mark.parametrize("k", [0.5, 1.0, 7.0, 1e3, 1e8])
ERRORS = pytest.mark.parametrize("error", [patch_error, complex_mae])
BOTH = pytest.mark.parametrize("loss", [poisson_nll, poisson_deviance])


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def drawn(rate: float, count: int = 200_000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A constant rate and Poisson counts of it."""
    rates = torch.full((count,), rate, dtype=torch.float64)
    return rates, torch.poisson(rates, generator=torch.Generator().manual_seed(seed))


@BOTH
@COUNTS
def test_the_minimum_is_where_the_rate_is_the_count(loss, k):
    rate = number(k).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(rate, number(k)), rate)
    assert abs(float(gradient)) < 1e-12
    # Steps of about one standard deviation of the noise.
    for away in (1 - 0.5 / (1 + k**0.5), 1 + 0.5 / (1 + k**0.5)):
        assert loss(number(k * away), number(k)) > loss(number(k), number(k))


@BOTH
def test_gradients_are_those_of_finite_differences_and_of_the_formula(loss):
    rate = (random_tensor(40, dtype=torch.float64).exp() * 5).requires_grad_()
    counts = torch.poisson(torch.full((40,), 3.0, dtype=torch.float64), generator=torch.Generator().manual_seed(1))
    assert (counts == 0).any()
    assert torch.autograd.gradcheck(lambda r: loss(r, counts), rate)
    (gradient,) = torch.autograd.grad(loss(rate, counts).sum(), rate)
    factor = 2 if loss is poisson_deviance else 1
    torch.testing.assert_close(gradient, factor * (1 - counts / rate.detach()))


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [0.0, 1e-30, RATE_FLOOR])
@pytest.mark.parametrize("k", [0.0, 1.0, 1e9])
def test_a_rate_of_zero_stays_finite(loss, dtype, rate, k):
    rate = torch.tensor(rate, dtype=dtype, requires_grad=True)
    value = loss(rate, torch.tensor(k, dtype=dtype))
    (gradient,) = torch.autograd.grad(value, rate)
    assert value.isfinite()
    assert gradient.isfinite()


def test_the_deviance_is_twice_the_excess_of_the_likelihood():
    rate = random_tensor(60, dtype=torch.float64).exp() * 4
    counts = torch.poisson(rate * 1.3, generator=torch.Generator().manual_seed(2))
    best = poisson_nll(counts, counts)
    expected = 2 * (poisson_nll(rate, counts) - best)
    torch.testing.assert_close(poisson_deviance(rate, counts), expected, rtol=1e-7, atol=3 * RATE_FLOOR)
    assert (poisson_deviance(rate, counts) >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_perfect_prediction_has_no_deviance(dtype):
    counts = torch.tensor([0, 1, 5, 1e4, 1e9], dtype=dtype)
    assert (poisson_deviance(counts, counts).abs() <= 3 * RATE_FLOOR).all()


@pytest.mark.parametrize("rate", [50.0, 5e3, 1e7])
def test_the_mean_deviance_is_one_at_the_noise(rate):
    assert float(poisson_deviance(*drawn(rate)).mean()) == pytest.approx(1, rel=0.02)


def test_the_mean_deviance_is_below_one_where_photons_are_rare():
    assert 0.2 < float(poisson_deviance(*drawn(0.05)).mean()) < 0.4


def test_the_mean_looks_at_good_pixels_only():
    values = random_tensor(3, 2, 8, 8, dtype=torch.float64)
    mask = random_tensor(8, 8, seed=1, dtype=torch.float64) > 0
    garbage = torch.where(mask, values, torch.nan).requires_grad_()
    mean = mean_over(garbage, mask)
    torch.testing.assert_close(mean.detach(), (values * mask).sum() / (6 * mask.sum()))
    (gradient,) = torch.autograd.grad(mean, garbage)
    assert torch.equal(gradient != 0, mask.expand(3, 2, 8, 8))
    torch.testing.assert_close(mean_over(values, None), values.mean())


def test_the_amplitude_error_counts_good_pixels_and_survives_darkness():
    counts = torch.poisson(torch.full((3, 8, 8), 5.0, dtype=torch.float64), torch.Generator().manual_seed(0))
    mask = random_tensor(8, 8, dtype=torch.float64) > 0
    assert float(amplitude_mae(counts.clamp_min(1e-3), counts)) < 0.01
    torch.testing.assert_close(amplitude_mae(4 * counts + 1e-9, counts, mask), mean_over(counts.sqrt(), mask))
    rate = torch.zeros_like(counts).requires_grad_()
    value = amplitude_mae(rate, counts)
    assert value.isfinite()
    assert torch.autograd.grad(value, rate)[0].isfinite().all()


def test_the_variation_is_that_of_neighbours_without_wrapping():
    image = random_tensor(2, 5, 7)
    rows, cols = image[:, 1:] - image[:, :-1], image[:, :, 1:] - image[:, :, :-1]
    expected = rows.abs().square().sum(dim=(1, 2)) + cols.abs().square().sum(dim=(1, 2))
    torch.testing.assert_close(total_variation(image), expected)
    torch.testing.assert_close(total_variation(image + (3 - 2j)), expected)
    assert not total_variation(torch.ones(2, 5, 7)).any()
    ramp = torch.arange(7.0).expand(5, 7)
    assert float(total_variation(ramp)) == 5 * 6
    assert torch.autograd.gradcheck(total_variation, image.clone().requires_grad_())


@pytest.fixture
def groups() -> tuple[Tensor, Tensor, Tensor]:
    """Patches (3, 4, 6, 6), targets near them, and a weight."""
    targets = torch.exp(0.3 * random_tensor(3, 4, 6, 6))
    patches = targets + 0.1 * random_tensor(3, 4, 6, 6, seed=1)
    return patches, targets, random_tensor(6, 6, seed=2, dtype=torch.float64).square()


def turn(*phases: float) -> Tensor:
    return torch.exp(1j * torch.tensor(phases, dtype=torch.float64))


@ERRORS
def test_equal_patches_have_no_error(groups, error):
    _, targets, weight = groups
    assert (error(targets, targets, weight) < 1e-14).all()


@ERRORS
def test_the_phase_of_a_group_is_forgiven(groups, error):
    patches, targets, weight = groups
    expected = error(patches, targets, weight)
    assert (expected > 1e-3).all()
    phases = turn(0.4, -2.9, 3.1)[:, None, None, None]
    torch.testing.assert_close(error(phases * patches, targets, weight), expected)
    torch.testing.assert_close(error(patches, phases * targets, weight), expected)


@ERRORS
def test_phases_that_differ_within_a_group_are_not(groups, error):
    _, targets, weight = groups
    phases = turn(0.3, -0.3, 0.3, -0.3)[None, :, None, None]
    assert (error(phases * targets, targets, weight) > 0.05).all()
    single, single_phases = targets.flatten(0, 1)[:, None], phases.expand(3, 4, 1, 1).flatten(0, 1)[:, None]
    assert (error(single_phases * single, single, weight) < 1e-14).all()


def test_no_other_phase_gives_a_smaller_error(groups):
    patches, targets, weight = groups
    best = patch_error(patches, targets, weight)
    norm = weight.sum() * patches.shape[1]
    for phase in torch.linspace(-3, 3, 61).tolist():
        plain = ((turn(phase) * patches - targets).abs().square() * weight).sum(dim=(1, 2, 3)) / norm
        assert (plain >= best - 1e-12).all()


@pytest.mark.parametrize(("error", "expected"), [(patch_error, 0.09), (complex_mae, 0.3)])
def test_the_error_has_the_size_of_the_phase(groups, error, expected):
    _, targets, weight = groups
    phase_object = torch.exp(0.3j * torch.sign(random_tensor(3, 4, 6, 6, dtype=torch.float64)))
    found = error(torch.ones_like(targets), phase_object, weight)
    torch.testing.assert_close(found, torch.full_like(found, expected), rtol=0.3, atol=0)
    same = error(targets, phase_object, weight)
    torch.testing.assert_close(error(targets, phase_object, 1e6 * weight), same)


def test_the_gradient_holds_though_the_phase_is_a_constant_to_autograd(groups):
    # At the best phase the error does not change with it, so leaving it out of the graph changes nothing.
    patches, targets, weight = groups
    assert torch.autograd.gradcheck(lambda p: patch_error(p, targets, weight), patches.clone().requires_grad_())


@ERRORS
def test_dark_patches_have_a_finite_gradient(groups, error):
    _, targets, weight = groups
    patches = torch.zeros_like(targets).requires_grad_()
    (gradient,) = torch.autograd.grad(error(patches, targets, weight).sum(), patches)
    assert gradient.isfinite().all()


def summed(rate: float) -> float:
    """Mean deviance of Poisson counts, summed over the counts."""
    rate = max(rate, RATE_FLOOR)
    spread = 14 * rate**0.5
    counts = np.arange(max(0, int(rate - spread - 40)), int(rate + spread) + 60)
    parts = rate - counts + counts * np.log(np.maximum(counts, 1) / rate)
    return float(2 * (poisson.pmf(counts, rate) * parts).sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_expected_deviance_is_that_of_the_poisson_sum(dtype):
    rates = np.concatenate([[0.0], np.geomspace(1e-8, 1e5, 300), np.linspace(60, 68, 30)])
    found = expected_deviance(torch.tensor(rates, dtype=dtype).reshape(-1, 1))
    assert (found.dtype, found.shape) == (dtype, (len(rates), 1))
    expected = [summed(float(rate)) for rate in rates]
    np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=2e-6)


@pytest.mark.parametrize("rate", [1e-3, 0.05, 1.0, 1.3, 20.0, 63.9, 64.1, 1e4])
def test_the_expected_deviance_is_the_mean_of_drawn_counts(rate):
    values = poisson_deviance(*drawn(rate))
    error = float(values.std()) / len(values) ** 0.5
    assert abs(float(values.mean()) - float(expected_deviance(number(rate)))) < 4 * error


def test_noise_alone_leaves_most_at_a_photon_or_so_and_one_where_there_are_many():
    rates = torch.logspace(-6, 9, 2000, dtype=torch.float64)
    values = expected_deviance(rates)
    assert 1.16 < float(values.max()) < 1.161
    assert 1.2 < float(rates[values.argmax()]) < 1.5
    assert float(values[-1]) == pytest.approx(1, abs=1e-9)
    assert float(values[0]) < 3e-5
