"""Expected counts and the projection step: power, incoherence, translation, gradients."""

import pytest
import torch
from torch import Tensor

from ptychopinn.physics.diffraction import diffract, project_to_counts
from ptychopinn.physics.fourier import from_detector, to_detector
from ptychopinn.physics.patches import extract_patches
from tests.helpers import power, random_positions, random_tensor

EVEN_AND_ODD = pytest.mark.parametrize("size", [16, 17])
MODES = pytest.mark.parametrize("modes", [1, 3])


def scene(modes: int, size: int, frames: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Probe, patches and unrelated measured counts, with one dark pixel in every frame."""
    probe = 5 * random_tensor(modes, size, size, seed=1)
    patches = random_tensor(frames, size, size, seed=2)
    counts = 100 * random_tensor(frames, size, size, seed=3, dtype=torch.float64).square()
    counts[:, 2, 3] = 0
    return probe, patches, counts


def exit_waves(probe: Tensor, patches: Tensor) -> Tensor:
    """Every patch times every probe mode: (..., m, N, N)."""
    return probe * patches[..., None, :, :]


def intensity(field: Tensor) -> Tensor:
    """Counts of a stack of detector fields, modes on axis -3."""
    return field.abs().square().sum(dim=-3)


@EVEN_AND_ODD
@MODES
def test_counts_hold_the_power_of_the_exit_waves(size, modes):
    probe, patches, _ = scene(modes, size)
    expected = exit_waves(probe, patches).abs().square().sum(dim=(-3, -2, -1))
    torch.testing.assert_close(diffract(probe, patches).sum(dim=(-2, -1)), expected, rtol=1e-12, atol=0)


@EVEN_AND_ODD
def test_modes_add_incoherently(size):
    probe, patches, _ = scene(3, size)
    expected = sum(diffract(mode[None], patches) for mode in probe)
    torch.testing.assert_close(diffract(probe, patches), expected)
    # Unlike their coherent sum.
    assert not torch.allclose(diffract(probe, patches), diffract(probe.sum(dim=0, keepdim=True), patches), rtol=0.1)


@EVEN_AND_ODD
def test_a_flat_field_puts_all_photons_at_zero_frequency(size):
    counts = diffract(torch.full((1, size, size), 3 + 4j), torch.ones(size, size, dtype=torch.complex64))
    expected = torch.zeros(size, size)
    expected[size // 2, size // 2] = 25 * size**2
    torch.testing.assert_close(counts, expected, rtol=1e-6, atol=1e-3)


@EVEN_AND_ODD
def test_counts_scale_with_the_dose_and_not_with_the_global_phase(size):
    probe, patches, _ = scene(2, size)
    phase = torch.polar(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64))
    torch.testing.assert_close(diffract(10 * probe, phase * patches), 100 * diffract(probe, patches))


@EVEN_AND_ODD
@MODES
def test_leading_dimensions_are_independent(size, modes):
    probe, patches, counts = scene(modes, size, frames=6)
    stacked, measured = patches.reshape(2, 3, size, size), counts.reshape(2, 3, size, size)
    torch.testing.assert_close(diffract(probe, stacked).flatten(0, 1), diffract(probe, patches))
    change = project_to_counts(probe, stacked, measured)
    assert change.shape == (2, 3, modes, size, size)
    for i in range(6):
        expected = project_to_counts(probe, patches[i], counts[i])
        torch.testing.assert_close(change.flatten(0, 1)[i], expected)


@pytest.mark.parametrize("shift", [(3, 5), (-4, 2)])
@EVEN_AND_ODD
def test_object_and_positions_moved_together_give_the_same_counts(size, shift):
    probe = random_tensor(2, size, size, seed=1)
    image = torch.zeros(64, 64, dtype=torch.complex128)
    image[10:54, 10:54] = random_tensor(44, 44, seed=2)
    positions = random_positions(5, low=24, high=40)
    before = diffract(probe, extract_patches(image, positions, size))
    moved = image.roll(shift, dims=(0, 1))
    after = diffract(probe, extract_patches(moved, positions + torch.tensor(shift), size))
    torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-10)
    # And not when the positions stay.
    assert not torch.allclose(diffract(probe, extract_patches(moved, positions, size)), before, rtol=0.1)


@EVEN_AND_ODD
@MODES
def test_projected_exit_waves_have_the_measured_counts(size, modes):
    probe, patches, counts = scene(modes, size)
    projected = exit_waves(probe, patches) + project_to_counts(probe, patches, counts)
    torch.testing.assert_close(intensity(to_detector(projected)), counts, rtol=1e-10, atol=1e-10)


@EVEN_AND_ODD
@MODES
def test_projection_keeps_the_phase_and_the_shares_of_the_modes(size, modes):
    probe, patches, counts = scene(modes, size)
    field = to_detector(exit_waves(probe, patches))
    projected = field + to_detector(project_to_counts(probe, patches, counts))
    scale = (counts / intensity(field)).sqrt()[:, None]
    torch.testing.assert_close(projected, scale * field, rtol=1e-10, atol=1e-10)


@EVEN_AND_ODD
@MODES
def test_projection_is_zero_when_the_counts_agree(size, modes):
    probe, patches, _ = scene(modes, size)
    change = project_to_counts(probe, patches, diffract(probe, patches))
    torch.testing.assert_close(change, torch.zeros_like(change), rtol=0, atol=1e-12)


@EVEN_AND_ODD
@MODES
def test_projection_leaves_masked_pixels_alone(size, modes):
    probe, patches, counts = scene(modes, size)
    mask = random_tensor(size, size, seed=4, dtype=torch.float64) > -0.5
    counts[:, ~mask] = 1e9
    waves = exit_waves(probe, patches)
    projected = intensity(to_detector(waves + project_to_counts(probe, patches, counts, mask)))
    expected = torch.where(mask, counts, diffract(probe, patches))
    torch.testing.assert_close(projected, expected, rtol=1e-10, atol=1e-10)
    everything = torch.ones_like(mask)
    change = project_to_counts(probe, patches, counts, everything)
    assert torch.equal(change, project_to_counts(probe, patches, counts))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("strength", [0.0, 1e-30])
def test_projection_of_a_dark_model_and_its_gradient_are_finite(dtype, strength):
    probe = torch.full((2, 16, 16), strength, dtype=dtype, requires_grad=True)
    patches = torch.ones(16, 16, dtype=dtype, requires_grad=True)
    counts = torch.full((16, 16), 1e9, dtype=probe.real.dtype)
    change = project_to_counts(probe, patches, counts)
    assert change.dtype == dtype
    gradients = torch.autograd.grad(change.abs().sum(), (probe, patches))
    for values in (change, *gradients):
        assert torch.isfinite(torch.view_as_real(values)).all()


@EVEN_AND_ODD
@MODES
def test_amplitude_gradient_is_minus_two_projection_steps(size, modes):
    """Check ``grad sum (sqrt I - sqrt k)^2 = -2 (P psi - psi)``: half a gradient step is the projection."""
    probe, patches, counts = scene(modes, size, frames=1)
    counts = counts[0]
    # A patch of ones makes the probe the exit wave.
    waves = exit_waves(probe, patches[0]).requires_grad_()
    loss = (diffract(waves, torch.ones_like(patches[0])).sqrt() - counts.sqrt()).square().sum()
    (gradient,) = torch.autograd.grad(loss, waves)
    step = project_to_counts(probe, patches[0], counts)
    torch.testing.assert_close(gradient, -2 * step, rtol=1e-10, atol=1e-10)


@MODES
def test_gradcheck_of_diffract(modes):
    probe = random_tensor(modes, 4, 4, seed=1).requires_grad_()
    patches = random_tensor(2, 4, 4, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(diffract, (probe, patches))


@EVEN_AND_ODD
def test_gradient_of_diffract_in_the_patch_is_the_adjoint_chain(size):
    """Check ``grad_patch <I, v> = 2 sum_m conj(probe_m) F^H [v F (probe_m patch)]``."""
    probe, patches, weights = scene(3, size)
    patches.requires_grad_()
    (gradient,) = torch.autograd.grad(diffract(probe, patches), patches, grad_outputs=weights)
    field = to_detector(exit_waves(probe, patches.detach()))
    expected = 2 * (probe.conj() * from_detector(weights[:, None] * field)).sum(dim=-3)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(("dtype", "real"), [(torch.complex64, torch.float32), (torch.complex128, torch.float64)])
def test_dtype_is_kept(dtype, real):
    probe, patches = random_tensor(2, 16, 16, dtype=dtype), random_tensor(3, 16, 16, dtype=dtype)
    counts = diffract(probe, patches)
    assert counts.dtype == real
    assert project_to_counts(probe, patches, counts).dtype == dtype


def test_single_precision_agrees_with_double():
    probe, patches, counts = scene(2, 32)
    low = project_to_counts(probe.to(torch.complex64), patches.to(torch.complex64), counts.float())
    change = project_to_counts(probe, patches, counts)
    assert power(low - change) < 1e-10 * power(change)
