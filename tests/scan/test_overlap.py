"""Overlap numbers against areas that are counted and neighbours that are searched, and views against their promise."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist, pdist

from ptychopinn.scan.grouping import form_groups
from ptychopinn.scan.overlap import (
    disc_overlap,
    group_overlap,
    group_to_group_overlap,
    image_overlap,
    measure,
    select_spaced,
    spacing_of,
)

SIDE = 8.0
SQUARE = SIDE * np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def scattered(count: int = 60, width: float = 100.0, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, width, (count, 2))


def counted(distance: float, diameter: float) -> float:
    """Share of a disc's pixels that a second disc covers too."""
    y, x = np.mgrid[-diameter:diameter, -diameter : 2 * diameter] + 0.5
    first, second = np.hypot(y, x) < diameter / 2, np.hypot(y, x - distance) < diameter / 2
    return (first & second).sum() / first.sum()


@pytest.mark.parametrize("diameter", [300, 501])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.2, 0.5, 0.77, 0.95, 1.0, 1.4])
def test_overlap_of_two_discs_is_the_area_that_is_counted(diameter, share):
    found = disc_overlap(np.array(share * diameter), diameter)
    assert found == pytest.approx(counted(share * diameter, diameter), abs=2e-3)
    assert disc_overlap(np.array(7 * share), 7.0) == pytest.approx(found, abs=1e-12)


@given(near=st.floats(0, 200), far=st.floats(0, 200), diameter=st.floats(1e-3, 100))
def test_overlap_falls_from_one_to_zero(near, far, diameter):
    near, far = sorted((near, far))
    f = disc_overlap(np.array([0.0, near, far, diameter]), diameter)
    assert (f[0], f[3]) == (1.0, 0.0)
    assert 1 >= f[1] >= f[2] - 1e-12
    assert f[2] >= 0


def test_overlap_of_discs_in_a_square_by_hand():
    side, diagonal = disc_overlap(np.array([SIDE, SIDE * 2**0.5]), 20.0)
    # Neighbours of each corner: two sides and the diagonal.
    expected = pytest.approx((2 * side + diagonal) / 3)
    groups = form_groups(SQUARE, 2, 3, row_major=False)
    for found in (group_overlap(SQUARE, groups, 20.0), image_overlap(SQUARE, 20.0)):
        assert (found.mean, found.median, found.min, found.max) == (expected, expected, expected, expected)
        assert (found.places, found.neighbors) == (4, 3)
        assert found.distance_px == pytest.approx(SIDE * (2 + 2**0.5) / 3)
    assert image_overlap(SQUARE, 20.0, 2).mean == pytest.approx(side)
    # All four seeds make the one group of four: it has no neighbour.
    assert group_to_group_overlap(SQUARE, groups, 20.0) is None
    two = np.concatenate([SQUARE, SQUARE + [0.0, 15.0]])
    between = group_to_group_overlap(two, np.array([[0, 1, 2, 3], [3, 2, 1, 0], [4, 6, 5, 7]]), 20.0)
    assert (between.mean, between.places, between.neighbors) == (pytest.approx(disc_overlap(np.array(15.0), 20)), 2, 1)


@pytest.mark.parametrize("neighbors", [1, 6, 59])
def test_image_overlap_by_brute_force(neighbors):
    positions = scattered()
    apart = np.sort(cdist(positions, positions), axis=1)[:, 1 : neighbors + 1]
    each = disc_overlap(apart, 25.0).mean(axis=1)
    found = image_overlap(positions, 25.0, neighbors)
    assert (found.mean, found.median) == (pytest.approx(each.mean()), pytest.approx(np.median(each)))
    assert (found.min, found.max) == (pytest.approx(each.min()), pytest.approx(each.max()))
    assert found.distance_px == pytest.approx(apart.mean())


def test_coinciding_frames_count_once():
    positions = scattered()
    twice = np.concatenate([positions, positions[::-1], positions[:7]])
    assert image_overlap(twice, 25.0) == image_overlap(positions, 25.0)
    assert image_overlap(np.ones((5, 2)), 25.0) is None


@pytest.mark.parametrize("gridsize", [2, 3])
def test_group_overlap_is_that_of_the_seed_with_the_groups_of_the_package(gridsize):
    positions, channels = scattered(), gridsize**2
    drawn = form_groups(positions, gridsize, 12, 150, seed=3, row_major=False)
    trained = form_groups(positions, gridsize, 12, 150, seed=3)
    assert [sorted(group) for group in drawn] == [sorted(group) for group in trained]
    assert set(np.bincount(drawn[:, 0])) <= {2, 3}  # 150 seeds among 60 frames
    between, nearest = cdist(positions, positions), cdist(positions, positions).argsort(axis=1)[:, 1:13]
    expected = []
    for seed, *others in drawn:
        assert set(others) <= set(nearest[seed])
        expected.append(np.mean([disc_overlap(between[seed, other], 40.0) for other in others]))
    found = group_overlap(positions, drawn, 40.0)
    assert found.mean == pytest.approx(np.mean(expected))
    assert (found.min, found.max) == (pytest.approx(min(expected)), pytest.approx(max(expected)))
    assert (found.places, found.neighbors) == (150, channels - 1)


def test_group_to_group_overlap_by_brute_force():
    positions = scattered()
    groups = form_groups(positions, 2, 5, 200, seed=1, row_major=False)
    centres = np.array([positions[list(group)].mean(axis=0) for group in {frozenset(group) for group in groups}])
    assert len(centres) < 200
    apart = np.sort(cdist(centres, centres), axis=1)[:, 1:7]
    found = group_to_group_overlap(positions, groups, 25.0)
    assert found.mean == pytest.approx(disc_overlap(apart, 25.0).mean())
    assert (found.places, found.neighbors) == (len(centres), 6)


