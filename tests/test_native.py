"""The native engine: images in the frame of their scan, from any start, with the reason when it cannot."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.errors import PtychoError
from ptychopinn.inference import Reconstruction
from ptychopinn.metrics import score
from ptychopinn.native import power_of_modes, reconstruct
from ptychopinn.scan import Scan

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
    with pytest.raises(PtychoError, match="1 frames at one position"):
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
    assert power_of_modes(result.probe) == [1.0]
    np.testing.assert_allclose(result.positions.mean(axis=0), wrong.positions.mean(axis=0), atol=1e-6)
    assert abs(result.positions - wrong.positions).max() < 10
    moves = np.linalg.norm(result.positions - wrong.positions, axis=1)
    assert f"at most {moves.max():.2g} px" in lines[-1]
    # The deviance of the file is that of the refined probe and positions.
    plain = reconstruct(wrong, QUICK, BILINEAR)
    assert result.deviance < 0.8 * plain.deviance


def test_lines_tell_how_it_goes(tiny_scan):
    lines: list[str] = []
    reconstruct(tiny_scan, BaselineConfig(engine="native", epochs=20), RefinementConfig(), report=lines.append)
    assert lines[0].startswith("projections 1: ")
    assert any(line.startswith("scoring ") and "held out" not in line for line in lines)
    assert lines[-1] == "ended after 19 epochs: another step does not fit in the 20 asked for"
