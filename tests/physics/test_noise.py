"""Photon counting: the moments and distributions of the draws, and their determinism."""

import numpy as np
import pytest
import torch
from scipy import stats

from ptychopinn.physics.noise import draw_counts, thin_counts

DRAWS = 200_000
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
FUNCTIONS = pytest.mark.parametrize(
    "draw",
    [
        lambda generator: draw_counts(torch.full((500,), 7.5), generator),
        lambda generator: thin_counts(torch.full((500,), 40.0), 0.3, generator),
    ],
    ids=["draw_counts", "thin_counts"],
)


def seeded(seed: int = 0) -> torch.Generator:
    """Make a generator with a seed."""
    return torch.Generator().manual_seed(seed)


def assert_moments(drawn: torch.Tensor, mean: float, variance: float, excess: float) -> None:
    """Compare with the distribution's mean and variance within five standard errors of each.

    Args:
        drawn: independent draws.
        mean: of the distribution.
        variance: of the distribution.
        excess: its excess kurtosis, which sets the spread of the sample variance.
    """
    drawn = drawn.double()
    assert float(drawn.mean()) == pytest.approx(mean, abs=5 * (variance / len(drawn)) ** 0.5)
    error = variance * ((2 + excess) / len(drawn)) ** 0.5
    assert float(drawn.var()) == pytest.approx(variance, abs=5 * error)


def assert_follows(drawn: torch.Tensor, distribution) -> None:
    """Chi-square test of whole-number draws against a scipy distribution, tails pooled to >= 20 expected."""
    low, high = (int(x) for x in distribution.ppf([1e-3, 1 - 1e-3]))
    edges = np.array([-np.inf, *np.arange(low, high), np.inf])
    observed = np.histogram(drawn.numpy(), bins=np.concatenate([[-np.inf], edges[1:-1] + 0.5, [np.inf]]))[0]
    expected = len(drawn) * np.diff(distribution.cdf(edges))
    assert expected.min() >= 20
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@DTYPES
@pytest.mark.parametrize("rate", [0.02, 0.7, 6.0, 250.0, 1e6])
def test_counts_have_poisson_mean_and_variance(rate, dtype):
    drawn = draw_counts(torch.full((DRAWS,), rate, dtype=dtype), seeded())
    assert drawn.dtype == dtype
    assert torch.equal(drawn, drawn.round())
    assert float(drawn.min()) >= 0
    assert_moments(drawn, rate, rate, 1 / rate)


@pytest.mark.parametrize("rate", [0.7, 6.0, 30.0])
def test_counts_follow_the_poisson_distribution(rate):
    assert_follows(draw_counts(torch.full((DRAWS,), rate), seeded()), stats.poisson(rate))


def test_no_light_gives_no_counts():
    assert not draw_counts(torch.zeros(1000), seeded()).any()
    assert not thin_counts(torch.zeros(1000), 0.5, seeded()).any()


def test_every_pixel_is_drawn_from_its_own_rate():
    rate = torch.tensor([0.0, 10.0, 1000.0]).repeat(2000, 1)
    drawn = draw_counts(rate, seeded())
    assert drawn.shape == rate.shape
    torch.testing.assert_close(drawn.mean(0), rate[0], rtol=0.05, atol=0)
    assert len(drawn[:, 1].unique()) > 10


@FUNCTIONS
def test_draws_depend_on_the_generator_only(draw):
    first = draw(seeded(3))
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(draw(seeded(3)), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(draw(seeded(4)), first)
    generator = seeded(3)
    assert torch.equal(draw(generator), first)
    assert not torch.equal(draw(generator), first)


@DTYPES
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("count", [1, 12, 5000])
def test_thinning_has_binomial_mean_and_variance(count, fraction, dtype):
    thinned = thin_counts(torch.full((DRAWS,), count, dtype=dtype), fraction, seeded())
    assert thinned.dtype == dtype
    assert torch.equal(thinned, thinned.round())
    assert 0 <= float(thinned.min()) <= float(thinned.max()) <= count
    variance = count * fraction * (1 - fraction)
    assert_moments(thinned, count * fraction, variance, (1 - 6 * fraction * (1 - fraction)) / variance)


@pytest.mark.parametrize(("count", "fraction"), [(12, 0.3), (12, 0.9), (400, 0.1), (400, 0.75)])
def test_thinning_follows_the_binomial_distribution(count, fraction):
    thinned = thin_counts(torch.full((DRAWS,), float(count)), fraction, seeded())
    assert_follows(thinned, stats.binom(count, fraction))


@pytest.mark.parametrize(("rate", "fraction"), [(6.0, 0.1), (40.0, 0.5)])
def test_a_thinned_measurement_is_a_measurement_at_lower_dose(rate, fraction):
    counts = draw_counts(torch.full((DRAWS,), rate), seeded(1))
    assert_follows(thin_counts(counts, fraction, seeded(2)), stats.poisson(rate * fraction))


def test_thinning_by_one_keeps_every_photon():
    counts = draw_counts(torch.full((1000,), 25.0), seeded())
    assert torch.equal(thin_counts(counts, 1.0, seeded()), counts)