def test_moving_turning_and_scaling_the_scan_changes_no_overlap():
    positions, angle = scattered(), 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    before = measure(positions, 25.0, 6, 2, 7, 100, 3)
    after = measure(3 * positions @ turn + [1e3, -50.0], 75.0, 6, 2, 7, 100, 3)
    for name in ("metric_1_group", "metric_2_image", "metric_3_group_to_group"):
        assert after[name]["mean"] == pytest.approx(before[name]["mean"])
        assert after[name]["distance_px"] == pytest.approx(3 * before[name]["distance_px"])


def test_what_cannot_be_measured_is_none_and_a_note_says_why():
    single = measure(scattered(), 25.0)
    assert (single["metric_1_group"], single["metric_3_group_to_group"]) == (None, None)
    assert (single["neighbor_count"], single["n_groups"]) == (None, None)
    assert single["notes"] == ["gridsize 1 has no groups"]
    few = measure(scattered(5), 25.0, gridsize=2, neighbor_count=7)
    assert few["metric_1_group"] is None and few["metric_2_image"]["neighbors"] == 4
    assert few["notes"] == [
        "neighbor_count: 7 neighbours asked of a scan of 5 frames; at most 4 are there.",
    ]
    one = measure(np.ones((5, 2)), 25.0, gridsize=2, neighbor_count=4)
    assert one["metric_2_image"] is None and one["n_positions"] == 1
    assert one["metric_1_group"]["mean"] == 1.0
    assert one["notes"] == ["5 frames at one position have no neighbours"]


@pytest.mark.parametrize(
    ("overlap", "size", "spacing"),
    [(0.7, 128, 38.4), (0.2, 128, 102.4), (0.0, 64, 64.0), (0.9, 64, 6.4), (1 / 3, 96, 64.0)],
)
def test_spacing_has_no_rounding_of_its_own(overlap, size, spacing):
    assert spacing_of(overlap, size) == spacing


COORDINATES = st.floats(-50, 50) | st.integers(-9, 9).map(float) | st.integers(-40, 40).map(lambda i: i * 6.4)
POSITIONS = st.integers(1, 40).flatmap(lambda n: hnp.arrays(np.float64, (n, 2), elements=COORDINATES))
SPACINGS = st.floats(0.01, 120) | st.sampled_from([1.0, 5.0, 6.4, 10.0, 2**0.5])


@given(positions=POSITIONS, spacing=SPACINGS)
def test_a_view_keeps_its_spacing_exactly_and_has_room_for_no_other_frame(positions, spacing):
    found = select_spaced(positions, spacing)
    kept, left = positions[found.frames], np.delete(positions, found.frames, axis=0)
    assert (np.diff(found.frames) > 0).all()
    assert len(kept) < 2 or pdist(kept).min() >= spacing
    assert not len(left) or (cdist(left, kept).min(axis=1) < spacing).all()
    again = select_spaced(positions.copy(), spacing)
    np.testing.assert_array_equal(again.frames, found.frames)
    record = found.metadata()
    assert (record["n_accepted"], record["n_rejected"]) == (len(kept), len(left))
    assert record["acceptance_rate"] == len(kept) / len(positions)
    assert record["spacing_threshold"] == spacing
    assert record["selection_strategy"] == ("direct" if found.direct_rate >= 0.1 else "greedy")


def visited(positions: np.ndarray, spacing: float, order: list[int]) -> list[int]:
    """Accept frames one by one, every pair compared."""
    kept: list[int] = []
    for frame in order:
        if all(np.linalg.norm(positions[frame] - positions[other]) >= spacing for other in kept):
            kept.append(frame)
    return sorted(kept)


@pytest.mark.parametrize(("spacing", "strategy"), [(5.0, "direct"), (30.0, "direct"), (60.0, "greedy")])
def test_frames_are_visited_in_the_order_of_the_file_or_of_y_and_x(spacing, strategy):
    positions = scattered().round(-1)  # many share y, some share both
    order = list(range(len(positions)))
    found = select_spaced(positions, spacing)
    assert found.strategy == strategy
    direct = visited(positions, spacing, order)
    assert found.direct_rate == len(direct) / len(positions)
    ordered = sorted(order, key=lambda frame: (*positions[frame], frame))
    expected = direct if strategy == "direct" else visited(positions, spacing, ordered)
    assert found.frames.tolist() == expected


def test_the_greedy_selection_does_not_depend_on_the_order_of_the_file():
    positions = scattered(200)
    views = []
    for order in (np.arange(200), np.random.default_rng(1).permutation(200), np.arange(200)[::-1]):
        found = select_spaced(positions[order], 45.0)
        assert found.strategy == "greedy"
        views.append(sorted(map(tuple, positions[order][found.frames])))
    assert views[0] == views[1] == views[2]


@pytest.mark.parametrize("spacing", [5.0, np.nextafter(5.0, 0)])
def test_exactly_the_threshold_is_far_enough(spacing):
    grid = np.array(list(itertools.product(range(4), range(4)))) * [3.0, 4.0]
    assert select_spaced(grid[[0, 5, 10, 15]], spacing).frames.tolist() == [0, 1, 2, 3]  # 5 apart: 3, 4, 5
    above = select_spaced(grid[[0, 5, 10, 15]], np.nextafter(5.0, 6))
    assert above.frames.tolist() == [0, 2]


def test_without_a_spacing_every_frame_is_kept():
    found = select_spaced(np.zeros((7, 2)), None)
    assert found.frames.tolist() == list(range(7))
    assert found.metadata() == {
        "selection_strategy": "all",
        "acceptance_rate": 1.0,
        "spacing_threshold": None,
        "n_accepted": 7,
        "n_rejected": 0,
        "direct_acceptance_rate": 1.0,
    }
