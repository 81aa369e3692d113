"""Reassembly: exact where patches agree, zero where none lies, one canvas per group, phases that groups agree on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ptychopinn.inference.phases import group_phases
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import curved_disc, probe_intensity
from ptychopinn.physics.reassembly import central_mask, lit_square, reassemble
from ptychopinn.scan.coverage import mean_overlap
from ptychopinn.scan.simulation import smooth_lines
from tests.helpers import random_positions, random_tensor, stitch

SIZE = 12
SHAPE = (40, 46)
REACH = 7.6
"""Pixels up to which two patches of ``LIGHT`` share light."""

LIGHT = 1e5 * probe_intensity(curved_disc(32, 7.0, 2.5))


def weights(kind: str, dtype: torch.dtype = torch.float64) -> Tensor:
    """Uniform, the intensity of a probe, or a central square."""
    if kind == "uniform":
        return torch.ones(SIZE, SIZE, dtype=dtype)
    if kind == "probe":
        return probe_intensity(curved_disc(SIZE, 3.0)).to(dtype)
    return central_mask(SIZE, SIZE // 2).to(dtype)


WEIGHTS = pytest.mark.parametrize("kind", ["uniform", "probe", "square"])


def whole_positions(count: int = 9) -> Tensor:
    """Integer positions whose patches overlap, some of them across the edges of ``SHAPE``."""
    return random_positions(count, low=0, high=34).round()


def covered_by(positions: Tensor, weight: Tensor) -> Tensor:
    """Pixels of ``SHAPE`` under a positive weight, by slicing."""
    padded = torch.zeros(SHAPE[0] + 2 * SIZE, SHAPE[1] + 2 * SIZE, dtype=torch.bool)
    for y, x in (positions.long() + SIZE - SIZE // 2).tolist():
        padded[y : y + SIZE, x : x + SIZE] |= weight > 0
    return padded[SIZE:-SIZE, SIZE:-SIZE]


@WEIGHTS
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_patches_of_an_object_give_it_back_where_they_lie_and_zero_elsewhere(kind, dtype):
    image, positions, weight = random_tensor(*SHAPE, dtype=dtype), whole_positions(), weights(kind, dtype.to_real())
    found, coverage = reassemble(extract_patches(image, positions, SIZE), positions, SHAPE, weight)
    covered = covered_by(positions, weight)
    assert covered.any()
    assert not covered.all()
    assert torch.equal(coverage > 0, covered)
    assert torch.equal(found == 0, ~covered)
    torch.testing.assert_close(found[covered], image[covered], rtol=10 * torch.finfo(dtype).eps, atol=0)


@WEIGHTS
def test_the_mean_is_weighted_and_knows_no_scale_of_the_weights(kind):
    patches, positions, weight = random_tensor(9, SIZE, SIZE), random_positions(9, low=3, high=30), weights(kind)
    found, coverage = reassemble(patches, positions, SHAPE, weight)
    ones, _ = reassemble(torch.ones_like(patches), positions, SHAPE, weight)
    torch.testing.assert_close(ones[coverage > 0], torch.ones_like(ones[coverage > 0]))
    assert found.abs().max() <= patches.abs().max() * (1 + 1e-12)
    for factor in (1e-30, 1e-3, 1e9):
        scaled, scaled_coverage = reassemble(patches, positions, SHAPE, factor * weight)
        torch.testing.assert_close(scaled, found)
        torch.testing.assert_close(scaled_coverage, factor * coverage)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("inner", [0, 1, 3, 4, 7])
def test_a_central_mask_is_a_patch_of_ones_in_the_middle(size, inner):
    middle = torch.tensor([[size // 2, size // 2]], dtype=torch.float64)
    expected = place_patches(torch.ones(1, inner, inner), middle, (size, size))
    assert torch.equal(central_mask(size, inner), expected)


def test_of_two_patches_the_brighter_counts_more():
    positions = torch.tensor([[20.0, 20.0], [20.0, 24.0]])
    weight = weights("probe", torch.float32)
    patches = torch.stack([torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)]).to(torch.complex64)
    found, _ = reassemble(patches, positions, SHAPE, weight)
    at = SIZE // 2
    for column in range(20, 25):
        first, second = weight[at, at + column - 20], weight[at, at + column - 24]
        torch.testing.assert_close(found[20, column].real, second / (first + second))


@WEIGHTS
def test_gradients_are_finite_beside_uncovered_pixels(kind):
    patches = random_tensor(4, SIZE, SIZE).requires_grad_()
    found, _ = reassemble(patches, random_positions(4, low=-4, high=30), SHAPE, weights(kind))
    (gradient,) = torch.autograd.grad(found.abs().square().sum(), patches)
    assert gradient.isfinite().all()
    assert gradient.any()


@pytest.mark.parametrize("leading", [(20,), (2, 3)])
def test_every_group_gets_a_canvas_of_its_own(leading):
    patches, positions = random_tensor(*leading, 4, SIZE, SIZE), random_positions(*leading, 4, low=6, high=30)
    weight = weights("probe")
    image, coverage = reassemble(patches, positions, SHAPE, weight)
    assert image.shape == coverage.shape == (*leading, *SHAPE)
    for at in np.ndindex(*leading):
        alone, alone_coverage = reassemble(patches[at], positions[at], SHAPE, weight)
        torch.testing.assert_close(image[at], alone)
        torch.testing.assert_close(coverage[at], alone_coverage)


def lattice(rows: int, cols: int, step: float = 4.0, corner: float = 20.0) -> Tensor:
    """Centres of groups (rows * cols, 2)."""
    axes = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    return corner + step * torch.stack(axes, dim=-1).reshape(-1, 2).double()


def around(centres: Tensor, gridsize: int) -> Tensor:
    """Positions (n, C, 2) of the frames of groups."""
    offsets = torch.tensor({1: [[0, 0]], 2: [[-2, -2], [-2, 2], [1, -2], [2, 2]]}[gridsize])
    return centres[:, None] + offsets


def turned_patches(positions: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """True patches of an object, each group turned by a phase of its own; and the phases."""
    image = torch.from_numpy(smooth_lines(110, seed=1))
    phases = (
        2 * torch.pi * torch.rand(len(positions), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )
    patches = extract_patches(image, positions.flatten(0, 1), LIGHT.shape[-1]).unflatten(0, positions.shape[:2])
    return patches * torch.exp(1j * phases).to(torch.complex64)[:, None, None, None], phases


def disagreement(found: Tensor, expected: Tensor) -> float:
    """Largest difference between phases after the best common one, rad."""
    turn = torch.exp(1j * (found - expected))
    return float((turn * turn.mean().conj()).angle().abs().max())


LAYOUTS = {
    "one group": lattice(1, 1),
    "two groups": lattice(1, 2),
    "a line": lattice(1, 17),
    "an area": lattice(6, 6),
    "an area too large for the dense solver": lattice(12, 12),
    "twice at every place": lattice(4, 4).repeat(2, 1),
    "all at one place": lattice(1, 1).repeat(40, 1),
}


@pytest.mark.parametrize("gridsize", [1, 2])
@pytest.mark.parametrize("centres", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_phases_of_groups_are_found_up_to_a_common_one(centres, gridsize):
    positions = around(centres, gridsize)
    patches, phases = turned_patches(positions)
    found = group_phases(patches, positions, LIGHT, REACH)
    assert (found.shape, found.dtype) == (phases.shape, torch.float64)
    assert disagreement(found, phases) < 1e-3


@pytest.mark.parametrize("gridsize", [1, 2])
@pytest.mark.parametrize("side", [3, 9])
@pytest.mark.parametrize("gap", [16.0, 40.0])
def test_disconnected_sets_agree_within_themselves(gridsize, side, gap):
    # A gap of 16 pixels lets the search link the sets, though no light is shared: the weights are a top hat.
    first = lattice(side, side, step=2.0)
    positions = around(torch.cat([first, first + torch.tensor([0, 2.0 * (side - 1) + gap])]), gridsize)
    patches, phases = turned_patches(positions)
    found = group_phases(patches, positions, LIGHT.gt(0.5 * LIGHT.max()).float(), 9.0)
    for part in (slice(side**2), slice(side**2, None)):
        assert disagreement(found[part], phases[part]) < 1e-3


@pytest.mark.parametrize("gridsize", [1, 2])
@pytest.mark.parametrize("side", [2, 9])
def test_disconnected_sets_are_not_turned_against_each_other(gridsize, side):
    first = lattice(side, side, step=2.0)
    positions = around(torch.cat([first, first + torch.tensor([0, 2.0 * side + 60])]), gridsize)
    patches, phases = turned_patches(positions)
    agreeing = patches * torch.exp(-1j * phases).to(torch.complex64)[:, None, None, None]
    assert group_phases(agreeing, positions, LIGHT, REACH).abs().max() < 1e-3


def test_groups_without_overlap_keep_their_phase():
    positions = around(lattice(2, 3, step=30.0), 1)
    assert not group_phases(turned_patches(positions)[0], positions, LIGHT, REACH).any()


def test_dark_patches_leave_finite_phases():
    positions = around(lattice(3, 3), 1)
    patches, _ = turned_patches(positions)
    patches[4] = 0
    assert group_phases(patches, positions, LIGHT, REACH).isfinite().all()


def test_synchronised_groups_stitch_to_the_object():
    positions = around(lattice(9, 9), 2).float()
    patches, _ = turned_patches(positions)
    image = torch.from_numpy(smooth_lines(110, seed=1))
    middle = (slice(20, 52), slice(20, 52))

    def error(phases: Tensor | None) -> float:
        found, _ = stitch(patches, positions, (110, 110), LIGHT, phases)
        product = (found * image.conj())[middle].sum()
        aligned = found[middle] * (product.conj() / product.abs())
        return float((aligned - image[middle]).norm() / image[middle].norm())

    assert error(group_phases(patches, positions, LIGHT, REACH)) < 1e-3
    assert error(None) > 0.3


def test_mean_overlap_counts_the_frames_that_light_a_pixel(tiny_scan):
    probe = torch.from_numpy(tiny_scan.probe)
    four = tiny_scan.subset(slice(0, 4))
    apart = replace(four, positions=np.array([[0.0, 0], [0, 60], [60, 0], [60, 60]]))
    assert mean_overlap(replace(four, positions=np.zeros((4, 2))), probe) == pytest.approx(4)
    assert mean_overlap(apart, probe) == pytest.approx(1)
    assert 2 < mean_overlap(tiny_scan, probe) < 8
    assert mean_overlap(tiny_scan.subset(np.r_[0:64, 0:64]), probe) == pytest.approx(2 * mean_overlap(tiny_scan, probe))
    assert mean_overlap(tiny_scan, 1e-3 * probe) == pytest.approx(mean_overlap(tiny_scan, probe))


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize("half", [1, 2, 3])
def test_the_lit_square_holds_the_light_and_no_more(size, half):
    weight = torch.zeros(size, size)
    weight[size // 2 + half - 1, size // 2] = 1.0  # the farthest pixel of a square of 2 half
    weight[size // 2, size // 2] = 5.0
    assert lit_square(weight) == slice(max(0, size // 2 - half), size // 2 + half)
    assert lit_square(weight, dark=0.2) == slice(size // 2 - 1, size // 2 + 1)
