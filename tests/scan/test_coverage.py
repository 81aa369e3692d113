"""Coverage of a scan: its map of illumination, and how many frames illuminate a pixel."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.physics.patches import place_patches
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan.coverage import coverage_map, crowding
from ptychopinn.scan.scan import Scan


def test_crowding_counts_the_frames_that_light_a_pixel(tiny_scan):
    probe = torch.from_numpy(tiny_scan.probe)
    four = tiny_scan.subset(slice(0, 4))
    apart = replace(four, positions=np.array([[0.0, 0], [0, 60], [60, 0], [60, 60]]))
    assert crowding(replace(four, positions=np.zeros((4, 2))), probe) == pytest.approx(4)
    assert crowding(apart, probe) == pytest.approx(1)
    assert 2 < crowding(tiny_scan, probe) < 8
    assert crowding(tiny_scan.subset(np.r_[0:64, 0:64]), probe) == pytest.approx(2 * crowding(tiny_scan, probe))
    assert crowding(tiny_scan, 1e-3 * probe) == pytest.approx(crowding(tiny_scan, probe))


def test_coverage_map_is_every_probe_in_its_place(scan: Scan) -> None:
    moved = replace(scan, positions=scan.positions + np.random.default_rng(0).uniform(-9, 3, scan.positions.shape))
    found = coverage_map(moved)
    assert found is not None
    light, top, left = found
    intensity = probe_intensity(torch.from_numpy(scan.probe)).double().expand(len(scan), scan.N, scan.N)
    places = torch.from_numpy(moved.positions - [top, left])
    expected = place_patches(intensity, places, light.shape)
    np.testing.assert_allclose(light, expected.numpy(), atol=1e-9 * float(expected.max()))
    assert light.sum() == pytest.approx(len(scan) * 1e4, rel=1e-5)


def test_coverage_map_of_positions_in_a_wrong_unit_is_not_drawn(scan: Scan) -> None:
    assert coverage_map(replace(scan, positions=scan.positions * 1e6)) is None
