"""Scores over masks of any shape: those of the rectangle where the mask is one, and blind to what lies outside."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.covered import score_covered
from ptychopinn.evaluation.metrics import evaluate

SHAPE = (90, 120)


def smooth(shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    amplitude, phase = (gaussian_filter(rng.standard_normal(shape), 1.5) for _ in range(2))
    return (1 + 0.1 * amplitude / amplitude.std()) * np.exp(0.4j * phase / phase.std())


def noisy(shape: tuple[int, int], strength: float = 0.05) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal((2, *shape))
    return smooth(shape) + strength * (noise[0] + 1j * noise[1])


def full(shape: tuple[int, int]) -> np.ndarray:
    return np.ones(shape, dtype=bool)


def discs(shape: tuple[int, int], radius: float, step: int) -> np.ndarray:
    """Lit discs that do not touch, as in a sparse view."""
    y, x = np.indices(shape)
    return np.hypot(y % step - step / 2, x % step - step / 2) < radius


def test_in_a_rectangle_it_is_what_evaluate_finds():
    found = evaluate(noisy(SHAPE), smooth(SHAPE), full(SHAPE))
    covered = found.covered
    assert covered.pixels == SHAPE[0] * SHAPE[1]
    assert covered.windows == (SHAPE[0] - 10) * (SHAPE[1] - 10)
    assert covered.error == pytest.approx(found.complex_error)
    for name in ("amplitude", "phase"):
        assert getattr(covered, f"{name}_mae") == pytest.approx(getattr(found, name).mae)
        assert getattr(covered, f"{name}_ssim") == pytest.approx(getattr(found, name).ssim)


def test_ssim_is_the_mean_over_every_window_that_lies_inside():
    mask = discs(SHAPE, 9.5, 30)
    image, reference = noisy(SHAPE), smooth(SHAPE)
    covered = score_covered(image, reference, mask)
    values = []
    data_range = np.ptp(abs(reference)[mask])
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    for row in range(SHAPE[0] - 10):
        for column in range(SHAPE[1] - 10):
            window = slice(row, row + 11), slice(column, column + 11)
            if mask[window].all():
                a, b = abs(image[window]), abs(reference[window])
                ma, mb = (weights * a).sum(), (weights * b).sum()
                saa, sbb, sab = ((weights * p * q).sum() for p, q in ((a, a), (b, b), (a, b)))
                saa, sbb, sab = saa - ma**2, sbb - mb**2, sab - ma * mb
                values.append((2 * ma * mb + c1) * (2 * sab + c2) / ((ma**2 + mb**2 + c1) * (saa + sbb + c2)))
    assert covered.windows == len(values) > 12
    assert covered.amplitude_ssim == pytest.approx(np.mean(values), abs=1e-9)


def test_what_lies_outside_does_not_count():
    mask = discs(SHAPE, 11, 30)
    image, reference = noisy(SHAPE), smooth(SHAPE)
    covered = score_covered(image, reference, mask)
    image[~mask], reference[~mask] = np.nan, 50
    assert score_covered(image, reference, mask) == covered


def test_every_disc_counts_and_not_only_the_largest_rectangle():
    mask = discs(SHAPE, 12, 30)
    reference = smooth(SHAPE)
    image = reference.copy()
    image[:, 60:] = noisy(SHAPE, 0.3)[:, 60:]
    covered = score_covered(image, reference, mask)
    assert evaluate(image, reference, mask).phase.ssim == pytest.approx(1)
    assert 0.1 < covered.phase_ssim < 0.95
    assert covered.error > 0.1


def test_masks_without_a_window_have_no_ssim():
    covered = score_covered(noisy(SHAPE), smooth(SHAPE), discs(SHAPE, 4, 30))
    assert (covered.windows, covered.phase_ssim, covered.amplitude_ssim) == (0, None, None)
    assert covered.phase_mae > 0
    small = score_covered(noisy((8, 9)), smooth((8, 9)), full((8, 9)))
    assert (small.pixels, small.phase_ssim) == (72, None)


@pytest.mark.parametrize("mask", [np.zeros(SHAPE, bool), np.ones((3, 3), bool)])
def test_refusals(mask):
    with pytest.raises(PtychoError, match="score_covered"):
        score_covered(noisy(SHAPE), smooth(SHAPE), mask)
