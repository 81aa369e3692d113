"""Generated set-ups: probes of unit power, what is told and what is there, the same for the same seed."""

import numpy as np
import pytest
import torch

from ptychopinn.physics.probe import probe_power
from ptychopinn.training.setups import aperture_field, lens_probe, random_setup, speckle_probe


@pytest.mark.parametrize("N", [32, 64, 96])
@pytest.mark.parametrize("modes", [1, 2])
def test_set_ups_are_whole_and_of_unit_power(N, modes):
    rng = np.random.default_rng(N + modes)
    for _ in range(20):
        setup = random_setup(N, rng, modes)
        for probe in (setup.probe, setup.light):
            assert probe.shape == (modes, N, N)
            assert bool(torch.isfinite(probe.abs()).all())
            assert float(probe_power(probe).sum()) == pytest.approx(1, rel=1e-4)
        assert 8 <= setup.support <= N
        assert setup.good_pixels.float().mean() > 0.8
        assert 0 <= setup.background < 0.1


def test_the_same_seed_gives_the_same_set_up_and_another_gives_another():
    first, again, other = (random_setup(48, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert torch.equal(first.probe, again.probe)
    assert not torch.equal(first.probe, other.probe)


def test_some_set_ups_have_errors_of_probe_dead_pixels_and_background():
    setups = [random_setup(32, np.random.default_rng(seed)) for seed in range(60)]
    wrong = [setup for setup in setups if not torch.equal(setup.probe, setup.light)]
    assert 10 < len(wrong) < 45
    for setup in wrong:
        overlap = float((setup.probe * setup.light.conj()).sum().abs())
        assert 0.9 < overlap < 1 - 1e-6
    assert any(not bool(setup.good_pixels.all()) for setup in setups)
    assert any(setup.background > 0 for setup in setups)


def test_modes_are_orthogonal():
    for seed in range(10):
        first, second = random_setup(32, np.random.default_rng(seed), modes=2).probe
        product = abs(complex((first * second.conj()).sum()))
        assert product < 1e-3 * float(first.abs().square().sum())


def test_a_defocused_lens_lights_as_far_as_geometrical_optics_says():
    """Far fields are a pupil of limited radius; light of a lens fills at most what its defocus can reach."""
    for seed in range(20):
        field = lens_probe(64, np.random.default_rng(seed))
        spectrum = abs(np.fft.fftshift(np.fft.fft2(field))) ** 2
        y, x = np.mgrid[:64, :64] - 32
        outside = np.hypot(y, x) > 0.42 * 64 + 0.06 * 64 * 2**0.5 + 6
        assert spectrum[outside].sum() < 0.05 * spectrum.sum()


@pytest.mark.parametrize("make", [lens_probe, aperture_field, speckle_probe])
def test_probes_can_be_sampled(make):
    """Most of the light, in the object and on the detector, stays away from the rim."""
    for seed in range(15):
        field = make(64, np.random.default_rng(seed))
        for plane in (field, np.fft.fftshift(np.fft.fft2(field))):
            power = abs(plane) ** 2
            rim = power.sum() - power[2:-2, 2:-2].sum()
            assert rim < 0.2 * power.sum(), f"seed {seed}"


@pytest.mark.parametrize("size", [32, 64, 80])
def test_given_probes_are_varied_and_cut_or_padded(size):
    y, x = np.mgrid[:size, :size] - size // 2
    given = (np.exp(-((y - 3) ** 2 + x**2) / 60.0)[None] * np.exp(0.02j * (x**2 + y**2)),)
    kinds = [random_setup(64, np.random.default_rng(seed), given=given) for seed in range(40)]
    varied = [setup for setup in kinds if setup.kind == "given"]
    assert 3 <= len(varied) <= 20
    assert all(setup.probe.shape == (1, 64, 64) for setup in varied)
    assert not torch.equal(varied[0].probe, varied[1].probe)
    assert max(setup.support for setup in varied) < 64
