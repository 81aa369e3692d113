"""Projection steps: what they improve, what they leave alone, and what they never look at."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.engines.projections import HELD_OUT, Estimate, Projections, held_out_pixels
from ptychopinn.physics.probe import probe_power
from ptychopinn.scan.frames import Frames

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


class Recorded:
    """Frames of a scan that say which of them were read, in which order."""

    def __init__(self, counts: np.ndarray) -> None:
        self.counts, self.dtype, self.shape, self.rows = counts, counts.dtype, counts.shape, []

    def read(self, rows: np.ndarray) -> np.ndarray:
        self.rows.extend(rows.tolist())
        return self.counts[rows]


@pytest.mark.parametrize("order", ["raster", "random"])
def test_frames_that_do_not_fit_into_memory_are_read_once_an_epoch_in_order(tiny_scan, order):
    source = Recorded(tiny_scan.counts.astype(np.uint16))
    index = np.arange(len(tiny_scan)) if order == "raster" else np.random.default_rng(0).permutation(len(tiny_scan))
    scan = replace(tiny_scan.subset(index), counts=Frames.of(source))
    source.counts = source.counts[index]
    # Room for a quarter of the frames, four times over.
    estimate = Estimate.of(scan)
    steps = Projections(scan, estimate, memory=source.counts.nbytes)
    assert len(steps._parts) == 4
    source.rows.clear()
    moved = [steps.epoch(8) for _ in range(6)]
    assert source.rows == 6 * list(range(len(scan)))
    # A part is a strip of two rows, not wider than the probe, so that it takes longer than all at once.
    assert moved[-1] < 0.3 * moved[0]


@pytest.mark.parametrize("unknowns", [{"object"}, {"object", "probe"}, {"object", "positions"}])
def test_a_batch_of_any_size_is_summed_over_chunks(tiny_scan, monkeypatch, unknowns):
    found = []
    for chunk in (2**19, 5 * 32 * 32):
        monkeypatch.setattr("ptychopinn.physics.exit_waves.CHUNK", chunk)
        estimate = Estimate.of(tiny_scan, margin=8)
        Projections(tiny_scan, estimate, "fourier", unknowns).epoch(len(tiny_scan))
        found.append(estimate)
    torch.testing.assert_close(found[1].image, found[0].image, rtol=0, atol=1e-5)
    torch.testing.assert_close(found[1].probe, found[0].probe, rtol=0, atol=1e-4 * float(found[0].probe.abs().max()))
    torch.testing.assert_close(found[1].positions, found[0].positions, rtol=0, atol=1e-5)
