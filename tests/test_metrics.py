"""Scores: blind to what no measurement knows, exact for errors that are known."""

import math
from dataclasses import astuple

import numpy as np
import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.metrics import score


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
