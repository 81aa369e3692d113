"""Scores: blind to what no measurement knows, exact for errors that are known."""

import math
from dataclasses import astuple
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.image import structural_similarity_index_measure

from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.frc import crossing, frc, half_bit
from ptychopinn.evaluation.metrics import Errors, Evaluation, evaluate, ms_ssim, psnr, scales_of, score, ssim
from ptychopinn.evaluation.registration import align


def image(seed: int, shape: tuple[int, int] = (20, 24)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.uniform(0.3, 1.2, shape) * np.exp(1j * rng.uniform(-1, 1, shape))).astype(np.complex64)


def checkerboard(shape: tuple[int, int] = (20, 24)) -> np.ndarray:
    return 1.0 - 2.0 * (np.indices(shape).sum(axis=0) % 2)


def test_the_truth_itself_has_no_error():
    assert astuple(score(image(0), image(0))) == pytest.approx((0, 0, 0, 0, 1), abs=1e-6)


@pytest.mark.parametrize("phase", [-3.0, -0.4, 0.0, 1.5, 3.1])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 250.0])
@pytest.mark.parametrize("seed", [0, 1], ids=["truth", "another image"])
def test_global_phase_and_scale_do_not_count(phase, scale, seed):
    plain = score(image(seed), image(0))
    changed = score((scale * np.exp(1j * phase) * image(seed)).astype(np.complex64), image(0))
    errors = ("phase_mae", "amplitude_mae", "complex_error")
    for name in errors:
        assert getattr(changed, name) == pytest.approx(getattr(plain, name), rel=1e-4, abs=1e-6)
    assert changed.removed_scale == pytest.approx(scale * plain.removed_scale, rel=1e-4)
    turn = changed.removed_phase - plain.removed_phase - phase
    assert math.remainder(turn, 2 * math.pi) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("phase", [0.01, 0.3, 1.2])
def test_a_known_phase_error(phase):
    """A checkerboard of +phase and -phase on a constant: no global phase makes it smaller."""
    found = score(np.exp(1j * phase * checkerboard()), 0.7 * np.ones((20, 24), dtype=complex))
    assert found.phase_mae == pytest.approx(phase)
    assert found.amplitude_mae == pytest.approx(0, abs=1e-9)
    assert found.complex_error == pytest.approx(2 * math.sin(phase / 2))


@pytest.mark.parametrize("error", [0.01, 0.2, 0.6])
def test_a_known_amplitude_error(error):
    """Amplitudes 1 + e and 1 - e: the best factor is 1 / (1 + e^2)."""
    found = score(1 + error * checkerboard() + 0j, np.ones((20, 24), dtype=complex))
    assert found.phase_mae == pytest.approx(0, abs=1e-9)
    assert found.amplitude_mae == pytest.approx(error / (1 + error**2))
    assert found.complex_error == pytest.approx(error / math.sqrt(1 + error**2))
    assert found.removed_scale == pytest.approx(1 + error**2)


def test_worse_images_score_worse():
    noise = image(1) - image(2)
    scores = [score((image(0) + strength * noise).astype(np.complex64), image(0)) for strength in (0.01, 0.05, 0.2)]
    for name in ("phase_mae", "amplitude_mae", "complex_error"):
        assert np.all(np.diff([getattr(found, name) for found in scores]) > 0)


@pytest.mark.parametrize("shapes", [((20, 24), (24, 20)), ((20, 24), (20, 23)), ((1, 24), (20, 24))])
def test_other_shapes_are_refused(shapes):
    with pytest.raises(PtychoError) as error:
        score(image(0, shapes[0]), image(0, shapes[1]))
    assert str(error.value) == f"score: image {shapes[0]} and truth {shapes[1]}; equal shapes are needed."


@pytest.mark.parametrize("factors", [(0, 1), (1, 0)])
def test_nothing_cannot_be_compared(factors):
    with pytest.raises(PtychoError, match="zero everywhere"):
        score(factors[0] * image(0), factors[1] * image(0))


