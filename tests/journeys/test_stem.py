"""A 4D-STEM scan of 300 kV from py4DSTEM's file to an image."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ptychopinn.cli.app import app
from ptychopinn.files.reconstruction import read_reconstruction
from tests import stem


def run(*words: object) -> str:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return done.output


def refined(scan: stem.Stem, path: Path, *flags: str) -> tuple[np.ndarray, np.ndarray]:
    """Image and truth between the outermost positions."""
    out = path.parent / "out"
    run("refine", path, "--out", out, "--set", "voltage=300", "--set", "error_draws=0", "--epochs", 60, *flags)
    image = read_reconstruction(out / "reconstruction.h5")
    low = np.ceil(scan.corners.min(axis=0)).astype(int) + stem.N // 2
    high = np.floor(scan.corners.max(axis=0)).astype(int) + stem.N // 2
    first, last = (np.array(edge) - np.asarray(image.origin).astype(int) for edge in (low, high))
    return image.object[first[0] : last[0], first[1] : last[1]], scan.object[low[0] : high[0], low[1] : high[1]]


def without_ramp(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """An image whose phase has lost its linear part: a refined probe moves on the detector, and takes it along."""
    error = np.angle(image * truth.conj() * np.exp(-1j * np.angle(np.vdot(truth, image))))
    y, x = np.indices(error.shape)
    plane = np.stack([y.ravel(), x.ravel(), np.ones(y.size)], axis=-1)
    ramp = plane @ np.linalg.lstsq(plane, error.ravel(), rcond=None)[0]
    return image * np.exp(-1j * ramp.reshape(error.shape))


@pytest.mark.slow
def test_refined_phase_reaches_the_noise(tmp_path):
    """24 x 24 frames of 1e4 electrons, semi-angle 20 mrad, defocus 150 A, steps of 0.7 A.

    Photon noise alone makes 1 / (2 sqrt(electrons per object pixel)) = 0.014 rad.
    """
    scan = stem.simulate()
    image, truth = refined(scan, stem.write_py4dstem(tmp_path / "s.h5", scan.frames, scan.probe))
    assert stem.phase_error(np.ones_like(truth), truth) > 0.1
    assert stem.phase_error(image, truth) < 0.02


@pytest.mark.slow
def test_probe_of_a_lens_is_good_to_start_from(tmp_path):
    """The file has no probe, and the scan's x and y are exchanged; refined, the probe gains the true edge."""
    scan = stem.simulate(transpose=True)
    path = stem.write_py4dstem(tmp_path / "s.h5", scan.frames, QR_flip=True)
    flags = ("--set", "semiangle=20", "--set", "defocus=150A", "--refine-probe")
    image, truth = refined(scan, path, *flags)
    assert stem.phase_error(without_ramp(image, truth), truth) < 0.03


@pytest.mark.slow
def test_inspect_and_convert_speak_of_electrons(tmp_path):
    scan = stem.simulate(4, 4, dose=500)
    cube = stem.write_py4dstem(tmp_path / "s.h5", scan.frames, scan.probe)
    voltage = ("--set", "voltage=300")
    said = run("inspect", cube, *voltage, "--out", tmp_path / "a.png")
    assert "300 kV" in said
    assert "1.9687 pm" in said
    for name in ("p.h5", "c.cxi", "n.npz"):
        said += run("convert", cube, tmp_path / name, *voltage)
        said += run("inspect", tmp_path / name, "--out", tmp_path / f"{name}.png")
    assert said.count("300 kV") == 4
    assert "photon energy" not in said
    assert "629" not in said
