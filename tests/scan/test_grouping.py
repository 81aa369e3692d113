"""Groups: which frames, in which order, and the same ones every time."""

import hashlib
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from ptychopinn.errors import PtychoError
from ptychopinn.scan.grouping import form_groups, halved, nearest, reach, usual_neighbor_count

GRIDSIZES = pytest.mark.parametrize("gridsize", [2, 3])
DIGEST = """
import hashlib, numpy as np
from ptychopinn.scan.grouping import form_groups
positions = np.random.default_rng(5).uniform(0, 300, (90, 2))
print(hashlib.sha256(form_groups(positions, 2, 7, 150, seed=3).tobytes()).hexdigest())
"""


def scattered(count: int = 90) -> np.ndarray:
    """Random positions: no ties."""
    return np.random.default_rng(5).uniform(0, 300, (count, 2))


def raster(rows: int = 8, cols: int = 9, step: float = 7.5) -> np.ndarray:
    """A regular grid: ties in y, in x and in distance."""
    return step * np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), axis=-1).reshape(-1, 2)


def distances(positions: np.ndarray) -> np.ndarray:
    """All distances (n, n), infinite from a frame to itself."""
    between = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(between, np.inf)
    return between


def could_be_seed(groups: np.ndarray, positions: np.ndarray, neighbor_count: int) -> np.ndarray:
    """Which frame (n_groups, n) is in a group and has all others among its nearest, by brute force."""
    between = distances(positions)
    reach = np.sort(between, axis=1)[:, neighbor_count - 1]
    near = between <= reach[:, None] + 1e-9
    np.fill_diagonal(near, True)
    possible = np.zeros((len(groups), len(positions)), dtype=bool)
    for row, group in enumerate(groups):
        possible[row, [frame for frame in group if near[frame, group].all()]] = True
    return possible


@pytest.mark.parametrize("neighbor_count", [1, 4, 20])
def test_nearest_by_brute_force(neighbor_count):
    positions = scattered()
    expected = distances(positions).argsort(axis=1)[:, :neighbor_count]
    np.testing.assert_array_equal(nearest(positions, neighbor_count), expected)


@pytest.mark.parametrize("neighbor_count", [1, 4, 8])
@pytest.mark.parametrize(
    "positions",
    [raster(), np.repeat(scattered(12), 3, axis=0), np.repeat(scattered(2), 30, axis=0), np.zeros((40, 2))],
    ids=["raster", "three of each", "thirty of each", "all at one place"],
)
def test_nearest_of_tied_positions(positions, neighbor_count):
    found = nearest(positions, neighbor_count)
    assert found.shape == (len(positions), neighbor_count)
    between = distances(positions)
    # Infinite, and so unequal, where a frame were its own neighbour.
    expected = np.sort(between, axis=1)[:, :neighbor_count]
    np.testing.assert_allclose(np.take_along_axis(between, found, axis=1), expected, atol=1e-9)
    assert (np.diff(np.sort(found, axis=1), axis=1) > 0).all()


@GRIDSIZES
@pytest.mark.parametrize("n_groups", [None, 1, 37, 90])
def test_every_group_is_a_seed_with_its_nearest(gridsize, n_groups):
    """With K = C - 1 the seed decides the group, so the groups say how often each seed was used."""
    positions, others = scattered(), gridsize**2 - 1
    groups = form_groups(positions, gridsize, others, n_groups)
    n_groups = len(positions) if n_groups is None else n_groups
    assert groups.shape == (n_groups, gridsize**2)
    assert groups.dtype == np.int64
    by_seed = distances(positions).argsort(axis=1)[:, :others]
    allowed = Counter(frozenset([seed, *near]) for seed, near in enumerate(by_seed.tolist()))
    got = Counter(frozenset(group) for group in groups.tolist())
    fewest, most = n_groups // len(positions), -(-n_groups // len(positions))
    for group in allowed | got:
        assert fewest * allowed[group] <= got[group] <= most * allowed[group]


@GRIDSIZES
@pytest.mark.parametrize("positions", [scattered(), raster()], ids=["scattered", "raster"])
@pytest.mark.parametrize("neighbor_count", [8, 15])
def test_every_frame_is_the_seed_of_one_group(gridsize, positions, neighbor_count):
    groups = form_groups(positions, gridsize, neighbor_count)
    possible = could_be_seed(groups, positions, neighbor_count)
    assert possible.any(axis=1).all()
    matched = maximum_bipartite_matching(csr_array(possible), perm_type="column")
    assert sorted(matched) == list(range(len(positions)))