def smooth(shape: tuple[int, int], seed: int = 0, blur: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    amplitude, phase = (gaussian_filter(rng.standard_normal(shape), blur) for _ in range(2))
    return (1 + 0.1 * amplitude / amplitude.std()) * np.exp(0.4j * phase / phase.std())


def noisy(shape: tuple[int, int], strength: float = 0.05, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed + 100)
    noise = rng.standard_normal((2, *shape))
    return smooth(shape, seed) + strength * (noise[0] + 1j * noise[1])


def full(shape: tuple[int, int]) -> np.ndarray:
    return np.ones(shape, dtype=bool)


def same(found: Errors | Evaluation, expected: Errors | Evaluation, **changed: float | None) -> None:
    """All numbers but the named ones agree; the named ones have the given value."""
    for name, value in vars(expected).items():
        value = changed.get(name, value)
        if value is None:
            assert getattr(found, name) is None
        elif isinstance(value, float):
            assert getattr(found, name) == pytest.approx(value, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("shape", [(40, 40), (41, 57), (180, 177)])
def test_equal_images_are_perfect(shape):
    found = evaluate(smooth(shape), smooth(shape), full(shape), pixel_size_m=10e-9, sigma=1)
    for part in (found.amplitude, found.phase):
        assert (part.mae, part.mse, part.psnr) == (0, 0, math.inf)
        assert part.ssim == pytest.approx(1)
        assert part.ms_ssim == pytest.approx(1)
        assert part.frc50 == pytest.approx(0.5, abs=0.013)
    assert found.complex_error == 0
    assert found.frc50 == found.half_bit == found.curve.frequencies[-1]
    assert found.frc50_half_period_nm == pytest.approx(10, rel=0.03)
    assert found.box == (0, 0, *shape)
    assert any("up to Nyquist" in note for note in found.notes)


@pytest.mark.parametrize("shape", [(64, 64), (63, 70)])
def test_numbers_by_hand(shape):
    image, reference = noisy(shape), smooth(shape)
    found = evaluate(image, reference, full(shape), pixel_size_m=5e-9)
    phase = np.angle(reference / reference.mean())
    error = np.angle(image / reference)
    for part, difference, truth in (
        (found.amplitude, abs(image) - abs(reference), abs(reference)),
        (found.phase, error, phase),
    ):
        assert part.data_range == pytest.approx(truth.max() - truth.min())
        assert part.mae == pytest.approx(abs(difference).mean())
        assert part.mse == pytest.approx((difference**2).mean())
        assert part.psnr == pytest.approx(peak_signal_noise_ratio(truth, truth + difference, data_range=np.ptp(truth)))
        assert part.ssim == pytest.approx(ssim(truth + difference, truth, np.ptp(truth)))
        assert part.frc50 == crossing(frc(truth + difference, truth))
    assert found.complex_error == pytest.approx(
        np.sqrt((abs(image - reference) ** 2).sum() / (abs(reference) ** 2).sum())
    )
    curve = frc(image, reference)
    assert np.array_equal(found.curve.correlation, curve.correlation)
    assert (found.frc50, found.half_bit) == (crossing(curve), crossing(curve, half_bit(curve)))
    assert 0.05 < found.frc50 < 0.45
    assert found.frc50_half_period_nm == pytest.approx(5 / (2 * found.frc50))
    assert found.half_bit_half_period_nm == pytest.approx(5 / (2 * found.half_bit))


@pytest.mark.parametrize("shape", [(11, 11), (32, 45)])
def test_ssim_against_another_library(shape):
    """torchmetrics, in the windows that lie inside."""
    image, reference = abs(noisy(shape)), abs(smooth(shape))
    pair = [torch.from_numpy(part)[None, None] for part in (image, reference)]
    _, whole = structural_similarity_index_measure(*pair, data_range=0.7, return_full_image=True)
    assert ssim(image, reference, 0.7) == pytest.approx(float(whole[0, 0, 5:-5, 5:-5].mean()), abs=1e-9)


@pytest.mark.parametrize("sigma", [0.0, 1.5])
@pytest.mark.parametrize(
    ("shape", "scales"),
    [((176, 176), 5), ((185, 204), 5), ((175, 300), 4), ((99, 99), 4), ((98, 120), 3), ((44, 71), 3), ((43, 43), 2)]
    + [((22, 40), 2), ((21, 300), 1), ((11, 11), 1)],
)
def test_ms_ssim_by_hand(shape, scales, sigma):
    """Contrast and structure of all scales, luminance of the last one, each halved by means of 2 x 2 pixels."""
    assert scales_of(shape) == scales
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)[:scales]
    whole = sum(weights) if scales < 5 else 1
    image, reference = abs(noisy(shape)), abs(smooth(shape))
    a, b = (gaussian_filter(part, sigma) if sigma else part for part in (image, reference))
    expected, data_range = 1.0, 0.8
    for scale, weight in enumerate(weight / whole for weight in weights):
        blur = partial(gaussian_filter, sigma=1.5, truncate=3.5, mode="mirror")
        means = blur(a), blur(b)
        variances = blur(a * a) + blur(b * b) - means[0] ** 2 - means[1] ** 2
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        term = (2 * (blur(a * b) - means[0] * means[1]) + c2) / (variances + c2)
        if scale == scales - 1:
            term = term * (2 * means[0] * means[1] + c1) / (means[0] ** 2 + means[1] ** 2 + c1)
            expected *= term.mean() ** weight
        else:
            expected *= term[5:-5, 5:-5].mean() ** weight
        a, b = (
            part[: part.shape[0] // 2 * 2, : part.shape[1] // 2 * 2]
            .reshape(part.shape[0] // 2, 2, part.shape[1] // 2, 2)
            .mean(axis=(1, 3))
            for part in (a, b)
        )
    assert ms_ssim(image, reference, data_range, sigma=sigma) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("contrast", [1, 0.01])
def test_ms_ssim_of_weak_contrast_on_a_bright_image(contrast):
    image, reference = (1 + contrast * (abs(part) - 1) for part in (noisy((176, 176)), smooth((176, 176))))
    assert 0.95 < ms_ssim(image, reference, np.ptp(reference)) < 0.99


def test_smoothing_acts_on_ms_ssim_alone():
    shape = (180, 180)
    plain, smoothed = (evaluate(noisy(shape), smooth(shape), full(shape), sigma=sigma) for sigma in (0.0, 2.0))
    same(smoothed, plain, sigma=2.0)
    for name in ("amplitude", "phase"):
        before, after = getattr(plain, name), getattr(smoothed, name)
        same(after, before, ms_ssim=after.ms_ssim)
        assert before.ms_ssim < after.ms_ssim < 1


def test_a_phase_of_the_pair_does_not_count():
    shape = (48, 53)
    plain = evaluate(noisy(shape), smooth(shape), full(shape))
    turned = evaluate(np.exp(2.9j) * noisy(shape), np.exp(2.9j) * smooth(shape), full(shape))
    same(turned, plain)
    same(turned.amplitude, plain.amplitude)
    same(turned.phase, plain.phase)


def test_a_phase_of_the_image_alone():
    """Nothing is removed: the phase of the pair is what align takes away."""
    shape, phase = (48, 53), 0.2
    found = evaluate(np.exp(1j * phase) * smooth(shape), smooth(shape), full(shape))
    assert found.phase.mae == pytest.approx(phase)
    assert found.phase.mse == pytest.approx(phase**2)
    assert found.phase.psnr == pytest.approx(20 * math.log10(found.phase.data_range / phase))
    assert found.complex_error == pytest.approx(2 * math.sin(phase / 2))
    assert found.amplitude.mae == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(found.curve.correlation, 1)


@pytest.mark.parametrize("factor", [0.5, 1.1])
def test_rescaling(factor):
    shape = (48, 53)
    image, reference = noisy(shape), smooth(shape)
    plain = evaluate(image, reference, full(shape))
    both = evaluate(factor * image, factor * reference, full(shape))
    same(both, plain)
    same(both.phase, plain.phase)
    scaled = {"mae": factor * plain.amplitude.mae, "mse": factor**2 * plain.amplitude.mse}
    same(both.amplitude, plain.amplitude, **scaled, data_range=factor * plain.amplitude.data_range)
    one = evaluate(factor * reference, reference, full(shape))
    assert one.amplitude.mae == pytest.approx(abs(factor - 1) * abs(reference).mean())
    assert one.complex_error == pytest.approx(abs(factor - 1))
    assert one.phase.mae == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(one.curve.correlation, 1)


def test_conjugation():
    shape = (64, 64)
    reference = smooth(shape)
    both = evaluate(noisy(shape).conj(), reference.conj(), full(shape))
    plain = evaluate(noisy(shape), reference, full(shape))
    same(both.amplitude, plain.amplitude)
    assert (both.phase.mae, both.complex_error) == pytest.approx((plain.phase.mae, plain.complex_error))
    np.testing.assert_allclose(both.curve.correlation, plain.curve.correlation, atol=1e-9)
    one = evaluate(reference.conj(), reference, full(shape))
    assert one.amplitude.mae == pytest.approx(0, abs=1e-12)
    assert one.phase.mae == pytest.approx(abs(np.angle(reference**2)).mean())
    assert one.complex_error == pytest.approx(np.linalg.norm(2 * reference.imag) / np.linalg.norm(reference))
    assert one.phase.frc50 == 0
    assert one.curve.correlation[1:20].mean() < -0.5


def test_mirroring():
    shape = (64, 64)
    plain = evaluate(noisy(shape), smooth(shape), full(shape))
    both = evaluate(noisy(shape)[:, ::-1], smooth(shape)[:, ::-1], full(shape))
    same(both, plain)
    same(both.amplitude, plain.amplitude)
    same(both.phase, plain.phase)
    one = evaluate(smooth(shape)[:, ::-1], smooth(shape), full(shape))
    assert one.amplitude.ssim < 0.3 < 0.9 < plain.phase.ssim
    assert one.frc50 < 0.05
    assert any("do not agree" in note for note in one.notes) == (one.frc50 == 0)


def test_a_ramp():
    """Rows carry the phase a * row: the mean absolute error is known, the amplitude untouched."""
    shape, slope = (61, 64), 0.02
    wave = np.exp(1j * slope * (np.arange(61) - 30))[:, None]
    found = evaluate(smooth(shape) * wave, smooth(shape), full(shape))
    assert found.phase.mae == pytest.approx(slope * abs(np.arange(61) - 30).mean())
    assert found.amplitude.mae == pytest.approx(0, abs=1e-12)
    aligned = align(smooth(shape) * wave, smooth(shape), full(shape), ramp=True, shift=False)
    assert evaluate(aligned.image, smooth(shape), aligned.mask).phase.mae < 1e-6


def test_a_shift_is_seen_and_align_removes_it():
    shape = (96, 96)
    image, reference = np.roll(smooth(shape), 2, axis=0), smooth(shape)
    moved = evaluate(image, reference, full(shape))
    aligned = align(image, reference, full(shape))
    found = evaluate(aligned.image, reference, aligned.mask)
    assert moved.frc50 < 0.2 < found.frc50
    assert found.complex_error < 1e-9 < 0.1 < moved.complex_error
    assert found.amplitude.ssim == pytest.approx(1)


def test_phases_are_compared_across_the_cut():
    """Phases about pi: an error is the short way round."""
    shape = (40, 40)
    reference = np.exp(1j * (np.pi - 0.01 * checkerboard(shape)))
    found = evaluate(np.exp(1j * (np.pi + 0.01 * checkerboard(shape))), reference, full(shape))
    assert found.phase.mae == pytest.approx(0.02)
    assert found.phase.data_range == pytest.approx(0.02)


def test_the_box_is_inside_the_mask():
    shape = (60, 64)
    mask = np.zeros(shape, bool)
    mask[5:50, 7:60] = True
    image, reference = noisy(shape), smooth(shape)
    inside = evaluate(image[5:50, 7:60], reference[5:50, 7:60], full((45, 53)))
    image[~mask] = np.nan
    found = evaluate(image, reference, mask)
    assert found.box == (5, 7, 50, 60)
    same(found, inside)
    same(found.phase, inside.phase)


@pytest.mark.parametrize("name", ["amplitude", "phase"])
def test_a_constant_reference_has_no_range(name):
    shape = (40, 41)
    parts = {"amplitude": np.exp(1j * np.angle(smooth(shape))), "phase": 0.7j * abs(smooth(shape))}
    found = evaluate(noisy(shape), parts[name], full(shape))
    part, other = getattr(found, name), getattr(found, "phase" if name == "amplitude" else "amplitude")
    assert (part.psnr, part.ssim, part.ms_ssim, part.data_range) == (None, None, None, 0)
    assert other.psnr is not None
    assert f"The {name} of the reference is constant: no PSNR, SSIM and MS-SSIM." in found.notes


def test_a_small_box_has_ms_ssim_on_fewer_scales_and_says_so():
    found, better = (evaluate(noisy((40, 300), level), smooth((40, 300)), full((40, 300))) for level in (0.05, 0.01))
    assert found.ms_ssim_k == 2
    for name in ("amplitude", "phase"):
        assert 0 < getattr(found, name).ms_ssim < getattr(better, name).ms_ssim < 1
    assert found.notes[0] == "MS-SSIM on 2 of 5 scales: the box has 40 x 300 px."


SQUARE = np.ones((20, 20))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate(SQUARE, SQUARE[1:], full((20, 20))), "evaluate: image (20, 20), reference (19, 20) and mask"),
        (lambda: evaluate(SQUARE[0], SQUARE[0], full((20, 20))[0]), "three equal shapes (H, W) are needed"),
        (lambda: evaluate(SQUARE, SQUARE, np.eye(20) > 0), "inside the mask has 1 x 1 px; 11 x 11 are needed"),
        (lambda: evaluate(SQUARE * np.nan, SQUARE, full((20, 20))), "NaN or infinite pixels inside the mask"),
        (lambda: evaluate(SQUARE, 0 * SQUARE, full((20, 20))), "the reference is zero everywhere inside the mask"),
        (lambda: ssim(SQUARE[:10], SQUARE[:10], 1), "ssim: images of 10 x 20 px; at least 11 px on each side"),
        (lambda: ssim(SQUARE[:6], SQUARE[:6], 1, window="uniform"), "ssim: images of 6 x 20 px; at least 7 px"),
        (
            lambda: ms_ssim(SQUARE[:10], SQUARE[:10], 1),
            "ms_ssim: images of 10 x 20 px; at least 11 px on each side are needed",
        ),
        (lambda: ms_ssim(np.ones((176, 176)), np.ones((176, 176)), 1, sigma=-1.0), "ms_ssim: smoothing by -1.0 px; a"),
        (lambda: psnr(SQUARE, SQUARE, 0), "psnr: a data range of 0; a finite one above 0 is needed"),
        (lambda: ssim(SQUARE, SQUARE, -1), "ssim: a data range of -1"),
        (lambda: ms_ssim(SQUARE, SQUARE, math.nan), "ms_ssim: a data range of nan"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(PtychoError) as error:
        call()
    assert message in str(error.value)
