"""Common phases of groups: found where patches overlap, kept where they do not."""

import pytest
import torch
from torch import Tensor

from ptychopinn.inference.phases import group_phases
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import curved_disc, probe_intensity
from ptychopinn.scan.simulation import smooth_lines
from tests.helpers import stitch

REACH = 7.6
"""Pixels up to which two patches of ``LIGHT`` share light."""


LIGHT = 1e5 * probe_intensity(curved_disc(32, 7.0, 2.5))


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
