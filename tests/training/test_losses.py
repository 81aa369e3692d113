"""Losses: means over good pixels, total variation, and the patch error that ignores the phase of a group."""

import pytest
import torch
from torch import Tensor

from ptychopinn.training.losses import amplitude_mae, complex_mae, mean_over, patch_error, total_variation
from tests.helpers import random_tensor

ERRORS = pytest.mark.parametrize("error", [patch_error, complex_mae])


def test_the_mean_looks_at_good_pixels_only():
    values = random_tensor(3, 2, 8, 8, dtype=torch.float64)
    mask = random_tensor(8, 8, seed=1, dtype=torch.float64) > 0
    garbage = torch.where(mask, values, torch.nan).requires_grad_()
    mean = mean_over(garbage, mask)
    torch.testing.assert_close(mean.detach(), (values * mask).sum() / (6 * mask.sum()))
    (gradient,) = torch.autograd.grad(mean, garbage)
    assert torch.equal(gradient != 0, mask.expand(3, 2, 8, 8))
    torch.testing.assert_close(mean_over(values, None), values.mean())


def test_the_amplitude_error_counts_good_pixels_and_survives_darkness():
    counts = torch.poisson(torch.full((3, 8, 8), 5.0, dtype=torch.float64), torch.Generator().manual_seed(0))
    mask = random_tensor(8, 8, dtype=torch.float64) > 0
    assert float(amplitude_mae(counts.clamp_min(1e-3), counts)) < 0.01
    torch.testing.assert_close(amplitude_mae(4 * counts + 1e-9, counts, mask), mean_over(counts.sqrt(), mask))
    rate = torch.zeros_like(counts).requires_grad_()
    value = amplitude_mae(rate, counts)
    assert value.isfinite()
    assert torch.autograd.grad(value, rate)[0].isfinite().all()


def test_the_variation_is_that_of_neighbours_without_wrapping():
    image = random_tensor(2, 5, 7)
    rows, cols = image[:, 1:] - image[:, :-1], image[:, :, 1:] - image[:, :, :-1]
    expected = rows.abs().square().sum(dim=(1, 2)) + cols.abs().square().sum(dim=(1, 2))
    torch.testing.assert_close(total_variation(image), expected)
    torch.testing.assert_close(total_variation(image + (3 - 2j)), expected)
    assert not total_variation(torch.ones(2, 5, 7)).any()
    ramp = torch.arange(7.0).expand(5, 7)
    assert float(total_variation(ramp)) == 5 * 6
    assert torch.autograd.gradcheck(total_variation, image.clone().requires_grad_())


@pytest.fixture
def groups() -> tuple[Tensor, Tensor, Tensor]:
    """Patches (3, 4, 6, 6), targets near them, and a weight."""
    targets = torch.exp(0.3 * random_tensor(3, 4, 6, 6))
    patches = targets + 0.1 * random_tensor(3, 4, 6, 6, seed=1)
    return patches, targets, random_tensor(6, 6, seed=2, dtype=torch.float64).square()


def turn(*phases: float) -> Tensor:
    return torch.exp(1j * torch.tensor(phases, dtype=torch.float64))


@ERRORS
def test_equal_patches_have_no_error(groups, error):
    _, targets, weight = groups
    assert (error(targets, targets, weight) < 1e-14).all()


@ERRORS
def test_the_phase_of_a_group_is_forgiven(groups, error):
    patches, targets, weight = groups
    expected = error(patches, targets, weight)
    assert (expected > 1e-3).all()
    phases = turn(0.4, -2.9, 3.1)[:, None, None, None]
    torch.testing.assert_close(error(phases * patches, targets, weight), expected)
    torch.testing.assert_close(error(patches, phases * targets, weight), expected)


@ERRORS
def test_phases_that_differ_within_a_group_are_not(groups, error):
    _, targets, weight = groups
    phases = turn(0.3, -0.3, 0.3, -0.3)[None, :, None, None]
    assert (error(phases * targets, targets, weight) > 0.05).all()
    single, single_phases = targets.flatten(0, 1)[:, None], phases.expand(3, 4, 1, 1).flatten(0, 1)[:, None]
    assert (error(single_phases * single, single, weight) < 1e-14).all()


def test_no_other_phase_gives_a_smaller_error(groups):
    patches, targets, weight = groups
    best = patch_error(patches, targets, weight)
    norm = weight.sum() * patches.shape[1]
    for phase in torch.linspace(-3, 3, 61).tolist():
        plain = ((turn(phase) * patches - targets).abs().square() * weight).sum(dim=(1, 2, 3)) / norm
        assert (plain >= best - 1e-12).all()


@pytest.mark.parametrize(("error", "expected"), [(patch_error, 0.09), (complex_mae, 0.3)])
def test_the_error_has_the_size_of_the_phase(groups, error, expected):
    _, targets, weight = groups
    phase_object = torch.exp(0.3j * torch.sign(random_tensor(3, 4, 6, 6, dtype=torch.float64)))
    found = error(torch.ones_like(targets), phase_object, weight)
    torch.testing.assert_close(found, torch.full_like(found, expected), rtol=0.3, atol=0)
    same = error(targets, phase_object, weight)
    torch.testing.assert_close(error(targets, phase_object, 1e6 * weight), same)


def test_the_gradient_holds_though_the_phase_is_a_constant_to_autograd(groups):
    # At the best phase the error does not change with it, so leaving it out of the graph changes nothing.
    patches, targets, weight = groups
    assert torch.autograd.gradcheck(lambda p: patch_error(p, targets, weight), patches.clone().requires_grad_())


@ERRORS
def test_dark_patches_have_a_finite_gradient(groups, error):
    _, targets, weight = groups
    patches = torch.zeros_like(targets).requires_grad_()
    (gradient,) = torch.autograd.grad(error(patches, targets, weight).sum(), patches)
    assert gradient.isfinite().all()
