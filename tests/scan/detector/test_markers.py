"""Values that are no counts: recognised by what pixels hold, and left out at the least cost."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.scan.detector.markers import cover, held, look, never_counting, usual_rule
from ptychopinn.scan.detector.survey import spread

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(40.0, (60, 16, 16)).astype(np.int64)
GOOD = np.ones((16, 16), bool)
GAP = np.zeros((16, 16), bool)
GAP[5], GAP[:, 9] = True, True


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *(("uint8", 255), ("uint16", 65535), ("uint32", 2**32 - 1), ("uint32", 65535), ("uint32", 2**32 - 2)),
        *(("uint64", 2**64 - 1), ("int16", 32767), ("int16", -1), ("int32", -2), ("int32", 2**31 - 1)),
        *(("float32", np.nan), ("float32", np.inf), ("float32", -1.5), ("float32", 2.0**32), ("float64", 65535)),
        (">u4", 2**32 - 1),
    ],
)
def test_gap_is_recognised_by_its_marker(dtype: str, value: float) -> None:
    frames = COUNTS.astype(dtype)
    frames[:, GAP] = value
    frames[7] = 0  # nearly every frame is enough
    assert np.array_equal(never_counting(frames, usual_rule(frames.dtype), GOOD), GAP)


def test_amplitudes_of_markers_are_recognised() -> None:
    frames = np.sqrt(COUNTS).astype(np.float32)
    frames[:, GAP] = np.sqrt(np.float32(65535))
    assert np.array_equal(never_counting(frames, usual_rule(frames.dtype, amplitude=True), GOOD), GAP)


def test_words_for_markers() -> None:
    frames = COUNTS.astype(np.int32)
    frames[:, GAP] = -1
    assert held(frames, GAP, 0) == "-1"
    frames[:, 5] = -2
    assert held(frames, GAP, 0) == "-2 or -1"
    frames = np.full((1, 16, 16), 2**16 - 1, np.uint16)
    assert held(frames, GAP, 0) == "65535 (the largest uint16)"
    assert held(np.full((1, 16, 16), np.nan), GAP, 0) == "NaN or infinity"


def test_counts_that_reach_the_top_by_chance_are_counts() -> None:
    rng = np.random.default_rng(3)
    frames = np.minimum(rng.uniform(0, 256, (200, 16, 16)), 255).astype(np.uint8)
    rule = usual_rule(frames.dtype)
    assert (frames == 255).any() and not len(look(frames, np.arange(200), rule, GOOD).events)
    frames = np.minimum(rng.poisson(235, (200, 16, 16)), 255).astype(np.uint8)
    assert len(look(frames, np.arange(200), rule, GOOD).events) == (frames == 255).sum(), "they pile up there"


@pytest.mark.parametrize("top", [4095, 65535, 2**20 - 1])
def test_counter_that_saturates_in_a_wider_type(top: int) -> None:
    frames = COUNTS.astype(np.uint32)
    for frame in (3, 8, 9):
        frames[frame, 2, 2] = top
    seen = look(frames, np.arange(60), usual_rule(frames.dtype), GOOD)
    assert seen.events.tolist() == [[frame, 2 * 16 + 2] for frame in (3, 8, 9)]
    frames[frames == top] = top - 1
    assert not len(look(frames, np.arange(60), usual_rule(frames.dtype), GOOD).events)


def test_background_that_was_taken_off_is_no_marker() -> None:
    frames = RNG.normal(0.5, 1.0, (60, 16, 16)).astype(np.float32)
    rule = usual_rule(frames.dtype)
    assert not never_counting(frames, rule, GOOD).any()
    assert not len(look(frames, np.arange(60), rule, GOOD).events)
    assert look(frames, np.arange(60), replace(rule, negative=True), GOOD).marked.sum() == (frames < 0).sum()


def test_survey_counts_what_it_saw() -> None:
    frames = COUNTS.astype(np.uint16)
    frames[4, 1, 1] = frames[6, 1, 1] = 65535
    good = GOOD.copy()
    good[0] = False
    seen = look(frames, np.arange(60), usual_rule(frames.dtype), good)
    values = np.where(frames == 65535, 0, frames).astype(float)
    np.testing.assert_allclose(seen.mean, values.mean(axis=0))
    np.testing.assert_array_equal(seen.totals, values[:, good].sum(axis=1))
    ordered = np.sort(values, axis=0)
    np.testing.assert_array_equal(seen.highest, ordered[-1])
    np.testing.assert_array_equal(seen.second, ordered[-2])
    np.testing.assert_array_equal(seen.lowest, ordered[0])
    np.testing.assert_array_equal(np.take_along_axis(values, seen.where[None], 0)[0], ordered[-1])
    np.testing.assert_array_equal(seen.times, (values == ordered[-1]).sum(axis=0))
    assert seen.marked.sum() == 2 and seen.marked_in[[4, 6]].tolist() == [1, 1]


def test_whatever_costs_less_is_left_out() -> None:
    weight = np.full(100, 0.004)
    weight[50] = 0.3
    one_faint = np.array([[3, 7]])
    assert [part.tolist() for part in cover(one_faint, weight, 100)] == [[], [7]]
    one_bright = np.array([[3, 50]])
    assert [part.tolist() for part in cover(one_bright, weight, 100)] == [[3], []]
    often_bright = np.array([[frame, 50] for frame in range(40)])
    assert [part.tolist() for part in cover(often_bright, weight, 100)] == [[], [50]]
    shower = np.array([[3, pixel] for pixel in range(40)])
    assert [part.tolist() for part in cover(shower, weight, 100)] == [[3], []]
    assert [part.tolist() for part in cover(np.empty((0, 2), np.int64), weight, 100)] == [[], []]


def test_spread_frames_are_within_the_scan() -> None:
    assert spread(5, 64).tolist() == [0, 1, 2, 3, 4]
    assert len(spread(1000, 64)) == 64 and spread(1000, 64)[-1] == 999
    assert len(spread(0, 64)) == 0
