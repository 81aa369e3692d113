"""The scale of a probe where a detector or a beam has faults: a right one stays, a wrong one is found."""

import functools
from collections.abc import Callable

import numpy as np
import pytest

from ptychopinn.scan.checks import doubts
from ptychopinn.scan.probe.far_field import explained
from ptychopinn.scan.probe_scale import light_of, with_probe_scale
from ptychopinn.scan.scan import Scan
from tests.independent import scan_arrays

SCANS = {
    "disc, weak": {},
    "disc, phase": {"image": "phase"},
    "dim gauss, phase": {"probe": "gauss", "radius": 14, "image": "phase", "photons": 1e3},
    "zone plate, weak": {"probe": "zone plate", "radius": 8},
    "focus, grains": {"probe": "focus", "radius": 8, "image": "grains", "N": 96},
    "curved, grains": {"probe": "curved", "radius": 14, "image": "grains", "photons": 1e7},
    "gauss, vacuum": {"probe": "gauss", "radius": 8, "image": "vacuum", "photons": 1e4},
}


def module(first: float, factor: float, rows: float = 1.0) -> Callable:
    def fault(counts, rng):
        size = counts.shape[-1]
        counts[:, : round(rows * size), round(first * size) :] *= factor

    return fault


def lines(width: int, factor: float) -> Callable:
    def fault(counts, rng):
        middle = counts.shape[-1] // 2
        counts[:, middle - 1 : middle - 1 + width] *= factor
        counts[:, :, middle - 1 : middle - 1 + width] *= factor

    return fault


def background(share: float) -> Callable:
    def fault(counts, rng):
        counts += rng.poisson(share * counts.mean(), counts.shape)

    return fault


def bright_frames(counts, rng):
    counts[rng.choice(len(counts), len(counts) // 10, replace=False)] *= 3


def brighter_for_a_while(counts, rng):
    counts[40:54] *= 2


def uneven(counts, rng):
    counts *= np.exp(0.2 * rng.normal(size=counts.shape[1:]))


FAULTS = {
    "border pixels": lines(2, 2),
    "one line": lines(1, 4),
    "half a detector": module(0.54, 2),
    "a module": module(0.5, 3, 0.5),
    "a little more gain": module(0.5, 1.5),
    "background": background(0.5),
    "bright frames": bright_frames,
    "bright run": brighter_for_a_while,
    "flat field": uneven,
}


@functools.cache
def arrays_of(name: str) -> dict[str, np.ndarray]:
    return scan_arrays(**SCANS[name])


def scan_of(name: str, fault: Callable | None = None, unit: float = 1.0, stop: int = 0) -> Scan:
    arrays = arrays_of(name)
    counts, good = arrays["diffraction"].astype(np.float32), None
    if fault is not None:
        fault(counts, np.random.default_rng(1))
    if stop:
        good = np.ones(counts.shape[1:], bool)
        middle = slice(len(good) // 2 - stop // 2, len(good) // 2 + stop // 2)
        good[middle, middle] = False
    places = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1)
    return Scan(counts, places, (unit**0.5 * arrays["probeGuess"]).astype(np.complex64), good_pixels=good)


def power(scan: Scan) -> float:
    return float((np.abs(scan.probe.astype(np.complex128)) ** 2).sum())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCANS)
def test_a_right_probe_keeps_its_scale(name, fault):
    scan = scan_of(name, FAULTS[fault])
    assert with_probe_scale(scan).probe is scan.probe
    assert not any("the probe holds" in line for line in doubts(scan))


@pytest.mark.parametrize("unit", [1e-8, 0.25, 8.0])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["disc, weak", "curved, grains", "zone plate, weak"])
def test_a_wrong_scale_is_found_beside_a_fault(name, fault, unit):
    found = power(with_probe_scale(scan_of(name, FAULTS[fault], unit)))
    clean = power(with_probe_scale(scan_of(name, unit=unit)))
    assert found == pytest.approx(clean, rel=0.55 if fault in ("a little more gain", "half a detector") else 0.3)


@pytest.mark.parametrize("stop", [2, 4, 6])
@pytest.mark.parametrize("name", ["disc, weak", "disc, phase", "focus, grains"])
def test_a_masked_beam_stop_hides_no_scale(name, stop):
    """Light that the object scatters past a stop is told from that of the probe."""
    scan = scan_of(name, stop=stop)
    assert with_probe_scale(scan).probe is scan.probe
    for unit in (1e-8, 0.25):
        found = power(with_probe_scale(scan_of(name, unit=unit, stop=stop)))
        assert found == pytest.approx(power(with_probe_scale(scan_of(name, unit=unit))), rel=0.2)


def test_a_detector_that_hardly_sees_the_probe_refutes_only_what_is_impossible():
    scan = scan_of("gauss, vacuum", stop=20)
    assert light_of(scan) is None or light_of(scan).plausible


def test_light_is_explained_to_a_few_percent_and_a_background_apart():
    arrays = scan_arrays(image="phase")
    wave = np.fft.fftshift(np.fft.fft2(arrays["probeGuess"][0], norm="ortho"))
    mean, good = arrays["diffraction"].mean(axis=0), np.ones((64, 64), bool)
    plain = explained(mean, abs(wave) ** 2, good, 144)
    assert plain.middle == pytest.approx(1e5, rel=0.05)
    assert plain.least < plain.middle
    assert plain.seen == pytest.approx(1)
    more = explained(mean + 20, abs(wave) ** 2, good, 144)
    assert more.middle == pytest.approx(1e5, rel=0.1)


def test_a_probe_that_is_not_that_of_the_frames_decides_by_their_light():
    """The far field of another probe explains nothing: what the frames hold in all is left."""
    scan = scan_of("gauss, vacuum")
    other = scan_arrays(probe="disc", radius=20, image="vacuum", side=2)["probeGuess"]
    wrong = Scan(scan.counts, scan.positions, (1e-3 * other).astype(np.complex64))
    assert power(with_probe_scale(wrong)) == pytest.approx(1e4, rel=0.05)