@GRIDSIZES
@pytest.mark.parametrize(
    "positions", [scattered(), raster(), np.repeat(scattered(15), 4, axis=0)], ids=["scattered", "raster", "coinciding"]
)
@pytest.mark.parametrize("n_groups", [20, 400])
def test_no_frame_twice_in_a_group(gridsize, positions, n_groups):
    groups = form_groups(positions, gridsize, 12, n_groups)
    assert (np.diff(np.sort(groups, axis=1), axis=1) > 0).all()
    assert groups.min() >= 0
    assert groups.max() < len(positions)


@pytest.mark.parametrize("n_groups", [None, 7])
def test_only_the_given_seeds_are_seeds(n_groups):
    positions, seeds = scattered(), np.array([3, 11, 12, 40, 57, 58, 59, 60, 77, 89])
    groups = form_groups(positions, 2, 3, n_groups, seeds=seeds)
    n_groups = len(seeds) if n_groups is None else n_groups
    by_seed = distances(positions).argsort(axis=1)[:, :3]
    allowed = Counter(frozenset([int(seed), *by_seed[seed].tolist()]) for seed in seeds)
    got = Counter(frozenset(group) for group in groups.tolist())
    assert got.total() == n_groups
    fewest, most = n_groups // len(seeds), -(-n_groups // len(seeds))
    for group in allowed | got:
        assert fewest * allowed[group] <= got[group] <= most * allowed[group]
    # Their neighbours are drawn from all frames.
    assert set(groups.ravel()) - set(seeds)
    np.testing.assert_array_equal(np.sort(form_groups(positions, 1, 4, seeds=seeds).ravel()), seeds)


def test_coinciding_positions_are_different_frames():
    groups = form_groups(np.zeros((6, 2)), 2, 4, 60)
    assert set(groups.ravel()) == set(range(6))
    assert len({frozenset(group) for group in groups.tolist()}) > 6


def test_single_frames():
    positions = scattered()
    groups = form_groups(positions, 1, 4)
    assert groups.shape == (90, 1)
    assert groups.dtype == np.int64
    assert sorted(groups.ravel()) == list(range(90))
    assert len(set(form_groups(positions, 1, 4, 30).ravel())) == 30
    # K plays no part: a single frame needs no neighbours.
    assert form_groups(positions[:1], 1, 4).tolist() == [[0]]


@GRIDSIZES
def test_oversampling_draws_the_neighbours_anew(gridsize):
    positions = scattered(40)
    groups = form_groups(positions, gridsize, 12, 1200)
    assert len({frozenset(group) for group in groups.tolist()}) > 600
    possible = could_be_seed(groups, positions, 12)
    assert possible.any(axis=1).all()


def test_every_neighbour_is_drawn_equally_often():
    """Far pairs of clusters: frame 0 has only the frames of its own cluster to choose from."""
    positions = np.concatenate([scattered(7), 1e4 + scattered(7)])
    groups = form_groups(positions, 2, 6, 14 * 500)
    # In a cluster of 7 with K = 6 each frame is as often in a group as any other: 4 / 7 of 3500.
    often = np.bincount(groups.ravel(), minlength=14)
    spread = np.sqrt(3000 * 0.5 * 0.5)
    np.testing.assert_allclose(often, 2000, rtol=0, atol=4 * spread)
    assert ((groups < 7).all(axis=1) | (groups >= 7).all(axis=1)).all()


@GRIDSIZES
@pytest.mark.parametrize("positions", [scattered(), raster()], ids=["scattered", "raster"])
def test_channels_are_in_row_major_order(gridsize, positions):
    groups = form_groups(positions, gridsize, 10, 300)
    y, x = np.moveaxis(positions[groups].reshape(-1, gridsize, gridsize, 2), -1, 0)
    assert (y[:, :-1].max(axis=2) <= y[:, 1:].min(axis=2)).all()
    assert (np.diff(x, axis=2) >= 0).all()


def test_a_square_of_a_raster_reads_as_a_square():
    positions = raster(3, 3)
    groups = form_groups(positions[np.random.default_rng(0).permutation(9)], 3, 8)
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_array_equal(order[groups], np.tile(np.arange(9), (9, 1)))


@GRIDSIZES
@pytest.mark.parametrize(
    "positions", [raster(4, 4), np.repeat(raster(2, 3), 3, axis=0)], ids=["ties in y", "coinciding"]
)
def test_the_same_frames_are_always_in_the_same_order(gridsize, positions):
    groups = form_groups(positions, gridsize, 10, 4000)
    orders = {tuple(group) for group in groups.tolist()}
    assert len(orders) == len({frozenset(group) for group in orders})


