"""Features: one scale per scan, corrections that vanish at the truth, and frames in their places."""

import cmath

import pytest
import torch
from torch import Tensor

from ptychopinn.model.features import (
    centre,
    corrections,
    off_canvas,
    on_canvas,
    probe_share,
    recentred,
)
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import curved_disc, normalise_probe
from tests.helpers import random_tensor, scale_of

SIZE = 16
SUPPORT = 12


def light(modes: int = 1, photons: float = 1e5) -> Tensor:
    """A probe of one or two modes in double precision."""
    first = curved_disc(SIZE, 4.0, 2.0)
    second = 0.3 * torch.cat([first.roll(2, dims=-1)] * (modes - 1)) if modes > 1 else first[:0]
    return normalise_probe(torch.cat([first, second]).to(torch.complex128), photons)


def objects(frames: int = 3, seed: int = 0) -> Tensor:
    """Patches (2, frames, N, N) of moderate contrast, near vacuum."""
    return torch.exp(0.3 * random_tensor(2, frames, SIZE, SIZE, seed=seed))


@pytest.mark.parametrize("size", [32, 50])
@pytest.mark.parametrize("photons", [1e-2, 1e3, 1e9])
def test_scaled_amplitudes_have_the_power_of_a_quarter_of_the_pixels(size, photons):
    counts = photons * random_tensor(7, size, size, dtype=torch.float32).square()
    scaled = scale_of(counts) * counts.double().sqrt()
    assert float(scaled.square().sum(dim=(1, 2)).mean()) == pytest.approx((size / 2) ** 2, rel=1e-5)


def test_a_dark_scan_has_a_finite_scale():
    assert scale_of(torch.zeros(3, 32, 32)) < float("inf")


@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("phase", [0.0, 2.3])
def test_true_patches_need_no_correction_whatever_their_global_phase(modes, phase):
    probe, patches = light(modes), objects()
    turned = patches * cmath.rect(1, phase)
    found = corrections(diffract(probe, patches), probe, turned, SUPPORT, None)
    assert found.shape == (2, 3, SUPPORT, SUPPORT)
    assert found.abs().max() < 1e-12
    assert corrections(diffract(probe, patches), probe, torch.ones_like(patches), SUPPORT, None).abs().max() > 0.1


@pytest.mark.parametrize("modes", [1, 2])
def test_masked_pixels_have_no_influence(modes):
    probe, patches, estimate = light(modes), objects(), objects(seed=1)
    mask = random_tensor(SIZE, SIZE, dtype=torch.float64) > -0.5
    counts = diffract(probe, patches)
    garbage = torch.where(mask, counts, 1e7)
    found = corrections(counts, probe, estimate, SUPPORT, mask)
    assert torch.equal(corrections(garbage, probe, estimate, SUPPORT, mask), found)
    assert not torch.allclose(corrections(garbage, probe, estimate, SUPPORT, None), found)
    assert corrections(garbage, probe, patches, SUPPORT, mask).abs().max() < 1e-12
    assert not corrections(garbage, probe, estimate, SUPPORT, torch.zeros_like(mask)).any()


@pytest.mark.parametrize("factor", [1e-2, 1e4])
def test_corrections_and_shares_do_not_know_the_dose(factor):
    probe, estimate = light(), objects(seed=1)
    counts = torch.poisson(diffract(probe, objects()), torch.Generator().manual_seed(0))
    expected = corrections(counts, probe, estimate, SUPPORT, None)
    found = corrections(factor**2 * counts, factor * probe, estimate, SUPPORT, None)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(probe_share(factor * probe, SUPPORT), probe_share(probe, SUPPORT))


def test_zero_counts_take_the_illuminated_object_away():
    probe = light()
    found = corrections(torch.zeros(1, 1, SIZE, SIZE, dtype=torch.float64), probe, objects()[:1, :1], SUPPORT, None)
    torch.testing.assert_close(found[0, 0], -centre(objects()[0, 0], SUPPORT) * probe_share(probe, SUPPORT))


def test_probe_share_is_between_none_and_all():
    share = probe_share(light(2), SUPPORT)
    assert share.shape == (SUPPORT, SUPPORT)
    assert share.min() > 0
    assert 0.8 < share.max() < 1
    assert share[SUPPORT // 2, SUPPORT // 2] > share[0, 0]


@pytest.mark.parametrize("full", [16, 17, 34])
@pytest.mark.parametrize("size", [4, 7, 16])
def test_centre_keeps_the_middle_in_the_middle(full, size):
    image = torch.zeros(2, full, full)
    image[:, full // 2, full // 2] = 1
    found = centre(image, size)
    assert found.shape == (2, size, size)
    assert (found[:, size // 2, size // 2] == 1).all()


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-4, 4)])
def test_offsets_are_shifts(shift):
    images, canvas = random_tensor(2, 3, 6, 6), 20
    offsets = torch.zeros(2, 3, 2)
    rest = on_canvas(images, offsets, canvas)
    assert torch.equal(rest[..., 7:13, 7:13], images)
    assert rest.count_nonzero() == images.numel()
    moved = on_canvas(images, offsets + torch.tensor(shift), canvas)
    assert torch.equal(moved, rest.roll(shift, dims=(-2, -1)))


def test_every_frame_keeps_a_channel_of_its_own():
    images, offsets = random_tensor(2, 3, 6, 6), random_tensor(2, 3, 2, dtype=torch.float64)
    found = on_canvas(images, offsets, 16)
    changed = images.clone()
    changed[1, 2] += 1
    different = (on_canvas(changed, offsets, 16) != found).any(dim=(-2, -1))
    assert different.tolist() == [[False] * 3, [False, False, True]]


@pytest.mark.parametrize("size", [6, 10, 14])
@pytest.mark.parametrize("frames", [1, 2])
def test_a_canvas_is_centred_on_its_group(frames, size):
    images, offsets = random_tensor(2, frames, 10, 10), torch.zeros(2, frames, 2)
    found = on_canvas(images, offsets, size)
    middle = torch.full((2, frames, 1, 2), float(size // 2))
    assert torch.equal(found, place_patches(images[:, :, None], middle, (size, size)))
    expected = 1 + extract_patches(found[:, 0] - 1, offsets + size // 2, 16)
    torch.testing.assert_close(off_canvas(found[:, 0], offsets, 16), expected)


def test_a_frame_goes_to_its_place_and_comes_back_from_there():
    images, offsets = random_tensor(2, 3, 6, 6), torch.tensor([[3.0, -2.0], [0.0, 0.0], [-4.0, 4.0]]).expand(2, 3, 2)
    canvas = on_canvas(images, offsets, 20)
    for frame in range(3):
        found = off_canvas(canvas[:, frame], offsets, 6)[:, frame]
        torch.testing.assert_close(found, images[:, frame])
    assert (off_canvas(canvas[:, 0], offsets, 60)[..., 0, :] == 1).all()


@pytest.mark.parametrize("size", [4, 7, 9, 16])
def test_recentred_keeps_the_middle_in_the_middle(size):
    image = torch.zeros(2, 9, 9, dtype=torch.complex64)
    image[:, 4, 4] = 1j
    found = recentred(image, size, outside=2.0)
    assert found.shape == (2, size, size)
    assert (found[:, size // 2, size // 2] == 1j).all()
    assert int((found[0] == 2).sum()) == max(0, size**2 - 81)
