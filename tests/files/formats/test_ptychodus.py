"""The training export of ptychodus."""

import numpy as np

from ptychopinn.api import read_scan
from tests.files.writers import (
    assert_same,
    write_training,
)


def test_training_export(scan, pixel, tmp_path):
    write_training(tmp_path / "training.h5", scan, pixel)
    found = read_scan(tmp_path / "training.h5")
    assert_same(found, scan)
    np.testing.assert_allclose(found.positions, scan.positions, rtol=0, atol=1e-9)
