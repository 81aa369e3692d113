"""The native engine: images in the frame of their scan, from any start, with the reason when it cannot."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines.native import reconstruct
from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.metrics import score
from ptychopinn.physics.probe import curved_disc
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import raster, siemens_star, simulate

QUICK = BaselineConfig(engine="native", epochs=30)
BILINEAR = RefinementConfig(subpixel="bilinear")


def error(result: Reconstruction, scan: Scan) -> float:
    truth = scan.object
    return score(result.window(truth.shape)[scan.scan_box], truth[scan.scan_box]).complex_error


@pytest.fixture(scope="module")
def found(tiny_scan) -> Reconstruction:
    return reconstruct(tiny_scan, QUICK, BILINEAR)


def test_the_image_lies_in_the_frame_of_the_scan(tiny_scan, found):
    assert found.origin == tiny_scan.canvas_origin
    assert found.object.shape == found.coverage.shape == tiny_scan.canvas_shape
    assert found.object.dtype == np.complex64
    assert error(found, tiny_scan) < 0.06
    assert found.subpixel == "bilinear"
    assert found.deviance == pytest.approx(found.loss[-1], rel=0.02)
    assert found.probe is None
    assert found.seconds["native"] > 0
    assert not found.object[found.coverage == 0].any()


def test_it_goes_on_from_an_image_even_of_another_canvas(tiny_scan, found):
    few = replace(tiny_scan, object=None).subset(slice(0, 40))
    start = reconstruct(few, QUICK, BILINEAR)
    short = QUICK.model_copy(update={"epochs": 8})
    cold, part, best = (reconstruct(tiny_scan, short, BILINEAR, start=image) for image in (None, start, found))
    assert error(best, tiny_scan) < error(cold, tiny_scan)
    assert error(part, tiny_scan) < 0.8 * error(start, tiny_scan)


def test_an_image_of_elsewhere_is_refused(tiny_scan, found):
    with pytest.raises(PtychoError, match=r"init: its image begins at y, x = \(5000, 5000\) and does not reach"):
        reconstruct(tiny_scan, QUICK, BILINEAR, start=replace(found, origin=(5000, 5000)))


def test_scans_that_say_nothing_are_refused(tiny_scan):
    alone = tiny_scan.subset(slice(0, 1))
    with pytest.raises(PtychoError, match="1 frames lie at one position"):
        reconstruct(alone, QUICK, BILINEAR)
    dark = replace(tiny_scan, counts=np.zeros_like(tiny_scan.counts))
    with pytest.raises(PtychoError, match="diffraction: zero everywhere"):
        reconstruct(dark, QUICK, BILINEAR)


def test_refined_positions_and_probe_come_back_in_the_frame_of_the_scan(tiny_scan):
    off = np.random.default_rng(0).normal(0, 0.4, tiny_scan.positions.shape)
    wrong = replace(tiny_scan, positions=tiny_scan.positions + off - off.mean(axis=0))
    config = BaselineConfig(engine="native", epochs=60, refine_probe=True, refine_positions=True)
    lines: list[str] = []
    result = reconstruct(wrong, config, BILINEAR, report=lines.append)
    assert result.probe.shape == wrong.probe.shape
    np.testing.assert_allclose(result.positions.mean(axis=0), wrong.positions.mean(axis=0), atol=1e-6)
    assert abs(result.positions - wrong.positions).max() < 10
    moves = np.linalg.norm(result.positions - wrong.positions, axis=1)
    assert f"at most {moves.max():.2g} px" in lines[-1]
    # The deviance of the file is that of the refined probe and positions.
    plain = reconstruct(wrong, QUICK, BILINEAR)
    assert result.deviance < 0.8 * plain.deviance


def test_lines_tell_how_it_goes(tiny_scan):
    lines: list[str] = []
    measured = replace(tiny_scan, interpolation=None)
    reconstruct(measured, BaselineConfig(engine="native", epochs=20), RefinementConfig(), report=lines.append)
    assert lines[0].startswith("projections 1: ")
    assert any(line.startswith("scoring ") and "held out" not in line for line in lines)
    assert lines[-1] == "ended after 20 epochs: the next step does not fit in the epochs asked for (20)"


def test_one_epoch_is_one(tiny_scan):
    lines: list[str] = []
    result = reconstruct(tiny_scan, BaselineConfig(engine="native", epochs=1), BILINEAR, report=lines.append)
    assert lines[0].startswith("projections 1: ")
    assert lines[1] == "ended after 1 epoch: the next step does not fit in the epochs asked for (1)"
    assert len(result.loss) == 1


@pytest.mark.parametrize("nphotons", [1e4, 2e4])
def test_a_wrong_model_is_doubted_where_the_noise_is_far_below_one(nphotons):
    positions = raster((80, 80), 32, step=4.0)
    right = simulate(siemens_star(80), curved_disc(32, 7.0, 2.5).numpy(), positions, nphotons)
    off = np.random.default_rng(0).normal(0, 3, positions.shape)
    wrong = replace(right, positions=positions + off - off.mean(axis=0))
    for scan, doubted in ((right, False), (wrong, True)):
        lines: list[str] = []
        result = reconstruct(scan, QUICK, BILINEAR, report=lines.append)
        assert result.deviance < 1.3
        assert 0.25 < result.expected_deviance < 0.5
        found = [line for line in lines if "where noise alone would have" in line]
        assert bool(found) == doubted
    assert f"deviance per pixel {result.deviance:.3g}, where noise alone would have 0." in found[0]
    assert found[0].startswith("Warning: ")


@pytest.mark.parametrize(
    ("made", "fitted", "advice"),
    [
        ("bilinear", "fourier", "give --subpixel bilinear"),
        ("cubic", "fourier", "neither bilinear nor fourier is right"),
        ("fourier", "fourier", None),
        (None, "fourier", None),
        ("bilinear", "bilinear", None),
    ],
)
def test_a_simulation_of_another_model_is_told_once(tiny_scan, made, fitted, advice):
    lines: list[str] = []
    scan = replace(tiny_scan, interpolation=made)
    short = BaselineConfig(engine="native", epochs=1)
    reconstruct(scan, short, RefinementConfig(subpixel=fitted), report=lines.append)
    found = [line for line in lines if f"simulated with interpolation {made}" in line]
    assert len(found) == (advice is not None)
    assert all(line.startswith("Warning: ") and line.endswith(advice) for line in found)
