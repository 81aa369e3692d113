"""Projection steps: what they improve, what they leave alone, and what they never look at."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.engines.projections import HELD_OUT, Estimate, Projections, held_out_pixels
from ptychopinn.physics.probe import probe_power

MODELS = pytest.mark.parametrize("subpixel", ["bilinear", "fourier"])


@MODELS
def test_epochs_come_nearer_to_the_counts(tiny_scan, subpixel):
    estimate = Estimate.of(tiny_scan)
    steps = Projections(tiny_scan, estimate, subpixel)
    moved = [steps.epoch(8) for _ in range(6)]
    assert moved[-1] < 0.5 * moved[0]


def test_only_what_is_unknown_changes(tiny_scan):
    for unknowns in ({"object"}, {"object", "probe"}, {"object", "positions"}):
        estimate, before = Estimate.of(tiny_scan), Estimate.of(tiny_scan)
        Projections(tiny_scan, estimate, "fourier", unknowns).epoch(8)
        assert not torch.equal(estimate.image, before.image)
        assert torch.equal(estimate.probe, before.probe) == ("probe" not in unknowns)
        assert torch.equal(estimate.positions, before.positions) == ("positions" not in unknowns)


@MODELS
def test_the_probe_keeps_its_power_and_finds_its_shape(tiny_scan, tiny_truth, subpixel):
    true = torch.from_numpy(tiny_scan.probe)
    row = torch.linspace(-1, 1, 32)
    wrong = true * torch.polar(torch.ones(32, 32), 2 * row[:, None] ** 2 + 2 * row[None, :] ** 2)
    estimate = Estimate.of(replace(tiny_scan, probe=wrong.numpy()), image=tiny_truth)

    def difference() -> float:
        overlap = (estimate.probe * true.conj()).sum().abs() / probe_power(true).sum()
        return float(1 - overlap)

    before = difference()
    steps = Projections(tiny_scan, estimate, subpixel, {"object", "probe"})
    for _ in range(5):
        steps.epoch(16)
    assert difference() < 0.3 * before
    assert float(probe_power(estimate.probe).sum()) == pytest.approx(float(probe_power(true).sum()), rel=1e-5)


def test_few_photons_pull_no_more_than_many(tiny_scan, tiny_truth):
    """Roots of small counts are too small on average; with Anscombe's 3/8 the truth stays nearly where it is."""
    probe = tiny_scan.probe / np.float32(np.sqrt(300.0))
    rng = np.random.default_rng(0)
    dim = replace(tiny_scan, counts=rng.poisson(tiny_scan.counts / 300).astype(np.float32), probe=probe)
    estimate = Estimate.of(dim, image=tiny_truth)
    Projections(dim, estimate, hold_out=False).epoch(len(dim))
    inner = (slice(16, -16), slice(16, -16))
    mean = float(((estimate.image - tiny_truth) / tiny_truth)[inner].real.mean())
    assert abs(mean) < 0.05


def test_pixels_held_out_do_not_matter(tiny_scan):
    held = held_out_pixels(tiny_scan.N, torch.arange(len(tiny_scan)))[:, 0].numpy()
    spoilt = replace(tiny_scan, counts=np.where(held, 1e4, tiny_scan.counts).astype(np.float32))
    images = []
    for scan in (tiny_scan, spoilt):
        estimate = Estimate.of(scan)
        Projections(scan, estimate, hold_out=True).epoch(8)
        images.append(estimate.image)
    assert torch.equal(*images)


@pytest.mark.parametrize("size", [31, 32, 128])
def test_every_pixel_is_held_out_somewhere(size):
    held = held_out_pixels(size, torch.arange(HELD_OUT))[:, 0]
    assert torch.equal(held.sum(dim=0), torch.ones(size, size, dtype=torch.int64))
    share = held.double().mean(dim=(1, 2))
    assert ((share - 1 / HELD_OUT).abs() < 0.3 / HELD_OUT).all()


def test_a_margin_is_vacuum_around_the_same_places(tiny_scan, tiny_truth):
    plain, wide = Estimate.of(tiny_scan, image=tiny_truth), Estimate.of(tiny_scan, image=tiny_truth, margin=3)
    assert torch.equal(wide.image[3:-3, 3:-3], plain.image)
    assert (wide.image[:3] == 1).all()
    assert torch.equal(wide.positions, plain.positions + 3)