@pytest.mark.parametrize("gridsize", [1, 2])
def test_the_result_depends_on_the_arguments_only(gridsize):
    positions = scattered()
    first = form_groups(positions, gridsize, 7, 60, seed=3)
    np.random.default_rng().random(5)
    np.testing.assert_array_equal(form_groups(positions.copy(), gridsize, 7, 60, seed=3), first)
    assert not np.array_equal(form_groups(positions, gridsize, 7, 60, seed=4), first)


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_another_process_draws_the_same_groups(hash_seed):
    ran = subprocess.run(
        [sys.executable, "-c", DIGEST],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    here = form_groups(scattered(), 2, 7, 150, seed=3)
    assert ran.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()


@pytest.mark.parametrize(("gridsize", "fewest"), [(1, 4), (2, 4), (3, 8)])
@pytest.mark.parametrize(("diameter", "within"), [(4.0, 0), (32.0, 4), (42.5, 8), (60.5, 12), (400.0, 899)])
def test_usual_neighbor_count_is_what_lies_within_a_quarter_of_the_probe(gridsize, fewest, diameter, within):
    positions = raster(30, 30, 7.5)
    assert usual_neighbor_count(positions, gridsize, diameter) == min(max(within, fewest), 32)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 1), (4, 3), (5, 4), (40, 4)])
def test_usual_neighbor_count_leaves_enough_frames(count, expected):
    assert usual_neighbor_count(scattered(count), 2, 1e-3) == expected


def test_reach_is_the_farthest_frame_along_an_axis():
    positions = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 10.2], [3.0, 10.2]])
    assert reach(positions, np.array([[0, 1, 2, 3]])) == 6
    assert reach(positions, np.array([[0, 1], [1, 0]])) == 2
    assert reach(positions, np.array([[0, 1], [0, 2]])) == 6
    assert reach(positions, np.array([[0], [3]])) == 0


@pytest.mark.parametrize(
    ("count", "gridsize", "neighbor_count", "n_groups", "sentence"),
    [
        (20, 2, 4, 0, "n_groups: 0 given, at least 1 is needed."),
        (0, 1, 4, None, "n_groups: 0 given, at least 1 is needed."),
        (
            20,
            1,
            4,
            21,
            "n_groups: 21 groups of one frame asked of 20 frames; "
            "ask for fewer, or use gridsize 2 or 3, where a frame can be in many groups.",
        ),
        (
            20,
            2,
            2,
            None,
            "neighbor_count: 2 given, but a group of 4 frames needs at least 3 neighbours of its seed.",
        ),
        (
            20,
            3,
            7,
            None,
            "neighbor_count: 7 given, but a group of 9 frames needs at least 8 neighbours of its seed.",
        ),
        (
            7,
            2,
            7,
            None,
            "neighbor_count: 7 neighbours asked of a scan of 7 frames; at most 6 are there.",
        ),
    ],
)
def test_wrong_calls_say_what_is_needed(count, gridsize, neighbor_count, n_groups, sentence):
    with pytest.raises(PtychoError) as error:
        form_groups(scattered(count), gridsize, neighbor_count, n_groups)
    assert str(error.value) == sentence


def test_single_seeds_are_not_oversampled():
    with pytest.raises(PtychoError, match=r"^n_groups: 4 groups of one frame asked of 3 frames; ask for fewer"):
        form_groups(scattered(20), 1, 4, 4, seeds=np.arange(3))


def test_the_largest_allowed_neighbor_count_works():
    assert form_groups(scattered(8), 2, 7).shape == (8, 4)


@pytest.mark.parametrize("gridsize", [2, 3])
def test_oversampling_needs_a_choice_of_neighbours(gridsize):
    positions, others = scattered(), gridsize**2 - 1
    assert len(form_groups(positions, gridsize, others + 1, 2 * len(positions))) == 2 * len(positions)
    with pytest.raises(PtychoError, match=f"n_groups: .* ask for at most .* neighbor_count {others + 1}"):
        form_groups(positions, gridsize, others, len(positions) + 1)


def test_a_scan_smaller_than_a_group_is_named_as_such():
    with pytest.raises(PtychoError, match="gridsize: groups of 4 frames asked of a scan of 3 frames"):
        form_groups(scattered(3), 2, 2)


@pytest.mark.parametrize("positions", [scattered(), raster(), np.zeros((7, 2)), np.zeros((1, 2))])
def test_halves_are_equal_and_lie_side_by_side(positions):
    wide = positions * np.array([1.0, 3.0])
    first, second = halved(wide)
    assert np.array_equal(np.sort(np.concatenate([first, second])), np.arange(len(positions)))
    assert len(first) - len(second) in (0, 1)
    assert (np.diff(first) > 0).all()
    if len(second):
        assert wide[first, 1].max() <= wide[second, 1].min()
