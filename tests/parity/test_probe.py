"""The idealised probe, the mask and what normalisation leaves unchanged."""

import pytest
import torch

from ptychopinn.physics.probe import circular_mask, normalise_probe, probe_power
from tests.helpers import default_probe
from tests.parity.oracle import assert_within, oracle

TOLERANCE = 2e-6


def test_default_probe():
    """Ours carries unit power and no constant of 1e-9 outside the disc."""
    older = oracle("probe")["default_probe_N64"].to(torch.complex64)[None]
    found = default_probe(64)
    assert float(probe_power(found)) == pytest.approx(1, abs=1e-6)
    assert_within(found, normalise_probe(older, 1.0), TOLERANCE)


@pytest.mark.parametrize("edge", [64, 128])
def test_mask(edge):
    mask = circular_mask(edge)
    assert torch.equal(mask, oracle("probe")[f"mask_N{edge}"].float())


@pytest.mark.parametrize("edge", [64, 65])
def test_mask_of_another_radius_and_with_a_soft_edge(edge):
    assert float(circular_mask(edge, 20.0).sum()) == pytest.approx(torch.pi * 20**2, rel=0.02)
    soft = circular_mask(edge, 20.0, softness=1.5)
    assert torch.equal(soft > 0.5, circular_mask(edge, 20.0) > 0)
    assert torch.equal(soft, soft.flip(0, 1))
    # A logistic step: it falls from 73 % to 27 % within twice the softness.
    row = soft[edge // 2]
    assert float(((row > 0.27) & (row < 0.73)).sum()) == pytest.approx(2 * 2 * 1.5, abs=2)


@pytest.mark.parametrize("scale", [4, 10])
def test_normalisation_by_the_mean_amplitude_under_the_mask(scale):
    """The older scale of a probe is arbitrary; in photons both are the same probe."""
    data = oracle("probe")
    probe, older = data["probe_in"][None], data[f"set_probe_scale{scale}"][None]
    mean = (probe * circular_mask(64)).abs().mean()
    assert_within(probe / (scale * mean), older, TOLERANCE)
    assert_within(normalise_probe(older, 1e5), normalise_probe(probe, 1e5), TOLERANCE)
