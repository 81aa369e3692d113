"""Translation and patches: which way content moves, and where a patch is read."""

import pytest
import torch

from ptychopinn.physics.patches import extract_patches, place_patches
from tests.parity.oracle import assert_within, channels_first, deviation, oracle, yx

TOLERANCE = 1e-5
EDGE = 64


def moved_by_reading(image: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
    """``out[r, c] = in(r - dy, c - dx)``: the whole image as a patch at its middle less the move."""
    return extract_patches(image, EDGE // 2 - moves, EDGE)


def moved_by_placing(image: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
    """The same as a patch added at the middle plus the move."""
    copies = image.expand(len(moves), 1, EDGE, EDGE)
    return place_patches(copies, EDGE // 2 + moves[:, None], (EDGE, EDGE))


MOVED = pytest.mark.parametrize("moved", [moved_by_reading, moved_by_placing])


def moves_and_bright_pixel() -> tuple[torch.Tensor, torch.Tensor]:
    """Moves (12, 2) as (dy, dx), and an image with one bright pixel."""
    data = oracle("translate")
    image = torch.zeros(EDGE, EDGE)
    image[tuple(data["bright_row_col"].tolist())] = 1
    return data["offsets"].flip(-1), image


@MOVED
def test_translation(moved):
    data = oracle("translate")
    moves, bright = moves_and_bright_pixel()
    assert_within(moved(bright, moves), data["bright_out"], TOLERANCE)
    assert_within(moved(data["image"], moves), data["image_out"], TOLERANCE)


@MOVED
def test_positive_moves_go_right_and_down(moved):
    _, bright = moves_and_bright_pixel()
    right, down = moved(bright, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert float(right[20, 31]) == float(down[21, 30]) == 1


@MOVED
def test_the_other_path_of_the_older_program_is_not_matched(moved):
    """It moves content the opposite way."""
    backwards = oracle("translate")["bright_nonxla_path"]
    moves, bright = moves_and_bright_pixel()
    moves = moves[: len(backwards)]
    for found, opposite, move in zip(moved(bright, moves), backwards, moves, strict=True):
        assert deviation(found, opposite) > 0.1 or not move.any()
    assert_within(moved(bright, -moves), backwards, TOLERANCE)


def read_at(positions: torch.Tensor) -> torch.Tensor:
    """Patches (B, C, N, N) of the recorded object at (B, C, 2)."""
    return extract_patches(oracle("image_patches")["object"].expand(len(positions), -1, -1), positions, EDGE)


@pytest.mark.parametrize(("where", "name"), [("global_g1", "patches_g1"), ("coords_g2", "patches_g2_at_coords")])
def test_patches_of_an_object(where, name):
    data = oracle("image_patches")
    assert_within(read_at(yx(data[where])), channels_first(data[name]), TOLERANCE)


def test_mirrored_patches_of_the_older_program_are_not_matched():
    """From its own relative coordinates it reads each group mirrored through the group's mean."""
    data = oracle("image_patches")
    places, mirrored = yx(data["coords_g2"])[:1], channels_first(data["patches_g2_upstream"])
    assert deviation(read_at(places), mirrored) > 0.1
    assert_within(read_at(2 * places.mean(dim=1, keepdim=True) - places), mirrored, TOLERANCE)
