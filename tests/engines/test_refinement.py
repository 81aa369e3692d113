"""Refinement: the object from the counts, the same every time, blind to bad pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.engines.fisher import Linearised
from ptychopinn.engines.projections import Estimate, Projections
from ptychopinn.engines.refinement import Refined, holds_out, reconstruct, refine
from ptychopinn.evaluation.metrics import score
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.coverage import mean_overlap
from ptychopinn.scan.scan import Scan


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


def refined_error(found: Refined, scan: Scan) -> float:
    edge = found.margin
    image = found.estimate.image
    return error(image[edge : image.shape[0] - edge, edge : image.shape[1] - edge], scan)


def test_refining_from_vacuum_reaches_the_noise(tiny_scan):
    found = refine(tiny_scan, subpixel="bilinear")
    assert refined_error(found, tiny_scan) < 0.6 * error(reconstruct(tiny_scan, epochs=30), tiny_scan)
    truth = Estimate.of(tiny_scan, image=torch.from_numpy(tiny_scan.on_canvas(tiny_scan.object, outside=1)))
    # The most likely image explains the counts better than the true one does.
    assert found.deviance[-1] < Linearised(tiny_scan, truth, "bilinear").deviance
    assert list(found.deviance) == sorted(found.deviance, reverse=True)


def test_it_ends_when_little_is_gained(tiny_scan):
    found = refine(tiny_scan, subpixel="bilinear", tolerance=0.01)
    assert found.reason == "the deviance changes by less than 0.01"
    before, last = found.deviance[-2:]
    assert 1 - last / before < 0.01
    assert found.epochs < 100


def test_a_good_start_needs_fewer_epochs(tiny_scan, tiny_truth):
    near = tiny_truth * (1 + 0.03 * torch.randn(tiny_truth.shape, generator=torch.Generator().manual_seed(0)))
    ends = [refine(tiny_scan, start, subpixel="bilinear", epochs=12).deviance[-1] for start in (near, None)]
    assert ends[0] < ends[1]


def test_a_start_that_is_far_off_is_treated_like_vacuum(tiny_scan, tiny_truth):
    phase = 3 * torch.randn(tiny_truth.shape, generator=torch.Generator().manual_seed(0))
    told: dict[str, list[str]] = {"near": [], "far": []}
    for name, start in (("near", tiny_truth), ("far", tiny_truth * torch.polar(torch.ones_like(phase), phase))):
        refine(tiny_scan, start, subpixel="bilinear", epochs=12, report=told[name].append)
    near, far = (sum(line.startswith("projections") for line in lines) for lines in told.values())
    assert near < far


@pytest.mark.parametrize("epochs", [1, 5, 9, 25])
def test_epochs_are_a_limit(tiny_scan, epochs):
    found = refine(tiny_scan, epochs=epochs)
    # A last step may be halved before it is taken.
    assert found.epochs <= (epochs + 5 if epochs > 11 else epochs)
    more = found.epochs - epochs
    assert found.reason == (
        f"the {epochs} epochs asked for are used up, and the last step took {more} more"
        if more > 0
        else f"the next step does not fit in the epochs asked for ({epochs})"
    )
    assert found.estimate.image.isfinite().all()


def test_seconds_are_a_limit(tiny_scan):
    found = refine(tiny_scan, epochs=10_000, seconds=1e-6, tolerance=0)
    assert found.reason == "the time is over"
    assert found.epochs <= 2


def test_refining_repeats_and_leaves_its_start_alone(tiny_scan, tiny_truth):
    before = tiny_truth.clone()
    first, second, other = (refine(tiny_scan, tiny_truth, epochs=14, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(tiny_truth, before)
    assert torch.equal(first.estimate.image, second.estimate.image)
    assert not torch.equal(first.estimate.image, other.estimate.image)


def test_a_dim_scan_holds_pixels_out_and_stops_before_the_noise(tiny_scan):
    rng = np.random.default_rng(0)
    dim = replace(
        tiny_scan,
        counts=rng.poisson(tiny_scan.counts / 1000).astype(np.float32),
        probe=tiny_scan.probe / np.float32(np.sqrt(1000)),
    )
    assert holds_out(dim)
    assert not holds_out(tiny_scan)
    vacuum = torch.ones(dim.canvas_shape, dtype=torch.complex64)
    found = refine(dim, subpixel="bilinear")
    # 100 photons per frame tell little; the fit of every pixel would be twice as far off as vacuum is.
    assert found.epochs < 40
    assert refined_error(found, dim) < error(vacuum, dim)
    every = Projections(dim, Estimate.of(dim), "bilinear")
    for _ in range(20):
        every.epoch(len(dim))
    assert error(every.estimate.image, dim) > 1.5 * error(vacuum, dim)


def test_two_modes_come_out_orthogonal_and_with_their_power(tiny_scan):
    second = 0.5 * np.roll(tiny_scan.probe, 3, axis=-1)
    truth = replace(tiny_scan, probe=np.concatenate([tiny_scan.probe, second]))
    scan = without_noise(truth)
    start = replace(scan, probe=(scan.probe * np.exp(0.3j * np.hypot(*np.indices((32, 32)) - 16) / 8)).astype("c8"))
    found = refine(start, subpixel="bilinear", refine_probe=True, epochs=60)
    modes = found.estimate.probe.flatten(1)
    gram = (modes.conj() @ modes.T).abs()
    assert float(gram[0, 1]) < 1e-4 * float(gram[0, 0])
    assert float(gram[0, 0]) > float(gram[1, 1])
    power = float((abs(scan.probe) ** 2).sum())
    assert float(gram.trace()) == pytest.approx(power, rel=1e-4)
    assert found.deviance[-1] < 0.2 * refine(start, subpixel="bilinear", epochs=60).deviance[-1]


def test_positions_come_back(tiny_scan):
    off = np.random.default_rng(0).normal(0, 0.7, tiny_scan.positions.shape)
    off -= off.mean(axis=0)
    wrong = replace(tiny_scan, positions=tiny_scan.positions + off)
    found = refine(wrong, subpixel="bilinear", refine_positions=True, epochs=150)
    places = found.estimate.positions.numpy() - found.margin + np.array(wrong.canvas_origin)
    np.testing.assert_allclose(places.mean(axis=0), wrong.positions.mean(axis=0), atol=1e-3)
    rms = np.sqrt(((places - tiny_scan.positions) ** 2).sum(axis=1).mean())
    assert rms < 0.35 * np.sqrt((off**2).sum(axis=1).mean())


@pytest.mark.parametrize("garbage", [0.0, 1e7])
def test_refining_ignores_bad_pixels(tiny_scan, garbage):
    good = np.random.default_rng(0).random((32, 32)) > 0.05
    masked = replace(tiny_scan, good_pixels=good)
    spoilt = np.where(good, tiny_scan.counts, garbage).astype(np.float32)
    found = refine(replace(masked, counts=spoilt), epochs=20)
    assert torch.equal(found.estimate.image, refine(masked, epochs=20).estimate.image)


def test_one_frame_and_no_photons_end_without_harm(tiny_scan):
    alone = tiny_scan.subset(slice(0, 1))
    dark = replace(tiny_scan, counts=np.zeros_like(tiny_scan.counts))
    for scan in (alone, dark):
        assert refine(scan, epochs=20).estimate.image.isfinite().all()


def test_mean_overlap_counts_the_frames_that_share_a_pixel(tiny_scan):
    probe = torch.from_numpy(tiny_scan.probe)
    assert mean_overlap(tiny_scan.subset(slice(0, 1)), probe) == pytest.approx(1, rel=0.1)
    # A disc of radius 7 px every 6 px: pi 49 / 36 frames per pixel, a little more in the middle.
    assert mean_overlap(tiny_scan, probe) == pytest.approx(np.pi * 49 / 36, rel=0.25)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("subpixel", ["bilinear", "fourier"])
@pytest.mark.parametrize("more", [{}, {"refine_probe": True, "refine_positions": True}], ids=["object", "all"])
def test_the_gpu_finds_the_image_of_the_cpu(tiny_scan, subpixel, more):
    cpu, cuda = (refine(tiny_scan, epochs=25, subpixel=subpixel, device=device, **more) for device in ("cpu", "cuda"))
    assert cuda.estimate.image.device.type == "cuda"
    # Sums in another order, through 25 epochs of small batches.
    assert cuda.deviance[-1] == pytest.approx(cpu.deviance[-1], rel=1e-3)
    apart = score(cuda.estimate.image.cpu().numpy(), cpu.estimate.image.numpy())
    assert apart.complex_error < 0.01
