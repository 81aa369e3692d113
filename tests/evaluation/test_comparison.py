"""Comparison: images on one frame, aligned, scored where all cover; what differs shows and what is gauge does not."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.comparison import Arm, compare
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.simulation import smooth_lines

SIZE = 96


@pytest.fixture(scope="module")
def truth() -> Reconstruction:
    return image_of(smooth_lines(SIZE, 3))


def image_of(values: np.ndarray, origin: tuple[int, int] = (0, 0)) -> Reconstruction:
    ones = np.ones(values.shape, np.float32)
    return Reconstruction(values.astype(np.complex64), origin, ones, np.zeros((4, 2)), deviance=1.5)


def noisy(truth: Reconstruction, level: float, seed: int = 0) -> Reconstruction:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, *truth.object.shape))
    return replace(truth, object=(truth.object + level * (noise[0] + 1j * noise[1])).astype(np.complex64))


def test_better_images_score_better_and_a_perfect_one_perfectly(truth):
    arms = [Arm("good", noisy(truth, 0.01)), Arm("bad", noisy(truth, 0.1)), Arm("same", truth)]
    result = compare(arms, truth)
    assert result.reference == "truth"
    assert result.scores["good"].complex_error < 0.2 * result.scores["bad"].complex_error
    assert result.scores["good"].phase.mae < result.scores["bad"].phase.mae
    assert result.scores["same"].complex_error < 1e-6
    assert set(result.curves) == {"good vs truth", "bad vs truth", "same vs truth"}
    assert set(result.agreement) == {("good", "bad"), ("good", "same"), ("bad", "same")}


def test_the_place_of_an_image_counts_not_its_corner(truth):
    cut = replace(truth, object=truth.object[5:80, 9:], coverage=truth.coverage[5:80, 9:], origin=(5, 9))
    result = compare([Arm("cut", cut)], truth)
    assert result.origin == (5, 9)
    assert result.images["truth"].shape == result.images["cut"].shape == (75, SIZE - 9)
    assert result.scores["cut"].complex_error < 1e-6


def test_what_no_measurement_knows_is_removed_and_reported(truth):
    turned = replace(truth, object=(truth.object * np.exp(0.7j)).astype(np.complex64))
    moved = replace(truth, object=np.roll(truth.object, (2, -1), axis=(0, 1)))
    bright = replace(truth, object=1.2 * truth.object)
    arms = [Arm("turned", turned), Arm("moved", moved), Arm("bright", bright)]
    result = compare(arms, truth)
    assert result.removed["turned"].phase == pytest.approx(0.7, abs=1e-3)
    assert result.removed["moved"].shift == pytest.approx((2, -1), abs=0.02)
    assert result.scores["turned"].complex_error < 1e-5
    assert result.scores["moved"].complex_error < 0.02
    assert result.scores["bright"].complex_error == pytest.approx(0.2, rel=1e-3)
    assert compare(arms, truth, scale=True).scores["bright"].complex_error < 1e-5
    assert compare(arms, truth, register=False).scores["moved"].complex_error > 0.05


def test_only_pixels_that_all_cover_count(truth):
    half = truth.coverage.copy()
    half[:, SIZE // 2 :] = 0
    spoilt = np.where(half > 0, truth.object, 7).astype(np.complex64)
    result = compare([Arm("half", replace(truth, object=spoilt, coverage=half)), Arm("whole", truth)], truth)
    assert not result.mask[:, SIZE // 2 :].any()
    assert result.scores["half"].complex_error < 1e-5


def test_the_box_bounds_what_is_scored(truth):
    result = compare([Arm("a", truth)], truth, (slice(10, 60), slice(20, 50)))
    assert result.origin == (10, 20)
    assert result.mask.shape == (50, 30)


def test_without_a_truth_images_are_scored_against_one_another(truth):
    halves = (noisy(truth, 0.1, 1), noisy(truth, 0.1, 2))
    result = compare([Arm("a", noisy(truth, 0.02), halves), Arm("b", truth)])
    assert result.reference == "a"
    assert result.scores == {}
    assert list(result.curves) == ["a, half-scans"]
    curve = result.curves["a, half-scans"]
    assert curve.correlation[1] > 0.9
    assert curve.correlation[1] > curve.correlation[-5:].mean() + 0.3
    assert 0 < result.agreement["a", "b"].complex_error < 0.1


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        (["a"], "one image alone"),
        (["a", "a"], "each image needs a name of its own"),
        (["truth", "a"], "each image needs a name of its own"),
    ],
)
def test_what_cannot_be_compared_is_refused(truth, arms, words):
    with pytest.raises(PtychoError, match=words):
        compare([Arm(name, truth) for name in arms])


def test_images_apart_are_refused(truth):
    with pytest.raises(PtychoError, match="share 0 x 96 object pixels; at least 16 x 16"):
        compare([Arm("a", truth), Arm("b", replace(truth, origin=(500, 0)))])
