"""Position correction: least squares finds small updates, a search finds far ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.engines.positions import FAR, LARGEST_UPDATE, REACH, position_updates, search
from ptychopinn.physics.exit_waves import object_to_waves, probe_views
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import simulate

MODELS = pytest.mark.parametrize("subpixel", ["bilinear", "fourier"])


def in_model(scan: Scan, subpixel: str) -> Scan:
    """The same scan with the counts of a model between pixels: under another one no frame fits where it is."""
    return simulate(scan.object, scan.probe, scan.positions, nphotons=1e5, interpolation=subpixel)


@MODELS
def test_a_small_move_is_found_from_the_waves(tiny_scan, tiny_truth, subpixel):
    probe = torch.from_numpy(tiny_scan.probe)
    places = (tiny_scan.canvas_positions[:20].floor() + 0.3).double()
    true = torch.rand(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.4 - 0.2
    # What a frame sees from elsewhere, up to the phase ramp of the patch that no count knows.
    views = probe_views(probe, places, "fourier")
    there = probe_views(probe, places + true, "fourier")
    change = object_to_waves(there, tiny_truth) - object_to_waves(views, tiny_truth)
    here = probe_views(probe, places, subpixel)
    found = position_updates(here, extract_patches(tiny_truth, here.places, 32), change)
    assert (found.shape, found.dtype) == ((20, 2), torch.float64)
    assert float((found - true).abs().mean()) < 0.25 * float(true.abs().mean())


def test_a_move_is_never_long(tiny_scan, tiny_truth):
    views = probe_views(torch.from_numpy(tiny_scan.probe), tiny_scan.canvas_positions[:8], "fourier")
    patches = extract_patches(tiny_truth, views.places, 32)
    change = 1e3 * torch.randn(8, 1, 32, 32, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    assert float(position_updates(views, patches, change).abs().max()) == LARGEST_UPDATE


def test_frames_in_the_dark_stay(tiny_scan, tiny_truth):
    views = probe_views(torch.from_numpy(tiny_scan.probe), tiny_scan.canvas_positions[:4], "fourier")
    dark = torch.zeros(4, 32, 32, dtype=torch.complex64)
    change = torch.ones(4, 1, 32, 32, dtype=torch.complex64)
    assert not position_updates(views, dark, change).any()


@MODELS
def test_frames_far_off_are_found_and_the_others_stay(tiny_scan, tiny_truth, subpixel):
    true = tiny_scan.canvas_positions.double()
    wrong = true.clone()
    off = torch.tensor([[3.0, -2.0], [-REACH, 1.0], [2.0, 2.0]], dtype=torch.float64)
    rows = [9, 27, 44]
    wrong[rows] += off
    scan = in_model(tiny_scan, subpixel)
    found = search(scan, tiny_truth, torch.from_numpy(scan.probe), wrong, wrong, subpixel)
    torch.testing.assert_close(found, true)


def test_bad_pixels_do_not_lead_astray(tiny_scan, tiny_truth):
    good = np.random.default_rng(0).random((32, 32)) > 0.05
    spoilt = np.where(good, tiny_scan.counts, 0).astype(np.float32)
    scan = replace(tiny_scan, counts=spoilt, good_pixels=good)
    true = tiny_scan.canvas_positions.double()
    wrong = true.clone()
    wrong[30] += 2
    found = search(scan, tiny_truth, torch.from_numpy(scan.probe), wrong, wrong, "bilinear")
    torch.testing.assert_close(found, true)


def test_the_worst_frame_is_searched_for_farther_out(tiny_scan, tiny_truth):
    true = tiny_scan.canvas_positions.double()
    wrong = true.clone()
    wrong[30] += torch.tensor([FAR, 2 - FAR])
    found = search(tiny_scan, tiny_truth, torch.from_numpy(tiny_scan.probe), wrong, wrong, "bilinear")
    torch.testing.assert_close(found, true)


def test_a_frame_that_strayed_comes_back_to_where_it_was_measured(tiny_scan, tiny_truth):
    true = tiny_scan.canvas_positions.double()
    measured, strayed = true.clone(), true.clone()
    measured[20] += torch.tensor([1.4, -2.3])
    strayed[20] += torch.tensor([3.0 + REACH, -1.0 - REACH])
    found = search(tiny_scan, tiny_truth, torch.from_numpy(tiny_scan.probe), strayed, measured, "bilinear")
    torch.testing.assert_close(found, true)


@MODELS
def test_the_worst_frame_is_searched_for_in_half_pixels(tiny_scan, tiny_truth, subpixel):
    true = tiny_scan.canvas_positions.double()
    wrong = true.clone()
    wrong[30] += torch.tensor([1.5, -2.5])
    scan = in_model(tiny_scan, subpixel)
    found = search(scan, tiny_truth, torch.from_numpy(scan.probe), wrong, wrong, subpixel)
    torch.testing.assert_close(found, true)
