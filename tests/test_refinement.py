"""Refinement: the object from the counts, the same every time, blind to bad pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.metrics import score
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.refinement import reconstruct
from ptychopinn.scan import Scan


def error(image: torch.Tensor, scan: Scan) -> float:
    """Relative complex error between the outermost positions."""
    (y, x), (height, width) = scan.canvas_origin, scan.canvas_shape
    truth = scan.object[y : y + height, x : x + width]
    margin = scan.N // 2
    inner = (slice(margin, -margin), slice(margin, -margin))
    return score(image.numpy()[inner], truth[inner]).complex_error


def without_noise(scan: Scan) -> Scan:
    """Expected counts instead of drawn ones."""
    patches = extract_patches(torch.from_numpy(scan.object), torch.from_numpy(scan.positions), scan.N)
    return replace(scan, counts=diffract(torch.from_numpy(scan.probe), patches).numpy())


def test_the_object_comes_out(tiny_scan):
    vacuum = torch.ones(tiny_scan.canvas_shape, dtype=torch.complex64)
    image = reconstruct(tiny_scan, epochs=10)
    assert (image.shape, image.dtype) == (tiny_scan.canvas_shape, torch.complex64)
    assert error(vacuum, tiny_scan) > 0.18
    assert error(image, tiny_scan) < 0.08


def test_more_photons_and_more_epochs_help(tiny_scan):
    clean = without_noise(tiny_scan)
    few, many = (error(reconstruct(clean, epochs), clean) for epochs in (5, 30))
    assert many < 0.5 * few
    assert many < error(reconstruct(tiny_scan, epochs=30), tiny_scan)


def test_two_modes_are_reconstructed_too(tiny_scan):
    probe = np.concatenate([tiny_scan.probe, 0.4 * np.roll(tiny_scan.probe, 3, axis=-1)])
    scan = without_noise(replace(tiny_scan, probe=probe))
    assert error(reconstruct(scan, epochs=10), scan) < 0.08


def test_the_same_seed_repeats_and_another_one_does_not(tiny_scan):
    first = reconstruct(tiny_scan, epochs=2, seed=3)
    assert torch.equal(reconstruct(tiny_scan, epochs=2, seed=3), first)
    assert not torch.equal(reconstruct(tiny_scan, epochs=2, seed=4), first)


def test_every_epoch_is_told(tiny_scan):
    told: list[int] = []
    reconstruct(tiny_scan, epochs=3, on_epoch=told.append)
    assert told == [1, 2, 3]


def test_no_epochs_return_a_copy_of_the_start(tiny_scan, tiny_truth):
    image = reconstruct(tiny_scan, epochs=0, start=tiny_truth)
    assert torch.equal(image, tiny_truth)
    assert image.data_ptr() != tiny_truth.data_ptr()


def test_the_truth_stays_where_counts_have_no_noise(tiny_scan, tiny_truth):
    before = tiny_truth.clone()
    image = reconstruct(without_noise(tiny_scan), epochs=3, start=tiny_truth)
    assert torch.equal(tiny_truth, before)
    inner = (slice(16, -16), slice(16, -16))
    torch.testing.assert_close(image[inner], tiny_truth[inner], rtol=0, atol=1e-3)


@pytest.mark.parametrize("shift", [(-40, 3), (10_000, -10_000)])
def test_positions_may_count_from_anywhere(tiny_scan, shift):
    moved = replace(tiny_scan, positions=tiny_scan.positions + shift, object=None)
    torch.testing.assert_close(reconstruct(moved, 2), reconstruct(tiny_scan, 2), rtol=0, atol=1e-4)


def test_pixels_without_light_keep_the_start(tiny_scan):
    scan = tiny_scan.subset(np.array([0, len(tiny_scan) - 1]))
    start = torch.full(scan.canvas_shape, 0.5 + 0.5j, dtype=torch.complex64)
    image = reconstruct(scan, epochs=2, start=start)
    assert torch.equal(image[:20, -20:], start[:20, -20:])
    assert not torch.equal(image[:20, :20], start[:20, :20])


@pytest.mark.parametrize("garbage", [0.0, 1e7])
def test_bad_pixels_are_ignored_whatever_they_hold(tiny_scan, garbage):
    good = np.random.default_rng(0).random((32, 32)) > 0.05
    good[16, 16] = False
    masked = replace(tiny_scan, good_pixels=good)
    spoilt = np.where(good, tiny_scan.counts, garbage).astype(np.float32)
    image = reconstruct(replace(masked, counts=spoilt), epochs=10)
    assert torch.equal(image, reconstruct(masked, epochs=10))
    assert error(image, tiny_scan) < 0.12
    assert error(reconstruct(replace(tiny_scan, counts=spoilt), epochs=10), tiny_scan) > 0.12


def test_a_single_frame_and_no_photons_stay_finite(tiny_scan):
    alone = tiny_scan.subset(slice(0, 1))
    dark = replace(tiny_scan, counts=np.zeros_like(tiny_scan.counts))
    for scan in (alone, dark):
        assert reconstruct(scan, epochs=3).isfinite().all()
