"""Probes: power, wavefront, normalisation."""

import pytest
import torch
from torch import Tensor

from ptychopinn.physics.probe import curved_disc, normalise_probe, probe_intensity, probe_power
from tests.helpers import random_tensor

EVEN_AND_ODD = pytest.mark.parametrize("size", [64, 65])


def radii(size: int) -> Tensor:
    """Distance of each pixel from ``[size // 2, size // 2]``."""
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    return torch.hypot(axis[:, None], axis[None, :])


@EVEN_AND_ODD
@pytest.mark.parametrize(("radius", "curvature", "softness"), [(16.0, 0.0, 1.0), (10.5, 2.0, 0.5), (24.0, -3.0, 2.0)])
def test_curved_disc_has_unit_power(size, radius, curvature, softness):
    probe = curved_disc(size, radius, curvature, softness)
    assert probe.shape == (1, size, size)
    assert probe.dtype == torch.complex64
    assert float(probe_power(probe)) == pytest.approx(1.0, abs=1e-6)


@EVEN_AND_ODD
@pytest.mark.parametrize("curvature", [-2.5, 0.0, 1.0, 3.0])
def test_curved_disc_has_the_given_phase_at_its_edge(size, curvature):
    radius, middle = 16, size // 2
    probe = curved_disc(size, radius, curvature)[0]
    edges = [(radius, 0), (-radius, 0), (0, radius), (0, -radius)]
    for row, col in edges:
        ratio = probe[middle + row, middle + col] / probe[middle, middle]
        assert float(ratio.angle()) == pytest.approx(curvature, abs=1e-5)
    # Parabolic: a quarter of it half way out.
    half = probe[middle + radius // 2, middle] / probe[middle, middle]
    assert float(half.angle()) == pytest.approx(curvature / 4, abs=1e-5)


@EVEN_AND_ODD
def test_curved_disc_has_a_logistic_edge(size):
    radius, softness = 16, 1.5
    profile = curved_disc(size, radius, 1.0, softness)[0].abs().double()
    expected = 1 / (1 + torch.exp((radii(size) - radius) / softness))
    scale = profile[size // 2, size // 2] / expected[size // 2, size // 2]
    torch.testing.assert_close(profile, scale * expected, rtol=0, atol=1e-6 * float(scale))


@pytest.mark.parametrize("photons", [1.0, 1e3, 1e9])
def test_normalise_probe_sets_the_photons_and_keeps_the_shape(photons):
    probe = random_tensor(3, 32, 32) * torch.tensor([3.0, 2.0, 1.0])[:, None, None]
    scaled = normalise_probe(probe, photons)
    assert float(probe_power(scaled).sum()) == pytest.approx(photons, rel=1e-12)
    ratio = scaled / probe
    torch.testing.assert_close(ratio, ratio[:1, :1, :1].expand_as(ratio))
    assert float(ratio[0, 0, 0].real) > 0


@pytest.mark.parametrize("leading", [(), (2,)])
def test_power_and_intensity_are_the_two_sums_of_the_same_photons(leading):
    probe = random_tensor(*leading, 3, 16, 16)
    photons = probe.abs().square()
    torch.testing.assert_close(probe_power(probe), photons.sum(dim=(-2, -1)))
    torch.testing.assert_close(probe_intensity(probe), photons.sum(dim=-3))
    torch.testing.assert_close(probe_power(probe).sum(-1), probe_intensity(probe).sum(dim=(-2, -1)))
