"""Scans of NSLS-II."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.api import read_scan
from tests.files.writers import (
    assert_same,
    corner_first,
    metres,
    write_nsls2,
)


@pytest.mark.parametrize("attributes", [False, True], ids=["datasets", "attributes"])
def test_nsls2_counts(scan, pixel, probe, tmp_path, attributes):
    points = 1e6 * metres(scan, pixel)[:, ::-1].T
    write_nsls2(tmp_path / "scan.h5", "dp", scan.counts, points, attributes)
    found = read_scan(tmp_path / "scan.h5", probe=probe)
    assert_same(found, scan)
    assert found.pixel_size_m == pytest.approx(pixel)


@pytest.mark.parametrize("corner", [True, False], ids=["as the beamline writes", "zero frequency in the middle"])
def test_nsls2_amplitudes(scan, pixel, probe, tmp_path, corner):
    """Square roots, (n, x, y), the zero frequency at [0, 0]: rows and ``points[0]`` are one axis."""
    frames = np.sqrt(scan.counts.astype(np.float64))
    points = 1e6 * metres(scan, pixel).T
    write_nsls2(tmp_path / "scan.h5", "diffamp", corner_first(frames) if corner else frames, points)
    found = read_scan(tmp_path / "scan.h5", probe=probe)
    assert_same(replace(found, counts=np.rint(found.counts)), scan)
    assert ("zero frequency moved from [0, 0] to the middle" in " ".join(found.notes)) == corner
    assert "rows are x" in " ".join(found.notes)
