"""A scan of 1e9 photons whose probe has any unit: the image of the right probe, but for one amplitude factor."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptychopinn import api
from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines import native
from ptychopinn.evaluation.metrics import score
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.scan.scan import Scan

UNITS = {
    "unit power": lambda probe: probe / np.sqrt((np.abs(probe) ** 2).sum()),
    "maximum 1": lambda probe: probe / np.abs(probe).max(),
    "a thousandth": lambda probe: 1e-3 * probe,
    "thousandfold": lambda probe: 1e3 * probe,
    "a third of the flux": lambda probe: probe / np.sqrt(0.35),
}
TRAINING = {"n_filters_scale": 0.25, "stages": 2, "nepochs": 3, "accelerator": "cpu"}
SAME = 1e-3


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> Path:
    """A file whose probe is in sqrt(photons)."""
    path = tmp_path_factory.mktemp("units") / "right.npz"
    write_npz(path, api.simulate(N=32, object="lines", object_size=96, probe_radius=7.0, step=5.0, nphotons=1e9))
    assert api.read_scan(path).probe_factor == 1
    return path


def in_unit(right: Path, name: str) -> Scan:
    """The scan as it is read from a file with its probe in another unit."""
    path = right.with_name("other.npz")
    arrays = dict(np.load(right))
    np.savez(path, **{**arrays, "probeGuess": UNITS[name](arrays["probeGuess"].astype(np.complex128))})
    return api.read_scan(path)


def difference(image: np.ndarray, expected: np.ndarray) -> float:
    """Relative error after one complex factor."""
    factor = np.vdot(image, expected) / np.vdot(image, image)
    return score(factor * image, expected).complex_error


def refined(scan: Scan) -> np.ndarray:
    chosen = BaselineConfig(engine="native")
    return native.reconstruct(scan, chosen, RefinementConfig(error_draws=0)).window((96, 96))[scan.scan_box]


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_refine(right, unit):
    scan = in_unit(right, unit)
    assert len(scan.notes) == 1
    assert difference(refined(scan), refined(api.read_scan(right))) < SAME


@pytest.fixture(scope="module")
def run(right):
    return api.train(api.read_scan(right), **TRAINING)


def inferred(run, scan: Scan) -> np.ndarray:
    return api.infer(run, scan, accelerator="cpu").window((96, 96))[scan.scan_box]


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_infer(right, run, unit):
    whole, scan = api.read_scan(right), in_unit(right, unit)
    image = inferred(run, scan)
    assert difference(image, inferred(run, whole)) < SAME
    # A probe that is kept at a wrong scale has its factor in the object, and nothing else is worse.
    wrong = replace(scan, probe=1.5 * scan.probe)
    assert difference(inferred(run, wrong), image) < SAME
    assert np.abs(inferred(run, wrong)).mean() == pytest.approx(np.abs(image).mean() / 1.5, rel=SAME)


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_train(right, run, unit):
    scan = in_unit(right, unit)
    other = api.train(scan, **TRAINING)
    expected = [row["train_loss"] for row in run.history]
    assert [row["train_loss"] for row in other.history] == pytest.approx(expected, rel=0.01)
    assert difference(inferred(other, scan), inferred(run, api.read_scan(right))) < SAME
