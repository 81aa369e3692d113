"""Moves of frames in common: an affine map and frames that belong to the next position are told from others."""

import numpy as np
import pytest

from ptychopinn.engines.judging.moves import affine, moves_in_words, shifted_run


def field(rows: int = 9, step: float = 5.0, seed: int = 0) -> np.ndarray:
    places = np.array([(i * step, j * step) for i in range(rows) for j in range(rows)])
    return places + np.random.default_rng(seed).uniform(-1, 1, places.shape)


@pytest.mark.parametrize("degrees", [3.0, -8.0, 20.0])
def test_a_rotation_is_told_with_its_angle(degrees):
    here, angle = field(), np.deg2rad(degrees)
    y, x = (here - here.mean(axis=0)).T
    turned = np.column_stack([np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y])
    turned += here.mean(axis=0) + np.random.default_rng(1).normal(0, 0.05, here.shape)
    turned[5] += 6
    found = affine(here, turned)
    assert found.rotation == pytest.approx(degrees, abs=0.2)
    assert found.scale == pytest.approx(0, abs=0.005)
    (line,) = moves_in_words(here, turned, np.arange(len(here)))
    assert line.startswith(f"the moves are a rotation by {found.rotation:.1f} degrees")


def test_a_scale_and_a_shear_are_told():
    here = field()
    assert affine(here, here * 1.05).scale == pytest.approx(0.05)
    sheared = here @ np.array([[1, 0.05], [0, 1]])
    assert affine(here, sheared).shear == pytest.approx(0.05, abs=0.003)
    assert "a scale of 0.950" in moves_in_words(here, here * 0.95, np.arange(81))[0]


@pytest.mark.parametrize("step", [1, -1])
def test_frames_that_belong_to_the_next_position_are_told(step):
    here = field(seed=3)
    moves = np.random.default_rng(2).normal(0, 0.05, here.shape)
    run = np.arange(40, 79)
    # The image follows the mean step, the frames the rest of it, but not back to the beginning of a row.
    rest = here[run + step] - here[run] - np.array([0, 5.0 * step])
    moves[run] += np.where(np.linalg.norm(rest, axis=1, keepdims=True) < 5, rest, 0)
    found = shifted_run(here, here + moves)
    assert (found.step, abs(found.first - 40) <= 2, abs(found.last - 78) <= 2) == (step, True, True)
    assert "do frames and positions pair?" in moves_in_words(here, here + moves, np.arange(100, 181))[0]
    assert (
        f"frames {100 + found.first} to {100 + found.last}"
        in moves_in_words(here, here + moves, np.arange(100, 181))[0]
    )


@pytest.mark.parametrize("size", [0.02, 0.5, 3.0])
def test_moves_at_random_have_nothing_in_common(size):
    for seed in range(20):
        here = field(seed=seed)
        there = here + np.random.default_rng(100 + seed).normal(0, size, here.shape)
        assert moves_in_words(here, there, np.arange(len(here))) == []


def test_few_frames_and_frames_on_a_line_are_no_map():
    here = field(3)
    assert affine(here, here * 1.1) is None
    line = np.column_stack([np.arange(30.0), np.zeros(30)])
    assert affine(line, line * 1.1) is None
