"""Fourier ring correlation: 1 for equal images, 0 for unrelated ones, and a slow version that sums rings by hand."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.frc import Curve, crossing, frc, half_bit, half_period_nm

SHAPES = [(64, 64), (65, 65), (48, 71)]


def noise(seed: int, shape: tuple[int, int], complex_: bool = True) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if complex_ else 0)


def by_hand(a: np.ndarray, b: np.ndarray) -> tuple[list[float], list[int]]:
    """Ring by ring about the middle of the shifted transforms, without a window, up to Nyquist."""
    first, second = (np.fft.fftshift(np.fft.fft2(part)) for part in (a, b))
    n = min(a.shape)
    rings: dict[int, list[tuple[complex, complex]]] = {}
    for row in range(a.shape[0]):
        for column in range(a.shape[1]):
            y, x = (row - a.shape[0] // 2) / a.shape[0], (column - a.shape[1] // 2) / a.shape[1]
            rings.setdefault(round(math.hypot(y, x) * n), []).append((first[row, column], second[row, column]))
    turn = np.vdot(b, a) / abs(np.vdot(b, a))
    correlation, counts = [], []
    for k in range(n // 2 + 1):
        left, right = np.array(rings[k]).T
        correlation.append((left * right.conj() / turn).sum().real / np.linalg.norm(left) / np.linalg.norm(right))
        counts.append(len(left))
    return correlation, counts


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("complex_", [True, False])
def test_against_sums_by_hand(shape, complex_):
    a = 3 + noise(0, shape, complex_)
    b = a + noise(1, shape, complex_)
    found = frc(a, b, window=False)
    correlation, counts = by_hand(a, b)
    np.testing.assert_allclose(found.correlation, correlation, atol=1e-10)
    assert found.counts.tolist() == counts
    np.testing.assert_allclose(found.frequencies, np.arange(len(counts)) / min(shape))
    np.testing.assert_allclose(found.independent, found.counts / (1 if complex_ else 2))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [True, False])
@pytest.mark.parametrize("corners", [False, True])
def test_equal_images_agree_everywhere(shape, window, corners):
    image = 1 + noise(0, shape)
    curve = frc(image, image, window=window, corners=corners)
    np.testing.assert_allclose(curve.correlation, 1)
    assert crossing(curve) == curve.frequencies[-1]
    assert curve.frequencies[-1] <= 0.5 if not corners else curve.frequencies[-1] > 0.6
    assert (curve.counts.sum() == math.prod(shape)) == corners


@pytest.mark.parametrize("window", [True, False])
@pytest.mark.parametrize("complex_", [True, False])
def test_noise_is_not_correlated_and_scatters_as_its_independent_pixels_say(window, complex_):
    """The real part of a mean of n products of unit power has the variance 1 / (2 n)."""
    curves = [frc(noise(k, (64, 60), complex_), noise(100 + k, (64, 60), complex_), window=window) for k in range(40)]
    values = np.array([curve.correlation[2:] for curve in curves])
    expected = 1 / np.sqrt(2 * curves[0].independent[2:])
    # The one phase that is removed makes the sum over all rings of complex images positive.
    assert abs(values.mean()) < 0.05
    assert np.sqrt((values**2 / expected**2).mean()) == pytest.approx(1, abs=0.1)
    assert all(crossing(curve) < 0.1 for curve in curves)


@pytest.mark.parametrize("complex_", [True, False])
def test_the_window_keeps_edges_and_brightness_from_faking_correlation(complex_):
    """Two unrelated images on one steep slope and a bright mean: their borders jump alike."""
    slope = 20 + 5 * np.linspace(0, 1, 64)[:, None]
    a, b = slope + noise(0, (64, 64), complex_), slope + noise(1, (64, 64), complex_)
    high = slice(8, None)
    assert frc(a, b, window=False).correlation[high].mean() > 0.05
    assert abs(frc(a, b).correlation[high].mean()) < 0.035
    flat = [20 + noise(k, (64, 64), complex_) for k in (0, 1)]
    assert frc(*flat).correlation[0] == pytest.approx(1, abs=1e-3)
    assert abs(frc(*flat).correlation[1:8]).mean() < 0.35


def test_a_shift_turns_the_rings_into_a_bessel_function():
    """The mean over a ring of exp(2 pi i q . s) is J0(2 pi q s)."""
    from scipy.special import j0

    image, shift = 10 + noise(0, (256, 256)), 3
    curve = frc(np.roll(image, shift, axis=1), image, window=False)
    expected = j0(2 * np.pi * curve.frequencies * shift)
    np.testing.assert_allclose(curve.correlation[20:], expected[20:], atol=0.15)


def test_what_does_not_count_and_what_does():
    a = 1 + 0.1j * gaussian_filter(noise(0, (64, 64), False), 1)
    b = a + 0.01 * noise(1, (64, 64))
    plain = frc(a, b)
    np.testing.assert_allclose(frc(5 * np.exp(2j) * a, b).correlation, plain.correlation, atol=1e-9)
    np.testing.assert_allclose(frc(b, a).correlation, plain.correlation, atol=1e-9)
    # Weak phases: conjugation turns the sign of all but the mean.
    np.testing.assert_allclose(frc(a.conj(), a).correlation, [1, *[-1] * 32], atol=1e-4)
    mirrored = frc(a[:, ::-1], a).correlation
    assert abs(mirrored[8:]).mean() < 0.15


def test_a_mask_gives_the_largest_box():
    a, b = noise(0, (40, 44)), noise(0, (40, 44)) + noise(1, (40, 44))
    mask = np.zeros((40, 44), bool)
    mask[3:35, 4:40] = True
    inside = frc(a[3:35, 4:40], b[3:35, 4:40])
    a[~mask] = np.nan
    assert np.array_equal(frc(a, b, mask).correlation, inside.correlation)


def test_rings_without_signal_are_zero():
    curve = frc(np.ones((16, 16)), np.ones((16, 16)))
    assert curve.correlation[0] == 1
    assert np.isfinite(curve.correlation).all()
    assert not frc(np.zeros((16, 16)), np.ones((16, 16))).correlation.any()


def test_crossings():
    frequencies = np.arange(5) / 8
    curve = Curve(frequencies, np.array([0.0, 1.0, 0.8, 0.2, 0.9]), np.ones(5, int), np.ones(5))
    assert crossing(curve, 0.5) == pytest.approx((2 + 0.5) / 8)
    assert crossing(curve, 0.1) == 0.5
    assert crossing(curve, 1.5) == 0
    assert crossing(curve, np.array([9, 0.5, 0.6, 0.8, 0])) == pytest.approx((2 + 0.25) / 8)
    assert half_period_nm(0.5, 8e-9) == pytest.approx(8)
    assert half_period_nm(0.25, 8e-9) == pytest.approx(16)
    assert half_period_nm(0.0, 8e-9) is None


def test_the_half_bit_threshold():
    curve = Curve(np.zeros(3), np.zeros(3), np.ones(3, int), np.array([1.0, 100.0, 1e14]))
    # 0.2071 = (sqrt(2) - 1) / 2: half a bit in the sum of two halves; 0.2071 / 1.2071 without noise in the threshold.
    np.testing.assert_allclose(half_bit(curve), [1, 0.30669, 0.17157], atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "mask", "message"),
    [
        (np.ones((9, 9)), np.ones((9, 8)), None, "images (9, 9) and (9, 8); equal shapes (H, W) are needed"),
        (np.ones((9, 9)), np.ones((9, 9)), np.ones((9, 8), bool), "with a mask (9, 8); equal shapes"),
        (np.ones(9), np.ones(9), None, "equal shapes (H, W)"),
        (np.ones((9, 9)), np.ones((9, 9), complex), None, "a real and a complex image"),
        (np.ones((9, 7)), np.ones((9, 7)), None, "images of 9 x 7 px; at least 8 px a side"),
        (np.ones((9, 9)), np.full((9, 9), np.nan), None, "NaN or infinite pixels"),
    ],
)
def test_refusals(a, b, mask, message):
    with pytest.raises(PtychoError) as error:
        frc(a, b, mask)
    assert str(error.value).startswith("frc: ")
    assert message in str(error.value)
