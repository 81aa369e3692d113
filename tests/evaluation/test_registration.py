"""Registration: what was put in is found and taken out, and what was taken out is reported."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.registration import Aligned, align, largest_box, remove

SHAPES = [(96, 96), (97, 110), (80, 121)]
SHIFTS = [(0.0, 0.0), (0.37, -0.62), (-3.25, 5.5), (7.0, -4.0)]


def scene(shape: tuple[int, int], shift=(0.0, 0.0), seed: int = 0, blur: float = 1.5, cut: int = 40) -> np.ndarray:
    """A window of an object that is periodic on a larger canvas, so that the true shift is exact."""
    rng = np.random.default_rng(seed)
    canvas = (shape[0] + 2 * cut, shape[1] + 2 * cut)
    amplitude, phase = (gaussian_filter(rng.standard_normal(canvas), blur, mode="wrap") for _ in range(2))
    whole = (1 + 0.1 * amplitude / amplitude.std()) * np.exp(0.4j * phase / phase.std())
    turn = sum(
        np.fft.fftfreq(size)[(slice(None),) + (None,) * (1 - axis)] * shift[axis] for axis, size in enumerate(canvas)
    )
    moved = np.fft.ifft2(np.fft.fft2(whole) * np.exp(-2j * np.pi * turn))
    return moved[cut:-cut, cut:-cut]


def everywhere(shape: tuple[int, int]) -> np.ndarray:
    return np.ones(shape, dtype=bool)


def disc(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < 0.45 * min(shape)


def ramp_wave(shape: tuple[int, int], ramp: tuple[float, float]) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.exp(1j * (ramp[0] * (rows - shape[0] // 2) + ramp[1] * (columns - shape[1] // 2)))


def turn_between(a: float, b: float) -> float:
    return math.remainder(a - b, 2 * math.pi)


@pytest.mark.parametrize("area", [everywhere, disc])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", SHIFTS)
def test_a_known_shift_is_found(shape, shift, area):
    reference = scene(shape)
    found = align(np.exp(1.2j) * scene(shape, shift), reference, area(shape))
    assert found.shift == pytest.approx(shift, abs=0.02)
    assert found.phase == pytest.approx(1.2, abs=0.01)
    assert (found.scale, found.ramp) == (1.0, (0.0, 0.0))
    assert abs(found.image - reference)[found.mask].max() < 0.05
    assert np.linalg.norm((found.image - reference)[found.mask]) < 0.01 * np.linalg.norm(reference[found.mask])


@pytest.mark.parametrize("blur", [0.8, 4.0])
def test_shifts_of_fine_and_smooth_objects_with_noise(blur):
    shift, noise = (2.4, -1.7), np.random.default_rng(1).standard_normal((2, 2, 96, 96)) * 0.03
    noise = noise[0] + 1j * noise[1]
    found = align(scene((96, 96), shift, blur=blur) + noise[0], scene((96, 96), blur=blur) + noise[1], disc((96, 96)))
    assert found.shift == pytest.approx(shift, abs=0.02 * blur)


def test_the_shift_of_one_bright_pixel_has_the_sign_of_the_conventions():
    """+x moves content right, +y down."""
    reference = np.ones((40, 40), dtype=complex)
    reference[20, 20] = 2
    image = np.roll(reference, (3, -5), axis=(0, 1))
    found = align(image, reference, everywhere((40, 40)))
    assert found.shift == (3, -5)
    assert np.array_equal(
        found.mask, everywhere((40, 40)) & (np.indices((40, 40))[0] < 37) & (np.indices((40, 40))[1] >= 5)
    )
    np.testing.assert_allclose(found.image[found.mask], reference[found.mask], atol=1e-12)


def test_the_wrapped_border_is_not_in_the_mask():
    shape = (64, 70)
    found = align(scene(shape, (4.5, -6.5)), scene(shape), everywhere(shape))
    rows, columns = np.nonzero(found.mask)
    # 4.5 px are missing at the bottom and 6.5 px at the left; two more have no neighbours to interpolate from.
    assert (rows.min(), rows.max()) == (2, 64 - 1 - 5 - 2)
    assert (columns.min(), columns.max()) == (7 + 2, 70 - 1 - 2)
    assert not found.image[~found.mask].any()


@pytest.mark.parametrize("values", [np.nan, 1e6, 0.0])
def test_pixels_outside_the_mask_do_not_matter(values):
    shape, shift = (96, 96), (1.3, 2.6)
    image, reference, mask = scene(shape, shift), scene(shape), disc(shape)
    expected = align(image, reference, mask)
    image, reference = image.copy(), reference.copy()
    image[~mask] = reference[~mask] = values
    found = align(image, reference, mask)
    assert found.shift == expected.shift
    assert not (found.mask & ~mask).any()
    assert np.array_equal(found.image, expected.image)


@pytest.mark.parametrize("ramp", [(0.0, 0.0), (0.011, -0.02), (-0.21, 0.34)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_known_ramp_is_found(shape, ramp):
    reference = scene(shape)
    found = align(reference * ramp_wave(shape, ramp), reference, disc(shape), ramp=True, shift=False)
    assert found.ramp == pytest.approx(ramp, abs=1e-6)
    assert found.phase == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.image[found.mask], reference[found.mask], atol=1e-4)


def test_ramp_shift_phase_and_scale_together():
    shape, shift, ramp = (110, 96), (2.3, -1.6), (0.05, -0.08)
    reference = scene(shape)
    image = 3 * np.exp(-2j) * scene(shape, shift) * ramp_wave(shape, ramp)
    found = align(image, reference, disc(shape), ramp=True, scale=True)
    assert found.shift == pytest.approx(shift, abs=0.02)
    assert found.ramp == pytest.approx(ramp, abs=5e-4)
    assert found.scale == pytest.approx(3, rel=1e-3)
    assert np.linalg.norm((found.image - reference)[found.mask]) < 0.02 * np.linalg.norm(reference[found.mask])


def test_what_is_not_asked_for_stays():
    shape, ramp = (96, 96), (0.01, 0.0)
    reference = scene(shape)
    found = align(2 * scene(shape, (1.5, 0)) * ramp_wave(shape, ramp), reference, disc(shape), shift=False)
    assert (found.shift, found.scale, found.ramp) == ((0.0, 0.0), 1.0, (0.0, 0.0))
    assert np.array_equal(found.mask, disc(shape))
    assert abs(found.image[found.mask]).mean() == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("phase", [-3.0, 0.0, 1.5, 3.1])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 250.0])
def test_phase_and_scale(phase, scale):
    reference = scene((48, 57))
    found = align(scale * np.exp(1j * phase) * reference, reference, everywhere((48, 57)), scale=True)
    assert turn_between(found.phase, phase) == pytest.approx(0, abs=1e-9)
    assert found.scale == pytest.approx(scale)
    np.testing.assert_allclose(found.image, reference, atol=1e-9)


def test_phase_and_scale_are_the_best_in_least_squares():
    image, reference = scene((48, 48), seed=1), scene((48, 48))
    found = align(image, reference, everywhere((48, 48)), shift=False, scale=True)
    best = np.linalg.norm(found.image - reference)
    for turn in (-1e-3, 1e-3):
        assert np.linalg.norm(found.image * np.exp(1j * turn) - reference) > best
    amplitude = np.linalg.norm(abs(found.image) - abs(reference))
    for factor in (0.999, 1.001):
        assert np.linalg.norm(factor * abs(found.image) - abs(reference)) > amplitude


def test_the_removals_reproduce_the_image():
    shape = (96, 97)
    image = 2 * scene(shape, (1.25, -0.5)) * ramp_wave(shape, (0.02, 0.01))
    found = align(image, scene(shape), disc(shape), ramp=True, scale=True)
    numbers = {"shift": found.shift, "phase": found.phase, "scale": found.scale, "ramp": found.ramp}
    again = remove(image, disc(shape), **numbers)
    assert np.array_equal(again.image, found.image)
    assert np.array_equal(again.mask, found.mask)
    assert again == replace(found, image=again.image, mask=again.mask)


def test_removing_by_hand_on_a_periodic_image():
    """Far from the borders nothing but the stated equation is left."""
    shape, shift, ramp, phase, scale = (160, 163), (2.25, -1.5), (0.03, -0.02), 0.7, 1.4
    image = scene(shape, cut=1)
    found = remove(image, everywhere(shape), shift=shift, phase=phase, scale=scale, ramp=ramp)
    rows, columns = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])
    flat = image * ramp_wave(shape, (-ramp[0], -ramp[1]))
    moved = np.fft.ifft2(np.fft.fft2(flat) * np.exp(2j * np.pi * (rows * shift[0] + columns * shift[1])))
    inner = (slice(50, -50), slice(50, -50))
    # The jumps of this plain transform at the borders still ring a little, 50 px inside.
    np.testing.assert_allclose(found.image[inner], (moved * np.exp(-1j * phase) / scale)[inner], atol=2e-2)
    assert abs(found.image - moved * np.exp(-1j * phase) / scale)[inner].mean() < 5e-3


def test_images_without_structure_are_not_moved():
    found = align(2j * np.ones((20, 21)), np.ones((20, 21), dtype=complex), everywhere((20, 21)))
    assert found.shift == (0, 0)
    assert found.phase == pytest.approx(math.pi / 2)


@pytest.mark.parametrize(
    ("image", "reference", "mask", "message"),
    [
        (
            np.ones((8, 9)),
            np.ones((9, 8)),
            np.ones((8, 9), bool),
            "image (8, 9), reference (9, 8) and mask (8, 9);",
        ),
        (
            np.ones((8, 9)),
            np.ones((8, 9)),
            np.ones((8, 8), bool),
            "mask (8, 8); three equal shapes (H, W) are needed",
        ),
        (np.ones(8), np.ones(8), np.ones(8, bool), "three equal shapes (H, W)"),
        (np.ones((8, 9)), np.ones((8, 9)), np.ones((8, 9)), "a mask of type float64; bool is needed"),
        (np.ones((8, 9)), np.ones((8, 9)), np.zeros((8, 9), bool), "the mask is empty"),
        (np.full((8, 9), np.nan), np.ones((8, 9)), np.ones((8, 9), bool), "the image has NaN"),
        (np.ones((8, 9)), np.full((8, 9), np.inf), np.ones((8, 9), bool), "the reference has NaN or infinite"),
        (np.zeros((8, 9)), np.ones((8, 9)), np.ones((8, 9), bool), "the image is zero everywhere"),
        (np.ones((8, 9)), np.zeros((8, 9)), np.ones((8, 9), bool), "the reference is zero everywhere"),
    ],
)
def test_what_cannot_be_aligned(image, reference, mask, message):
    with pytest.raises(PtychoError) as error:
        align(image.astype(complex), reference.astype(complex), mask)
    assert str(error.value).startswith("align: ")
    assert message in str(error.value)


def test_a_shift_that_leaves_nothing():
    with pytest.raises(PtychoError, match=r"no pixel of the mask is left once the shift of \(30.0, 0.0\) px"):
        remove(np.ones((20, 20)), everywhere((20, 20)), shift=(30.0, 0.0))


def test_an_aligned_image_of_nothing_removed():
    image = scene((20, 20))
    found = remove(image, everywhere((20, 20)))
    assert isinstance(found, Aligned)
    assert np.array_equal(found.image, image)


def test_the_largest_box_by_trying_all_of_them():
    rng = np.random.default_rng(3)
    for shape in ((6, 7), (9, 5), (1, 8), (8, 1)):
        for density in (0.5, 0.8, 0.95):
            mask = rng.random(shape) < density
            mask[0, 0] = True
            best = max(
                (bottom - top) * (right - left)
                for top in range(shape[0])
                for bottom in range(top + 1, shape[0] + 1)
                for left in range(shape[1])
                for right in range(left + 1, shape[1] + 1)
                if mask[top:bottom, left:right].all()
            )
            found = mask[largest_box(mask)]
            assert found.all()
            assert found.size == best


@pytest.mark.parametrize("mask", [np.zeros((4, 5), bool), np.ones(4, bool)])
def test_no_box(mask):
    with pytest.raises(PtychoError, match="largest_box: a mask of shape"):
        largest_box(mask)
