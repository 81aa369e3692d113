"""Reassembly: exact where patches agree, zero where none lies, one canvas per group."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import curved_disc, probe_intensity
from ptychopinn.physics.reassembly import central_mask, reassemble
from tests.helpers import random_positions, random_tensor

SIZE = 12
SHAPE = (40, 46)


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
