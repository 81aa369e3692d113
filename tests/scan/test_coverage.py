"""Coverage of a scan: the light on its canvas, and how many frames illuminate a pixel."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.physics.patches import place_patches
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan.coverage import light_on_canvas, mean_overlap
from ptychopinn.scan.scan import Scan


def test_mean_overlap_counts_the_frames_that_light_a_pixel(tiny_scan):
    probe = torch.from_numpy(tiny_scan.probe)
    four = tiny_scan.subset(slice(0, 4))
    apart = replace(four, positions=np.array([[0.0, 0], [0, 60], [60, 0], [60, 60]]))
    assert mean_overlap(replace(four, positions=np.zeros((4, 2))), probe) == pytest.approx(4)
    assert mean_overlap(apart, probe) == pytest.approx(1)
    assert 2 < mean_overlap(tiny_scan, probe) < 8
    assert mean_overlap(tiny_scan.subset(np.r_[0:64, 0:64]), probe) == pytest.approx(2 * mean_overlap(tiny_scan, probe))
    assert mean_overlap(tiny_scan, 1e-3 * probe) == pytest.approx(mean_overlap(tiny_scan, probe))


def test_light_on_the_canvas_is_every_probe_in_its_place(scan: Scan) -> None:
    moved = replace(scan, positions=scan.positions + np.random.default_rng(0).uniform(-9, 3, scan.positions.shape))
    weight = probe_intensity(torch.from_numpy(scan.probe))
    light = light_on_canvas(moved, weight).double()
    every = weight.double().expand(len(scan), scan.N, scan.N)
    expected = place_patches(every, moved.canvas_positions, moved.canvas_shape)
    torch.testing.assert_close(light, expected, rtol=0, atol=1e-6 * float(expected.max()))
    assert float(light.sum()) == pytest.approx(len(scan) * 1e4, rel=1e-5)
