"""A scan that other programs may have written: its pixel size, and a file with its probe."""

from pathlib import Path

import numpy as np
import pytest

from ptychopinn.files.formats.npz import write_npz
from ptychopinn.scan.scan import Scan
from tests.files.writers import DISTANCE_M, PITCH_M, WAVELENGTH_M


@pytest.fixture(scope="module")
def scan(tiny_scan: Scan) -> Scan:
    """Frames whose rows and columns, like the positions, cannot be exchanged."""
    return tiny_scan.subset(np.arange(0, len(tiny_scan), 3))


@pytest.fixture
def pixel(scan: Scan) -> float:
    """Metres of an object pixel with the geometry of the writers."""
    return WAVELENGTH_M * DISTANCE_M / (scan.N * PITCH_M)


@pytest.fixture
def probe(scan: Scan, tmp_path: Path) -> str:
    """A file with the probe, for layouts without one."""
    write_npz(tmp_path / "probe.npz", scan)
    return str(tmp_path / "probe.npz")
