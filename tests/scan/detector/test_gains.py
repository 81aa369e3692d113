"""Lines and modules of another gain: found and measured on any pattern, and never where there are none."""

import functools

import numpy as np
import pytest

from ptychopinn.scan.detector.gains import gains
from tests.independent import scan_arrays

SCANS = {
    "disc, weak": {},
    "disc, phase": {"image": "phase"},
    "zone plate": {"probe": "zone plate", "radius": 8},
    "focus, grains": {"probe": "focus", "radius": 8, "image": "grains"},
    "curved, grating": {"probe": "curved", "radius": 14, "image": "grating", "photons": 1e4},
    "wide": {"probe": "curved", "radius": 22, "image": "grains", "N": 128, "side": 8, "photons": 1e7},
}


@functools.cache
def arrays_of(name: str) -> dict[str, np.ndarray]:
    return scan_arrays(**SCANS[name])


def pattern_of(name: str) -> tuple[np.ndarray, np.ndarray, int]:
    arrays = arrays_of(name)
    far = abs(np.fft.fftshift(np.fft.fft2(arrays["probeGuess"][0], norm="ortho"))) ** 2
    return arrays["diffraction"].mean(axis=0), far, len(arrays["diffraction"])


@pytest.mark.parametrize("name", SCANS)
def test_light_has_no_gains(name):
    mean, far, frames = pattern_of(name)
    found = gains(mean, far, np.ones(mean.shape, bool), frames)
    assert not found.lines.any()
    assert (found.gain, found.steps) == (1.0, ())


@pytest.mark.parametrize(("width", "factor"), [(1, 4.0), (2, 2.0), (2, 3.0), (3, 2.0)])
@pytest.mark.parametrize("name", SCANS)
def test_border_pixels_are_found_and_measured(name, width, factor):
    mean, far, frames = pattern_of(name)
    first = len(mean) // 2 - 1
    mean[first : first + width] *= factor
    found = gains(mean, far, np.ones(mean.shape, bool), frames)
    assert np.flatnonzero(found.lines.all(axis=1)).tolist() == list(range(first, first + width))
    assert found.gain == pytest.approx(factor, rel=0.12)
    across = gains(mean.T, far.T, np.ones(mean.shape, bool), frames)
    assert np.array_equal(across.lines, found.lines.T)


@pytest.mark.parametrize("factor", [1.7, 2.5])
@pytest.mark.parametrize("name", SCANS)
def test_a_module_of_another_gain_is_a_step(name, factor):
    mean, far, frames = pattern_of(name)
    first = len(mean) // 2 + 1
    mean[:, first:] *= factor
    found = gains(mean, far, np.ones(mean.shape, bool), frames)
    assert not found.lines.any()
    ((axis, place, gain),) = found.steps
    assert (axis, place) == (1, first)
    assert gain == pytest.approx(factor, rel=0.15)


@pytest.mark.parametrize("seed", range(3))
def test_orders_of_a_crossed_grating_are_no_lines(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] - 32
    far = np.exp(-(x**2 + y**2) / 4) * 1e5
    mean = np.full((64, 64), 0.1)
    for row in range(-28, 29, 7):
        for column in range(-25, 26, 5):
            mean += 1e5 / (1 + row**2 + column**2) * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 4)
    found = gains(rng.poisson(100 * mean) / 100, far, np.ones((64, 64), bool), 100)
    assert not found.lines.any()


def test_a_detector_without_light_has_no_gains():
    dark = np.zeros((32, 32))
    assert not gains(dark, dark, np.ones((32, 32), bool), 10).lines.any()
    assert not gains(dark, dark + 1, np.zeros((32, 32), bool), 10).steps
