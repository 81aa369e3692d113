"""ProbeViews: exit waves linear in object and probe with exact adjoints, and probes that move without loss."""

import pytest
import torch

from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import (
    illumination_map,
    object_to_waves,
    position_gradients,
    probe_to_waves,
    probe_views,
    shift_probe,
    waves_to_object,
    waves_to_probe,
)
from ptychopinn.physics.fourier import to_detector
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import curved_disc
from tests.helpers import assert_adjoint, assert_gradient_is_adjoint, power, random_positions, random_tensor

SHAPE = (21, 26)
SIZES = pytest.mark.parametrize("size", [7, 8])
MODELS = pytest.mark.parametrize("subpixel", ["bilinear", "fourier"])
MODES = pytest.mark.parametrize("modes", [1, 3])


@SIZES
def test_a_whole_pixel_shift_is_a_roll_and_shifts_add_up(size):
    probe = random_tensor(2, size, size)
    moved = shift_probe(probe, torch.tensor([[2.0, -3.0], [0.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(moved[0], probe.roll((2, -3), dims=(-2, -1)))
    torch.testing.assert_close(moved[1], probe)
    a, b = torch.tensor([[0.3, -0.7]], dtype=torch.float64), torch.tensor([[0.45, 1.1]], dtype=torch.float64)
    torch.testing.assert_close(shift_probe(shift_probe(probe, a)[0], b), shift_probe(probe, a + b))


@SIZES
def test_a_shift_keeps_the_power(size):
    probe = random_tensor(2, size, size)
    for moved in shift_probe(probe, random_positions(4, low=-2, high=2)):
        torch.testing.assert_close(power(moved), power(probe))


@SIZES
def test_a_shift_moves_a_smooth_probe_by_as_much(size):
    wide = 4 * size
    grid = torch.arange(wide, dtype=torch.float64) - wide // 2

    def gaussian(y, x):
        return torch.exp(-(((grid - y)[:, None] ** 2 + (grid - x)[None, :] ** 2) / (size / 2) ** 2)).to(
            torch.complex128
        )

    moved = shift_probe(gaussian(0, 0)[None], torch.tensor([[0.6, -0.35]], dtype=torch.float64))
    torch.testing.assert_close(moved[0, 0], gaussian(0.6, -0.35), rtol=0, atol=1e-6)


@SIZES
@MODES
@MODELS
def test_both_pairs_are_adjoint(size, modes, subpixel):
    probe, image = random_tensor(modes, size, size), random_tensor(*SHAPE, seed=1)
    views = probe_views(probe, random_positions(5, low=-3, high=24), subpixel)
    waves = random_tensor(5, modes, size, size, seed=2)

    def to_waves(x):
        return object_to_waves(views, x)

    def to_object(y):
        return waves_to_object(views, y, SHAPE)

    assert_adjoint(to_waves, to_object, image, waves)
    assert_gradient_is_adjoint(to_waves, to_object, image, waves)
    patches = extract_patches(image, views.places, size)

    def of_probe(x):
        return probe_to_waves(views, patches, x)

    def to_probe(y):
        return waves_to_probe(views, patches, y)

    assert_adjoint(of_probe, to_probe, probe, waves)
    assert_gradient_is_adjoint(of_probe, to_probe, probe, waves)


@SIZES
@MODELS
def test_both_roads_to_the_exit_waves_meet(size, subpixel):
    probe, image = random_tensor(2, size, size), random_tensor(*SHAPE, seed=1)
    views = probe_views(probe, random_positions(5, low=4, high=16), subpixel)
    patches = extract_patches(image, views.places, size)
    torch.testing.assert_close(probe_to_waves(views, patches, probe), object_to_waves(views, image))


@SIZES
def test_at_whole_pixels_both_models_are_one(size):
    probe, image = random_tensor(2, size, size), random_tensor(*SHAPE, seed=1)
    places = torch.tensor([[9.0, 10.0], [11.0, 13.0]], dtype=torch.float64)
    bilinear, fourier = (object_to_waves(probe_views(probe, places, model), image) for model in ("bilinear", "fourier"))
    torch.testing.assert_close(fourier, bilinear)


@MODELS
def test_both_models_agree_on_a_smooth_object(subpixel):
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in (48, 50)), indexing="ij")
    image = torch.polar(1 - 0.2 * x * y, 0.5 * x + 0.3 * y**2)
    probe = 100 * curved_disc(24, 6.0, 1.0).to(torch.complex128)
    places = random_positions(3, low=20, high=28)
    views, other = probe_views(probe, places, subpixel), probe_views(probe, places, "bilinear")
    rate = diffract(views.probes, extract_patches(image, views.places, 24))
    expected = diffract(other.probes, extract_patches(image, other.places, 24))
    assert float((rate - expected).abs().sum() / expected.sum()) < (0.02 if subpixel == "fourier" else 1e-12)


@SIZES
@MODES
@MODELS
def test_all_light_lands_on_the_canvas(size, modes, subpixel):
    probe = random_tensor(modes, size, size)
    views = probe_views(probe, random_positions(5, low=6, high=14), subpixel)
    light = illumination_map(views, SHAPE)
    assert (light.shape, light.dtype) == (SHAPE, torch.float64)
    torch.testing.assert_close(light.sum(), 5 * power(probe))


@SIZES
@MODES
def test_the_slope_of_the_counts_is_that_of_a_small_step(size, modes):
    spectrum = random_tensor(modes, size, size)
    if size % 2 == 0:
        # The highest frequency of an even length has no slope.
        spectrum[:, size // 2], spectrum[:, :, size // 2] = 0, 0
    probe, image = torch.fft.ifft2(spectrum), random_tensor(*SHAPE, seed=1)
    places = torch.tensor([[9.3, 10.6], [11.5, 13.45]], dtype=torch.float64)

    def rate(positions):
        views = probe_views(probe, positions, "fourier")
        return diffract(views.probes, extract_patches(image, views.places, size))

    views = probe_views(probe, places, "fourier")
    patches = extract_patches(image, views.places, size)
    slopes = position_gradients(views, patches)
    assert slopes.shape == (2, 2, modes, size, size)
    field = to_detector(views.probes * patches.unsqueeze(1)).unsqueeze(1)
    predicted = 2 * (field.conj() * to_detector(slopes)).real.sum(dim=2)
    for axis in range(2):
        step = 1e-5 * torch.eye(2, dtype=torch.float64)[axis]
        found = (rate(places + step) - rate(places - step)) / 2e-5
        torch.testing.assert_close(predicted[:, axis], found, rtol=0, atol=1e-7 * float(found.abs().max()))


@SIZES
@MODELS
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_dtypes_are_kept(size, subpixel, dtype):
    probe, image = random_tensor(2, size, size, dtype=dtype), random_tensor(*SHAPE, dtype=dtype)
    views = probe_views(probe, random_positions(3, low=4, high=16), subpixel)
    waves = object_to_waves(views, image)
    assert waves.dtype == waves_to_object(views, waves, SHAPE).dtype == dtype
    patches = extract_patches(image, views.places, size)
    assert waves_to_probe(views, patches, waves).dtype == position_gradients(views, patches).dtype == dtype
