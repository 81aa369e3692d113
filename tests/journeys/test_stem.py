"""A 4D-STEM scan of 300 kV from py4DSTEM's file to an image."""

import numpy as np
import pytest
from typer.testing import CliRunner

from ptychopinn.cli.app import app
from ptychopinn.files.reconstruction import read_reconstruction
from tests import stem

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("source", ["probe in the file", "probe of the lens, x and y exchanged"])
def test_refined_phase_reaches_the_noise(tmp_path, source):
    """24 x 24 frames of 1e4 electrons, semi-angle 20 mrad, defocus 150 A, steps of 0.7 A.

    Photon noise alone makes 1 / (2 sqrt(electrons per object pixel)) = 0.014 rad.
    """
    lens = source != "probe in the file"
    scan = stem.simulate(transpose=lens)
    path = stem.write_py4dstem(tmp_path / "s.h5", scan.frames, None if lens else scan.probe, QR_flip=lens)
    flags = ["--set", "voltage=300", "--set", "error_draws=0", "--epochs", "60"]
    flags += ["--set", "semiangle=20", "--set", "defocus=150A", "--refine-probe"] if lens else []
    done = CliRunner().invoke(app, ["refine", str(path), "--out", str(tmp_path / "out"), *flags])
    assert done.exit_code == 0, done.output
    image = read_reconstruction(tmp_path / "out" / "reconstruction.h5")
    low = np.ceil(scan.corners.min(axis=0)).astype(int) + stem.N // 2
    high = np.floor(scan.corners.max(axis=0)).astype(int) + stem.N // 2
    corner = low - np.asarray(image["origin"]).astype(int)
    size = high - low
    found = image["object"][corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
    truth = scan.object[low[0] : high[0], low[1] : high[1]]
    flat = stem.phase_error(np.ones_like(truth), truth)
    assert flat > 0.1
    assert stem.phase_error(found, truth) < 0.02
