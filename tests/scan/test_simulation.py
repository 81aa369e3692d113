"""Simulated scans: the right number of photons in the right place, and objects that look as they should."""

import math

import numpy as np
import pytest
from scipy import ndimage

from ptychopinn.errors import PtychoError
from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan.simulation import random_object, raster, siemens_star, simulate, smooth_lines

PROBE = curved_disc(16, 4.0, 2.0).numpy()
VACUUM = np.ones((64, 72), dtype=np.complex64)


def scattered(count: int, low: float, high: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(low, high, (count, 2))


@pytest.mark.parametrize("transmission", [1.0, 0.6 * np.exp(2j), 0.1])
@pytest.mark.parametrize("nphotons", [50.0, 1e4, 1e7])
def test_a_mean_frame_has_the_dose_and_the_probe_what_the_object_absorbs_too(transmission, nphotons):
    """Parseval: what reaches the sample and is not absorbed reaches the detector, on average."""
    scan = simulate((transmission * VACUUM).astype(np.complex64), PROBE, scattered(300, 10, 50), nphotons)
    totals = scan.counts.sum(axis=(1, 2), dtype=np.float64)
    # Frames are Poisson: their mean and their scatter are both known.
    assert totals.mean() == pytest.approx(nphotons, abs=4 * math.sqrt(nphotons / 300) + 1e-6 * nphotons)
    assert totals.var() / nphotons == pytest.approx(1, abs=4 * math.sqrt((2 + 1 / nphotons) / 299))
    assert (np.abs(scan.probe) ** 2).sum() == pytest.approx(nphotons / abs(transmission) ** 2, rel=1e-5)


def test_an_opaque_object_has_no_dose():
    with pytest.raises(PtychoError, match=r"^object: lets no light through; 1000 photons per frame need some"):
        simulate(0 * VACUUM, PROBE, scattered(3, 10, 50), 1e3)


def test_every_frame_is_the_light_of_its_own_patch():
    """More frames than are made at once: the brightness of each follows the object under it."""
    step = np.ones((64, 72), dtype=np.complex64)
    step[:, 36:] = 0.2
    positions = scattered(700, 10, 54)
    scan = simulate(step, PROBE, positions, 1e6)
    assert scan.photons == pytest.approx(1e6, rel=1e-3)
    totals = scan.counts.sum(axis=(1, 2)) / (np.abs(scan.probe) ** 2).sum()
    dark, bright = positions[:, 1] > 46, positions[:, 1] < 26
    np.testing.assert_allclose(totals[dark], 0.04, rtol=0.05)
    np.testing.assert_allclose(totals[bright], 1.0, rtol=0.05)
    np.testing.assert_array_equal(scan.positions, positions)
    assert scan.object is step
    assert (scan.counts == np.rint(scan.counts)).all()


def test_without_a_dose_the_probe_has_its_own():
    probe = np.concatenate([30 * PROBE, 10j * PROBE])
    scan = simulate(VACUUM, probe, scattered(100, 10, 50))
    np.testing.assert_array_equal(scan.probe, probe)
    assert scan.photons == pytest.approx(1000, rel=0.02)


def test_the_seed_decides_the_noise_and_nothing_else():
    image, positions = smooth_lines(64), scattered(20, 10, 50)
    first = simulate(image, PROBE, positions, 1e4, seed=7)
    again = simulate(image.copy(), PROBE.copy(), positions.copy(), 1e4, seed=7)
    other = simulate(image, PROBE, positions, 1e4, seed=8)
    np.testing.assert_array_equal(first.counts, again.counts)
    assert (first.counts != other.counts).any(axis=(1, 2)).all()
    for name in ("positions", "probe", "object"):
        np.testing.assert_array_equal(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize("place", [(8, 8), (56, 8), (8, 64), (56, 64)])
def test_patches_may_touch_the_edge_and_no_more(place):
    scan = simulate(VACUUM, PROBE, np.array([place], dtype=float), 1e6)
    assert scan.photons == pytest.approx(1e6, rel=0.01)
    for axis in (0, 1):
        outward = np.array([place], dtype=float)
        outward[0, axis] += 0.01 if place[axis] > 8 else -0.01
        with pytest.raises(PtychoError, match=r"^object: 64 x 72 pixels, but the patches reach from \(.*\) to \(.*\)"):
            simulate(VACUUM, PROBE, outward, 1e6)


@pytest.mark.parametrize(
    ("shape", "size", "step"), [((64, 72), 16, 5.0), ((41, 100), 32, 3.3), ((28, 30), 16, 9.0), ((80, 80), 32, 6.0)]
)
@pytest.mark.parametrize("jitter", [0.0, 0.2, 0.5])
def test_raster_stays_inside_and_keeps_its_step(shape, size, step, jitter):
    positions = raster(shape, size, step, jitter, seed=3)
    assert positions.min() >= size / 2
    assert (positions <= np.array(shape) - size / 2).all()
    margin = size / 2 + 1 + jitter * step
    counts = [int((length - 2 * margin) // step) + 1 for length in shape]
    grid = positions.reshape(*counts, 2)
    # The same grid without moves: row by row, one step apart, in the middle of the object.
    regular = np.stack(np.meshgrid(*[np.arange(n) * step for n in counts], indexing="ij"), axis=-1)
    regular += (np.array(shape) - regular[-1, -1]) / 2
    moves = grid - regular
    assert np.abs(moves).max() <= jitter * step + 1e-9
    if jitter and len(positions) > 20:
        assert np.abs(moves).max() > 0.7 * jitter * step
    # No row or column more would fit.
    assert all(2 * margin + n * step > length for n, length in zip(counts, shape, strict=True))


def test_raster_moves_depend_on_the_seed():
    places = [raster((64, 64), 16, 5.0, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(places[0], places[1])
    assert not np.isclose(places[0], places[2]).any(axis=1).all()


def test_raster_needs_room():
    with pytest.raises(PtychoError, match=r"^object: 17 pixels are too few for patches of 16 pixels that"):
        raster((64, 17), 16, 5.0)


def drawn(seed: int, edge: int = 64) -> np.ndarray:
    return random_object(edge, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("image", "lowest", "highest"),
    [
        (siemens_star(64), 0.85, 1.0),
        (siemens_star(65, absorption=0.5), 0.5, 1.0),
        (smooth_lines(64), 0.2, 1.3),
        (smooth_lines(48, seed=4), 0.2, 1.3),
        *((drawn(seed, 32 + 8 * seed), 0.02, 1.6) for seed in range(6)),
    ],
)
def test_objects_transmit_what_they_should(image, lowest, highest):
    assert image.ndim == 2
    assert image.shape[0] == image.shape[1]
    assert image.dtype == np.complex64
    assert np.isfinite(image).all()
    amplitude = np.abs(image)
    assert lowest - 1e-6 <= amplitude.min() < amplitude.max() <= highest + 1e-6
    assert np.angle(image).std() > 0.01


@pytest.mark.parametrize("spokes", [8, 12])
def test_a_star_looks_the_same_after_one_spoke(spokes):
    star = np.angle(siemens_star(161, spokes, phase=-0.8))
    y, x = np.mgrid[:161, :161] - 80
    inside = (np.hypot(y, x) > 20) & (np.hypot(y, x) < 75)

    def change(angle: float) -> float:
        turned = ndimage.rotate(star, angle, reshape=False, order=3, mode="nearest")
        return float(np.abs(turned - star)[inside].mean())

    assert change(360 / spokes) < 0.002 * 0.8
    assert change(180 / spokes) > 0.5 * 0.8
    # Vacuum outside the rim, the two phases inside.
    assert np.abs(star[np.hypot(y, x) > 80]).max() < 0.01
    assert star[inside].min() == pytest.approx(-0.8, abs=1e-3)
    assert star[inside].max() == pytest.approx(0, abs=1e-3)


def test_smooth_lines_depend_on_the_seed_only():
    np.testing.assert_array_equal(smooth_lines(48, 1), smooth_lines(48, 1))
    assert not np.allclose(smooth_lines(48, 1), smooth_lines(48, 2), atol=0.01)


def test_random_objects_are_many_different_ones():
    family = np.stack([drawn(seed) for seed in range(24)])
    np.testing.assert_array_equal(family[5], drawn(5))
    gradients = np.abs(np.diff(family, axis=2)).mean(axis=(1, 2))
    contrasts = np.abs(family).std(axis=(1, 2))
    for quantity in (gradients, contrasts):
        assert quantity.min() > 0
        assert quantity.max() > 4 * quantity.min()
    alike = np.abs(np.corrcoef(np.abs(family).reshape(24, -1)))
    assert np.sort(alike - np.eye(24), axis=None)[-2] < 0.9


def test_a_smooth_object_reads_the_same_bilinear_and_cubic():
    y, x = np.mgrid[:64, :64] / 64
    smooth = np.exp(1j * np.sin(5 * x + 2 * y) - 0.2 * np.cos(4 * y) ** 2).astype(np.complex64)
    rough = np.exp(1j * np.random.default_rng(1).standard_normal((64, 64))).astype(np.complex64)
    between, whole = scattered(10, 12, 50), scattered(10, 12, 50).round()

    def difference(image: np.ndarray, positions: np.ndarray) -> float:
        linear, cubic = (
            simulate(image, PROBE, positions, 1e10, interpolation=kind).counts for kind in ("bilinear", "cubic")
        )
        return float(np.abs(linear - cubic).sum() / cubic.sum())

    assert difference(smooth, between) < 2e-3
    assert difference(rough, between) > 0.1
    assert difference(rough, whole) < 1e-4
