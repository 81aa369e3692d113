"""The Poisson likelihood: its minimum, its gradient, its deviance and what noise alone leaves of it."""

import numpy as np
import pytest
import torch
from scipy.stats import poisson
from torch import Tensor

from ptychopinn.physics.likelihood import RATE_FLOOR, expected_deviance, poisson_deviance
from tests.helpers import poisson_nll, random_tensor

COUNTS = pytest.mark.parametrize("k", [0.5, 1.0, 7.0, 1e3, 1e8])
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
