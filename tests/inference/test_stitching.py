"""Stitching: the same sums whatever the order, the chunks and the parts; scatter of patches from sums alone."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ptychopinn.inference import stitching
from ptychopinn.inference.stitching import Stitcher, joined, lit_square
from ptychopinn.physics.probe import curved_disc, probe_intensity
from ptychopinn.physics.reassembly import reassemble
from tests.helpers import random_positions, random_tensor, stitch

SIZE = 12
SHAPE = (40, 46)


def light() -> Tensor:
    return probe_intensity(curved_disc(SIZE, 3.0))


def groups(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random patches (n, 2, N, N) and positions (n, 2, 2)."""
    patches = 1 + 0.3 * random_tensor(count, 2, SIZE, SIZE, seed=seed, dtype=torch.complex64)
    return patches, random_positions(count, 2, low=3, high=34, seed=seed)


def sums(part: Stitcher) -> tuple[Tensor, Tensor, Tensor]:
    assert part.moments is not None
    return part.total, part.coverage, part.moments


def filled(patches: Tensor, positions: Tensor, box: Stitcher | None = None) -> Stitcher:
    part = box or Stitcher.around(positions, light())
    part.add(patches, positions)
    return part


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("turned", [False, True])
def test_stitching_in_chunks_equals_one_reassembly(monkeypatch, chunk, turned):
    monkeypatch.setattr(stitching, "TOGETHER", chunk * 2 * SIZE**2)
    patches, positions = groups(7)
    phases = random_tensor(7, dtype=torch.float64) if turned else None
    image, coverage = stitch(patches, positions, SHAPE, light(), phases)
    if phases is not None:
        patches = patches * torch.exp(-1j * phases).to(torch.complex64)[:, None, None, None]
    expected = reassemble(patches.flatten(0, 1), positions.flatten(0, 1), SHAPE, light())
    torch.testing.assert_close((image, coverage), expected, rtol=1e-4, atol=1e-5)


def test_what_falls_outside_the_box_is_dropped():
    patches, positions = groups(9)
    whole = filled(patches, positions)
    box = filled(patches, positions, Stitcher((10, 14), light(), origin=(15, 12)))
    row, col = 15 - whole.origin[0], 12 - whole.origin[1]
    for part, all_of_it in zip(sums(box), sums(whole), strict=True):
        torch.testing.assert_close(part, all_of_it[row : row + 10, col : col + 14])


@pytest.mark.parametrize("cut", [0, 1, 5, 8])
def test_parts_join_to_the_whole(cut):
    patches, positions = groups(9)
    whole = filled(patches, positions)
    order = positions[:, 0, 0].argsort()
    parts = [filled(patches[rows], positions[rows]) for rows in (order[: cut + 1], order[cut:])]
    again = filled(patches[order[cut : cut + 1]], positions[order[cut : cut + 1]])
    found = joined(*parts, turn=False)
    assert (found.origin, found.shape) == (whole.origin, whole.shape)
    whole.merge(again)  # the group at the cut is in both parts
    for one, other in zip(sums(found), sums(whole), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_part_takes_the_phase_of_the_other_where_they_overlap():
    patches, positions = groups(60)
    first, second = positions[:, 0, 0] < 20, positions[:, 0, 0] >= 20
    upper, lower = (filled(patches[rows], positions[rows]) for rows in (first, second))
    turned = filled(patches[second] * np.exp(2.5j), positions[second])
    expected = joined(upper, lower, turn=False).image()
    found = joined(filled(patches[first], positions[first]), turned, turn=True).image()
    assert float((found - expected).abs().max()) < 0.15
    assert float((found - expected).abs().mean()) < 0.02


def test_a_part_that_overlaps_with_nothing_keeps_its_phase():
    patches, positions = groups(4)
    far = filled(patches * 1j, positions + torch.tensor([0.0, 200.0]))
    found = joined(filled(patches, positions), far, turn=True)
    torch.testing.assert_close(found.total[:, -far.shape[1] :], far.total)
    assert not found.coverage[:, far.shape[1] : 200].any()


def test_the_spread_is_that_of_the_patches_of_a_pixel():
    # Whole positions, all the same: every pixel of the patch has the same three values and weights.
    values = torch.tensor([0.8 * np.exp(0.2j), 1.1 * np.exp(-0.1j), 1.0], dtype=torch.complex64)
    patches = values[:, None, None, None].repeat(1, 1, SIZE, SIZE)
    part = filled(patches, torch.full((3, 1, 2), 20.0))
    amplitude, phase = (values.abs().double().numpy(), values.to(torch.complex128).numpy())
    lit = part.coverage > 1e-3 * part.coverage.max()
    found = part.spread()
    np.testing.assert_allclose(found[0][lit], amplitude.std(), rtol=1e-4)
    resultant = abs(phase.sum()) / amplitude.sum()
    np.testing.assert_allclose(found[1][lit], np.sqrt(-2 * np.log(resultant)), rtol=1e-4)
    # For small angles the circular deviation is the usual one, weighted by amplitude.
    angles = np.angle(phase) - np.angle(phase.sum())
    usual = np.sqrt((amplitude * angles**2).sum() / amplitude.sum())
    np.testing.assert_allclose(found[1][lit].mean(), usual, rtol=0.01)


def test_equal_patches_do_not_scatter_and_uncovered_pixels_have_no_spread():
    positions = random_positions(500, 1, low=6, high=30)
    patches = torch.full((500, 1, SIZE, SIZE), 0.9 * np.exp(0.4j), dtype=torch.complex64)
    part = filled(patches, positions, Stitcher(SHAPE, light()))
    for bar in part.spread():
        assert torch.equal(bar.isnan(), part.coverage == 0)
        assert float(bar[part.coverage > 1e-3 * part.coverage.max()].max()) < 2e-3


def test_without_moments_there_is_no_spread():
    with pytest.raises(ValueError, match="moments"):
        Stitcher(SHAPE, light(), moments=False).spread()


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize("half", [1, 2, 3])
def test_the_lit_square_holds_the_light_and_no_more(size, half):
    weight = torch.zeros(size, size)
    weight[size // 2 + half - 1, size // 2] = 1.0  # the farthest pixel of a square of 2 half
    weight[size // 2, size // 2] = 5.0
    assert lit_square(weight) == slice(max(0, size // 2 - half), size // 2 + half)
    assert lit_square(weight, dark=0.2) == slice(size // 2 - 1, size // 2 + 1)
