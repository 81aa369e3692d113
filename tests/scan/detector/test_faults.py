"""Broken pixels and frames are found, and light is none of them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ptychopinn.scan.detector.faults import Faults, faults_in
from ptychopinn.scan.detector.markers import look, usual_rule

Images = NDArray[np.complex128]
OBJECTS = ("vacuum", "noise", "edge", "crystal", "opaque")


def disc(size: int, radius: float, curvature: float = 2.5) -> Images:
    y, x = np.mgrid[:size, :size] - size / 2
    r = np.hypot(y, x)
    return np.asarray((r < radius) * np.exp(1j * curvature * (r / radius) ** 2))[None]


def aperture(size: int, radius: float) -> Images:
    """A probe that is a disc on the detector, as of an electron microscope."""
    y, x = np.mgrid[:size, :size] - size / 2
    wave = (np.hypot(y, x) < radius) * np.exp(0.1j * (y**2 + x**2))
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(wave)))[None]


def thing(name: str, edge: int, rng: np.random.Generator) -> Images:
    y, x = np.mgrid[:edge, :edge]
    images = {
        "vacuum": np.ones((edge, edge)),
        "noise": np.exp(1j * rng.uniform(-1.5, 1.5, (edge, edge))),
        "edge": np.where(x > edge * 0.55, 0.1, 1.0),
        "crystal": np.exp(1j * np.cos(2 * np.pi * x / 7) * np.cos(2 * np.pi * y / 7)),
        "opaque": np.where(np.hypot(y - edge / 2, x - edge / 2) < edge / 5, 0.02, 1.0),
    }
    return images[name].astype(complex)


def measured(probe: Images, name: str, frames: int, photons: float, seed: int = 0) -> tuple[NDArray[np.uint32], ...]:
    """Counts (n, N, N) and positions of a scan in steps of a third of the probe."""
    rng = np.random.default_rng(seed)
    size, side = probe.shape[-1], int(np.ceil(np.sqrt(frames)))
    step = size / 12
    places = np.stack(np.divmod(np.arange(frames), side), axis=-1) * step + rng.uniform(0, step / 4, (frames, 2))
    image = thing(name, int(size + side * step + 4), rng)
    corners = places.round().astype(int)
    waves = np.stack([probe * image[y : y + size, x : x + size] for y, x in corners])
    light = (abs(np.fft.fftshift(np.fft.fft2(waves), axes=(-2, -1))) ** 2).sum(axis=1)
    return rng.poisson(light * photons / light.sum(axis=(1, 2)).mean()).astype(np.uint32), places


def found_in(counts: NDArray[np.uint32], probe: Images, places: NDArray[np.float64]) -> Faults:
    good = np.ones(counts.shape[1:], bool)
    seen = look(counts, np.arange(len(counts)), usual_rule(counts.dtype), good)
    assert not len(seen.events)
    return faults_in(counts, seen, probe.astype(np.complex64), places)


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize(("frames", "photons"), [(100, 1e2), (20, 1e5), (100, 1e6), (49, 1e9)])
@pytest.mark.parametrize("probe", [disc(32, 6), disc(64, 12), disc(64, 5, 0), aperture(64, 10)])
def test_light_is_no_fault(name: str, frames: int, photons: float, probe: Images) -> None:
    counts, places = measured(probe, name, frames, photons)
    found = found_in(counts, probe, places)
    for pixels in (found.hot, found.dead, found.stuck):
        assert not pixels.any()
    assert not len(found.zingers) and not len(found.bright) and not len(found.dim)


@pytest.mark.parametrize("name", ["vacuum", "noise", "crystal"])
@pytest.mark.parametrize("photons", [1e3, 1e5, 1e7])
def test_each_fault_is_found_and_nothing_else(name: str, photons: float) -> None:
    probe, rng = disc(64, 12), np.random.default_rng(1)
    counts, places = measured(probe, name, 100, photons)
    counts[:, 10:12, 50] += rng.poisson(max(5, photons / 1000), (100, 2)).astype(np.uint32)
    counts[40] = rng.poisson(0.3, (64, 64))
    counts[70] *= 8
    for frame, column in ((20, 9), (55, 40)):
        counts[frame, 50, column] += int(max(500, photons / 10))
    counts[:, 60, 3] = 7
    counts[:, 30] = 0
    found = found_in(counts, probe, places)
    assert np.argwhere(found.stuck).tolist() == [[60, 3]]
    assert np.argwhere(found.hot).tolist() == [[10, 50], [11, 50]]
    assert np.array_equal(np.flatnonzero(found.dead.any(axis=1)), [30]) and found.dead[30, 20:44].all()
    assert found.zingers.tolist() == [[20, 50 * 64 + 9], [55, 50 * 64 + 40]]
    assert found.bright.tolist() == [70]
    assert found.dim.tolist() == ([40] if photons > 1e4 else [])


def test_beam_stop_is_dead_and_the_dark_middle_of_a_ring_is_not() -> None:
    probe = disc(64, 12)
    counts, places = measured(probe, "noise", 49, 1e5)
    counts[:, 30:34, 30:34] = 0
    assert np.array_equal(found_in(counts, probe, places).dead, (counts == 0).all(axis=0) & box(30, 34))
    ring = aperture(64, 14) - aperture(64, 5)
    counts, places = measured(ring, "vacuum", 49, 1e4)
    counts[:, 30:34, 30:34] = 0
    assert not found_in(counts, ring, places).dead.any()


def box(low: int, high: int) -> NDArray[np.bool_]:
    where = np.zeros((64, 64), bool)
    where[low:high, low:high] = True
    return where


def test_pixel_that_never_changes_is_stuck() -> None:
    probe = disc(32, 6)
    counts, places = measured(probe, "noise", 49, 1e5)
    counts[:, 3, 4] = 2
    assert np.argwhere(found_in(counts, probe, places).stuck).tolist() == [[3, 4]]
    same = np.repeat(counts[:1], 20, axis=0)
    assert not found_in(same, probe, places[:20]).stuck.any(), "a still scan has no broken pixels"


def test_closed_shutter_of_a_whole_row_is_found_and_a_dark_half_is_not() -> None:
    probe, rng = disc(64, 12), np.random.default_rng(2)
    counts, places = measured(probe, "vacuum", 100, 1e5)
    counts[42:46] = rng.poisson(0.2, (4, 64, 64))
    assert found_in(counts, probe, places).dim.tolist() == [42, 43, 44, 45]
    counts[50:] = rng.poisson(0.2, (50, 64, 64))
    assert not len(found_in(counts, probe, places).dim), "half of a scan is how the light was"


def test_places_whose_distances_overflow_are_left_to_the_check_of_positions() -> None:
    counts = np.random.default_rng(0).poisson(100.0, (40, 16, 16)).astype(np.uint16)
    places = np.stack(np.divmod(np.arange(40.0), 8), axis=-1)
    places[3, 1] = 1e300
    good = np.ones((16, 16), bool)
    seen = look(counts, np.arange(40), usual_rule(counts.dtype), good)
    assert not len(faults_in(counts, seen, None, places).bright)
