"""The first cause of a poor fit is what the reader of the scan, or a warning, doubted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.config import BaselineConfig, DataConfig, RefinementConfig
from ptychopinn.engines.judging.advice import unknown_cause
from ptychopinn.engines.native import reconstruct
from ptychopinn.files.reading import open_scan
from ptychopinn.scan.checks import warned_of
from ptychopinn.scan.scan import Scan
from tests.independent import Arrays, scan_arrays


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return scan_arrays(image="phase", N=32, side=7, radius=8, photons=1e4)


def opened(path: Path, arrays: Arrays) -> Scan:
    np.savez(path, **{key: value for key, value in arrays.items() if key != "objectGuess"})
    return open_scan(path, DataConfig())


def verdict_of(scan: Scan) -> str:
    lines: list[str] = []
    config = BaselineConfig(engine="native", epochs=20)
    reconstruct(scan, config, RefinementConfig(error_draws=0), report=lines.append)
    return "\n".join(line for line in lines if "deviance per pixel" in line and "Warning" in line)


def test_counts_read_as_amplitudes_are_named_before_all_else(tmp_path, arrays):
    flat = np.random.default_rng(0).uniform(0.9, 1.1, (32, 32))
    corrected = {
        "diffraction": (arrays["diffraction"] * flat).astype(np.float32),
        "probeGuess": arrays["probeGuess"] / 99,
    }
    scan = opened(tmp_path / "scan.npz", {**arrays, **corrected})
    assert "first check how the scan was read: the frames may be counts (--measurement counts);" in verdict_of(scan)


def test_what_was_doubted_is_no_cause_of_a_fit_that_is_nearly_right(tmp_path, arrays):
    scan = opened(tmp_path / "scan.npz", arrays)
    assert verdict_of(replace(scan, doubted=("the frames may be counts",))) == ""


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("frames in corners", "the frames have their zero frequency in the corners"),
        ("probe in corners", "the probe lies in the corners of its frame"),
        ("metres", "all positions lie within"),
        ("beam", "the beam is not where the probe puts it"),
        ("one row", "the 49 frames lie at 7 different positions only"),
    ],
)
def test_warnings_are_causes(tmp_path, arrays, fault, named):
    wrong = dict(arrays)
    match fault:
        case "frames in corners":
            wrong["diffraction"] = np.fft.ifftshift(arrays["diffraction"], axes=(1, 2))
        case "probe in corners":
            wrong["probeGuess"] = np.fft.ifftshift(arrays["probeGuess"], axes=(1, 2))
        case "metres":
            wrong |= {key: 1e-3 * arrays[key] for key in ("xcoords", "ycoords")}
        case "beam":
            weak = scan_arrays(image="weak", N=32, side=7, radius=8, photons=1e4)
            wrong = {**weak, "diffraction": np.roll(weak["diffraction"], (3, -2), axis=(1, 2))}
        case "one row":
            wrong |= {"ycoords": np.full(49, 30.0), "xcoords": np.tile(arrays["xcoords"][:7], 7)}
    scan = opened(tmp_path / "scan.npz", wrong)
    assert warned_of(scan).startswith(named)
    if fault not in ("frames in corners", "beam"):  # a phase ramp in the image explains these
        assert f": {named}" in verdict_of(scan)


@pytest.mark.parametrize("image", ["weak", "phase", "grains", "vacuum"])
def test_right_scans_are_not_warned_of(tmp_path, image):
    scan = opened(tmp_path / "scan.npz", scan_arrays(image=image, N=48, side=7))
    assert warned_of(scan) == ""
    assert scan.doubted == ()


@pytest.mark.parametrize("dumped", [True, False])
def test_flux_that_moves_of_the_positions_took_up_is_suspected(tmp_path, dumped):
    arrays = scan_arrays(image="weak", N=32, side=7, radius=8, photons=1e4)
    frames = arrays["diffraction"].copy()
    if dumped:
        frames[20:28] = np.random.default_rng(0).binomial(frames[20:28], 0.3)
    scan = opened(tmp_path / "scan.npz", {**arrays, "diffraction": frames})
    config = BaselineConfig(engine="native", epochs=5, refine_positions=True)
    result = reconstruct(scan, config, RefinementConfig(error_draws=0))
    assert ("--refine-flux" in unknown_cause(config, result, scan)) == dumped
