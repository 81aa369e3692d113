"""Inference: one image in the object frame, whatever the batch size, the position and the dose."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from ptychopinn.config import InferenceConfig, Settings
from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.metrics import score
from ptychopinn.inference.infer import infer
from ptychopinn.model.bundle import Run
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics.patches import place_patches
from ptychopinn.physics.probe import curved_disc, probe_intensity
from ptychopinn.scan.fits import deviances
from ptychopinn.scan.frames import Frames
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.simulation import raster, simulate
from tests.helpers import at_dose

KINDS = pytest.mark.parametrize("kind", [("realspace", 1), ("realspace", 2), ("amplitude", 2)], ids=str)


@cache
def untrained(kind: tuple[str, int]) -> Run:
    """A run whose network answers something, without a training. Its experiment is not used by inference."""
    torch.manual_seed(0)
    features, gridsize = kind
    settings = Settings.of({"features": features, "gridsize": gridsize, "stages": 1, "n_filters_scale": 0.25})
    model = PtychoModel(settings.model)
    for network in model.networks:
        nn.init.normal_(network.leave.weight, std=0.03)
    return Run(model.eval(), Illumination(torch.ones(1, 8, 8, dtype=torch.complex64), None, 8), settings)


@KINDS
def test_the_image_does_not_depend_on_the_batch_size(tiny_scan, kind):
    expected = infer(untrained(kind), tiny_scan, InferenceConfig(inference_batch_size=64))
    assert abs(expected.object - expected.object.mean()).max() > 0.05
    for batch_size in (1, 7, 1000):
        found = infer(untrained(kind), tiny_scan, InferenceConfig(inference_batch_size=batch_size))
        np.testing.assert_allclose(found.object, expected.object, rtol=0, atol=1e-5)
        assert found.deviance == pytest.approx(expected.deviance, rel=1e-3)


def test_the_trained_network_is_better_than_vacuum(tiny_run, tiny_scan):
    found, box = infer(tiny_run, tiny_scan), tiny_scan.scan_box
    truth = tiny_scan.object[box]
    error = score(found.window(tiny_scan.object.shape)[box], truth).complex_error
    assert error < 0.8 * score(np.ones_like(truth), truth).complex_error
    vacuum = torch.ones(tiny_scan.canvas_shape, dtype=torch.complex64)
    assert found.deviance < 0.5 * deviances(vacuum, tiny_scan.canvas_origin, tiny_scan)[0]


@KINDS
def test_image_coverage_and_positions_belong_together(tiny_scan, kind):
    found = infer(untrained(kind), tiny_scan)
    assert found.object.shape == found.coverage.shape == tiny_scan.canvas_shape
    assert (found.object.dtype, found.coverage.dtype) == (np.complex64, np.float32)
    assert np.isfinite(found.object).all()
    assert not found.object[found.coverage == 0].any()
    assert np.array_equal(found.positions, tiny_scan.positions)
    inside = found.positions - found.origin
    assert (inside >= 16).all()
    assert (inside <= np.array(found.object.shape) - 16).all()
    assert found.pixel_size_m is tiny_scan.pixel_size_m
    assert found.seconds.keys() == {"network", "phases", "stitch"}
    # The free global phase is chosen so that the lit mean is real and positive.
    mean = (found.object * found.coverage).sum()
    assert abs(np.angle(mean)) < 1e-4


@KINDS
def test_coverage_is_the_light_of_the_scan(tiny_scan, kind):
    found = infer(untrained(kind), tiny_scan)
    intensity = probe_intensity(torch.from_numpy(tiny_scan.probe)).expand(len(tiny_scan), -1, -1)
    expected = place_patches(intensity, tiny_scan.canvas_positions, tiny_scan.canvas_shape)
    np.testing.assert_allclose(found.coverage, expected.numpy(), rtol=1e-3, atol=1e-3)
    assert found.coverage.sum() == pytest.approx(64 * (np.abs(tiny_scan.probe) ** 2).sum(), rel=1e-3)


@pytest.mark.parametrize("shift", [(-60, 5), (1000, -2000)])
def test_a_moved_scan_gives_the_same_image_elsewhere(tiny_scan, shift):
    run = untrained(("realspace", 2))
    expected, found = infer(run, tiny_scan), infer(run, replace(tiny_scan, positions=tiny_scan.positions + shift))
    assert found.origin == (expected.origin[0] + shift[0], expected.origin[1] + shift[1])
    np.testing.assert_allclose(found.object, expected.object, rtol=0, atol=1e-4)
    assert found.deviance == pytest.approx(expected.deviance, rel=1e-3)


def test_the_amplitude_does_not_depend_on_the_dose(tiny_run, tiny_scan):
    box = tiny_scan.scan_box
    images = [infer(tiny_run, at_dose(tiny_scan, nphotons)) for nphotons in (1e4, 1e6, 1e8)]
    means = [float(abs(image.window(tiny_scan.object.shape)[box]).mean()) for image in images]
    assert max(means) / min(means) < 1.03
    assert means[-1] == pytest.approx(float(abs(tiny_scan.object[box]).mean()), rel=0.1)


def test_masked_pixels_have_no_deviance_and_no_influence(tiny_scan):
    good = np.random.default_rng(0).random((32, 32)) > 0.05
    masked = replace(tiny_scan, good_pixels=good)
    spoilt = replace(masked, counts=np.where(good, tiny_scan.counts, 1e6).astype(np.float32))
    run = untrained(("realspace", 2))
    found, expected = infer(run, spoilt), infer(run, masked)
    assert np.array_equal(found.object, expected.object)
    assert found.deviance == expected.deviance


@pytest.mark.parametrize("synchronise", [False, True])
def test_another_frame_size_and_another_probe_are_served(tiny_run, synchronise):
    positions = raster((90, 90), 34, step=8.0)
    image = np.exp(0.3j * np.random.default_rng(0).random((90, 90))).astype(np.complex64)
    scan = simulate(image, curved_disc(34, 9.0, 1.0).numpy(), positions, nphotons=1e5)
    found = infer(tiny_run, scan, InferenceConfig(synchronise=synchronise))
    assert np.isfinite(found.object).all()
    assert abs(found.window((90, 90))[scan.scan_box]).mean() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_scan_smaller_than_a_group_is_refused(tiny_scan, frames):
    with pytest.raises(PtychoError, match=f"{frames} frames.* gridsize 2.* need 4") as caught:
        infer(untrained(("realspace", 2)), tiny_scan.subset(slice(0, frames)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "frames"), [(("realspace", 1), 1), (("realspace", 1), 2), (("realspace", 2), 4)])
def test_the_smallest_scans_give_an_image(tiny_scan, kind, frames):
    found = infer(untrained(kind), tiny_scan.subset(slice(0, frames)))
    assert np.isfinite(found.object).all()
    assert np.isfinite(found.deviance)


def test_the_model_is_not_changed(tiny_scan):
    run = untrained(("realspace", 2))
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    first, second = infer(run, tiny_scan), infer(run, tiny_scan)
    assert np.array_equal(first.object, second.object)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert not run.model.training


def test_middle_trim_stitches_the_middle_of_every_patch(tiny_scan):
    run = untrained(("realspace", 1))
    with pytest.raises(PtychoError, match="middle_trim: 33 given; at most 32"):
        infer(run, tiny_scan, InferenceConfig(middle_trim=33))
    whole, same, middle = (infer(run, tiny_scan, InferenceConfig(middle_trim=trim)) for trim in (None, 32, 6))
    np.testing.assert_array_equal(same.object, whole.object)
    assert not np.allclose(middle.object, whole.object)
    lit = middle.coverage > 0
    assert lit.sum() < 0.6 * (whole.coverage > 0).sum()
    # Every position lights the 6 x 6 pixels around it, give or take the bilinear edge, and nothing else.
    places = tiny_scan.positions - np.array(middle.origin)
    rows, cols = np.nonzero(lit)
    distance = np.abs(np.stack([rows, cols], axis=1)[:, None] - places[None]).max(axis=-1).min(axis=1)
    assert distance.max() <= 4


def test_a_scan_in_parts_gives_nearly_the_image_of_the_whole(monkeypatch, tiny_run, tiny_scan):
    # 512 frames of 16 KiB: 8 parts where a megabyte is allowed.
    scan = tiny_scan.subset(np.tile(np.arange(64), 8))
    truth, box = scan.object[scan.scan_box], scan.scan_box
    whole, parted = (infer(tiny_run, scan, InferenceConfig(patch_memory=memory)) for memory in (8, 1))
    errors = [score(image.window(scan.object.shape)[box], truth).phase_mae for image in (whole, parted)]
    assert errors[1] < 1.05 * errors[0]
    assert (whole.origin, whole.object.shape) == (parted.origin, parted.object.shape)
    np.testing.assert_allclose(parted.coverage, whole.coverage, rtol=1e-3, atol=1e-3)
    assert whole.deviance_frames is None
    assert parted.deviance_frames is None
    monkeypatch.setattr("ptychopinn.reconstruction.SAMPLE", 100)
    sampled = infer(tiny_run, scan, InferenceConfig(patch_memory=1))
    assert np.array_equal(sampled.object, parted.object)
    assert sampled.deviance_frames == 100
    assert sampled.deviance == pytest.approx(parted.deviance, rel=0.1)


@KINDS
@pytest.mark.parametrize("synchronise", [False, True])
def test_parts_serve_groups_and_scans_that_are_not_synchronised(tiny_scan, kind, synchronise):
    scan = tiny_scan.subset(np.tile(np.arange(64), 4))
    images = [
        infer(untrained(kind), scan, InferenceConfig(patch_memory=memory, synchronise=synchronise))
        for memory in (10, 1)
    ]
    assert np.isfinite(images[1].object).all()
    np.testing.assert_allclose(images[1].coverage, images[0].coverage, rtol=1e-3, atol=1e-3)
    if not synchronise:
        np.testing.assert_allclose(images[1].object, images[0].object, rtol=0, atol=1e-5)


class Recorded:
    """Frames that note how often each is read."""

    def __init__(self, frames):
        self.frames, self.reads = frames, np.zeros(len(frames), dtype=int)
        self.shape, self.dtype = frames.shape, frames.dtype

    def read(self, rows):
        self.reads[rows] += 1
        return self.frames[rows]


@pytest.mark.parametrize("gridsize", [1, 2])
def test_dark_frames_of_a_file_are_found_where_they_are_read_anyhow(tiny_scan, gridsize):
    run, counts = untrained(("realspace", gridsize)), np.tile(tiny_scan.counts, (2, 1, 1))
    positions = np.concatenate([tiny_scan.positions, tiny_scan.positions + 3])
    usual = 2 * len(counts)  # network, deviance
    for dark in ([], [3, 100]):
        counts[dark] = 0
        source = Recorded(counts)
        found = infer(run, replace(tiny_scan, counts=Frames.of(source), positions=positions))
        np.testing.assert_array_equal(found.dark, dark)
        if gridsize == 1:
            assert source.reads.sum() == usual + 64 + 128  # a look for light, and one for the brightest
    counts[:] = 0
    with pytest.raises(PtychoError, match=r"^diffraction: zero everywhere"):
        infer(run, replace(tiny_scan, counts=Frames.of(Recorded(counts)), positions=positions))
