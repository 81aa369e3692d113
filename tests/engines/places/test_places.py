"""Positions from single frames: pairs, the robust solve, tries, the dragged image; on scans made by plain numpy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from ptychopinn.engines.fisher import Linearised, dot
from ptychopinn.engines.places.annealed import tried, without_map
from ptychopinn.engines.places.drag import Dragged
from ptychopinn.engines.places.network import place
from ptychopinn.engines.places.pairs import Matches, neighbours, register
from ptychopinn.engines.places.patches import single_patches
from ptychopinn.engines.places.placing import placed, usual_error
from ptychopinn.engines.places.registered import registered
from ptychopinn.engines.projections import Estimate
from ptychopinn.scan.scan import Scan

SIZE, SIDE, STEP = 48, 8, 7.0


def zone_plate(size: int = SIZE, diameter: float = 22.0) -> np.ndarray:
    """The defocused beam of a zone plate with a central stop, of unit power."""
    axis = (np.arange(size) - size // 2) / size
    radius = np.hypot(axis[:, None], axis[None, :])
    pupil = ((radius < 0.3) & (radius > 0.1)) * np.exp(1j * math.pi * diameter / 0.6 * radius**2)
    field = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil), norm="ortho"))
    return field / np.linalg.norm(field)


def thing(edge: int, rng: np.random.Generator) -> np.ndarray:
    """Blobs of several sizes in phase and amplitude."""
    field = sum(
        part / part.std()
        for part in (
            ndimage.gaussian_filter(rng.standard_normal((edge, edge)), s, mode="wrap") for s in (1.5, 3.0, 8.0)
        )
    )
    field = field / field.std()
    return (1 - 0.05 * np.tanh(field)) * np.exp(0.7j * field)


def frames(image: np.ndarray, probe: np.ndarray, places: np.ndarray, photons: float, rng) -> Scan:
    """Counts of frames whose probe moves between pixels by a phase ramp."""
    size, frequency, rates = probe.shape[-1], np.fft.fftfreq(probe.shape[-1]), []
    for place_ in places:
        whole = np.floor(place_).astype(int)
        ramp = np.exp(-2j * math.pi * np.add.outer(frequency * (place_ - whole)[0], frequency * (place_ - whole)[1]))
        y, x = whole - size // 2
        wave = np.fft.ifft2(np.fft.fft2(probe) * ramp) * image[y : y + size, x : x + size]
        rates.append(abs(np.fft.fftshift(np.fft.fft2(wave, norm="ortho"))) ** 2)
    scale = photons / np.mean([rate.sum() for rate in rates])
    counts = rng.poisson(scale * np.array(rates)).astype(np.float32)
    return Scan(counts=counts, positions=places, probe=(math.sqrt(scale) * probe)[None].astype(np.complex64))


@pytest.fixture(scope="module")
def measured() -> tuple[Scan, np.ndarray]:
    """A scan at its true positions, and its object on the canvas of these."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.arange(SIDE) * STEP] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    places = grid + rng.uniform(-1, 1, grid.shape) + SIZE // 2 + 8.0
    image = thing(int(SIDE * STEP) + SIZE + 20, rng)
    scan = frames(image, zone_plate(), places, 1e5, rng)
    (y, x), (height, width) = scan.canvas_origin, scan.canvas_shape
    return scan, image[y : y + height, x : x + width]


def off(scan: Scan, rms: float, seed: int = 0) -> Scan:
    move = np.random.default_rng(seed).normal(0, rms / math.sqrt(2), scan.positions.shape)
    return replace(scan, positions=scan.positions + move - move.mean(axis=0))


def error(found: np.ndarray, true: np.ndarray) -> float:
    move = found - true
    return float(np.sqrt(((move - move.mean(axis=0)) ** 2).sum(axis=1).mean()))


def test_true_patches_with_noise_are_registered_to_a_fraction_of_a_pixel():
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.standard_normal((90, 90)), 1.5) + 1j
    places = np.array([[30, 30], [34, 41], [41, 33], [38, 38]])
    cut = np.stack([image[y - 24 : y + 24, x - 24 : x + 24] for y, x in places])
    turned = cut * np.exp(2j * math.pi * rng.random((4, 1, 1)))
    noisy = torch.from_numpy(turned + 0.02 * rng.standard_normal(cut.shape)).to(torch.complex64)
    light = torch.from_numpy(abs(zone_plate()) ** 2).float()
    nominal = torch.from_numpy(places + rng.normal(0, 3, places.shape))
    pairs = torch.tensor([[0, 1], [0, 2], [1, 2], [2, 3]])
    found = register(lambda rows: noisy[rows], light, pairs, nominal, 3.0)
    true = places[pairs[:, 1]] - places[pairs[:, 0]]
    assert np.abs(found.shifts.numpy() - true).max() < 0.3
    assert ((found.trust > 0) & (found.trust <= 1)).all()


def test_pairs_are_neighbours_in_order():
    pairs = neighbours(np.array([[0.0, 0], [0, 3], [0, 20], [4, 0]]), 6.0)
    assert pairs.tolist() == [[0, 1], [0, 3], [1, 3]]


def test_wrong_pairs_have_no_say():
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*[np.arange(9) * 10.0] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    true = grid + rng.normal(0, 2, grid.shape)
    pairs = neighbours(grid, 22.0)
    shifts = (true[pairs[:, 1]] - true[pairs[:, 0]]) + rng.normal(0, 0.2, (len(pairs), 2))
    wrong = rng.random(len(pairs)) < 0.3
    shifts[wrong] += rng.uniform(-8, 8, (wrong.sum(), 2))
    found, kept = place(grid, Matches(pairs, torch.from_numpy(shifts), torch.ones(len(pairs))), 2.0)
    assert error(found, true) < 0.3 < 1 < error(grid, true)
    assert kept[wrong].mean() < 0.3 < 0.8 < kept[~wrong].mean()


def test_single_frames_bring_positions_home(measured):
    scan, _ = measured
    wrong = off(scan, 2.5)
    found = registered(wrong, torch.from_numpy(scan.probe), 2.5 / math.sqrt(2)).positions
    mapped = without_map(torch.from_numpy(found), torch.from_numpy(wrong.positions)).numpy()
    assert error(mapped, scan.positions) < 0.6 * error(wrong.positions, scan.positions)


def test_bad_pixels_are_not_read(measured):
    scan, _ = measured
    good = np.random.default_rng(0).random((SIZE, SIZE)) > 0.05
    masked = replace(scan, good_pixels=good)
    spoilt = replace(masked, counts=np.where(good, scan.counts, 1e6).astype(np.float32))
    rows, probe = torch.arange(5), torch.from_numpy(scan.probe)
    assert torch.equal(single_patches(spoilt, rows, probe), single_patches(masked, rows, probe))
    assert not torch.equal(single_patches(masked, rows, probe), single_patches(scan, rows, probe))


def test_frames_that_fit_worst_find_home(measured):
    scan, image = measured
    truth = torch.from_numpy(image.astype(np.complex64))
    estimate = Estimate.of(scan, image=truth)
    true = estimate.positions.clone()
    estimate.positions[9] += torch.tensor([5.0, -4.0])
    start, generator = true.clone(), torch.Generator().manual_seed(0)
    for _ in range(12):
        tried(scan, estimate, start, 0.3, 1.0, generator)
    assert float((estimate.positions - true).norm(dim=1).max()) < 0.5


def test_an_affine_map_is_taken_out():
    start = torch.rand(30, 2, dtype=torch.float64) * 90
    turned = start @ torch.tensor([[1.02, 0.01], [-0.02, 0.99]], dtype=torch.float64) + 3
    torch.testing.assert_close(without_map(turned, start), start)


def test_dragging_is_its_own_adjoint_in_the_information(measured):
    scan, image = measured
    now = Estimate.of(scan, image=torch.from_numpy(image.astype(np.complex64)))
    frame = Dragged(Linearised(scan, now, "fourier", {"object", "probe", "positions"}))
    rng = torch.Generator().manual_seed(0)
    a, b = (
        {name: torch.randn(value.shape, dtype=value.dtype, generator=rng) for name, value in frame.gradient.items()}
        for _ in range(2)
    )
    assert set(a) == {"object", "probe", "positions", "map"}
    left, right = dot(frame.information(a), b), dot(a, frame.information(b))
    assert left == pytest.approx(right, rel=1e-3)
    assert dot(frame.information(a), a) > 0


def test_a_common_move_of_frames_moves_the_image_and_changes_no_counts(measured):
    scan, image = measured
    smooth = ndimage.gaussian_filter(image.real, 1) + 1j * ndimage.gaussian_filter(image.imag, 1)
    now = Estimate.of(scan, image=torch.from_numpy(smooth.astype(np.complex64)))
    linear = Linearised(scan, now, "fourier", {"object", "positions"})
    frame = Dragged(linear)
    step = {name: torch.zeros_like(value) for name, value in frame.gradient.items()}
    angle = 0.02 * float(frame._about.square().sum(dim=1).mean().sqrt()) * 20
    step["map"] = torch.tensor([[0.0, angle], [-angle, 0.0]])
    carried, rest = frame.carried(step)
    moved = replace(carried, positions=carried.positions + rest["positions"].double())
    alone = replace(now, positions=moved.positions)
    assert float(rest["positions"].norm(dim=1).max()) > 0.3
    assert abs(linear.at(moved).deviance / linear.deviance - 1) < 0.1 * abs(
        linear.at(alone).deviance / linear.deviance - 1
    )


def test_the_usual_error_follows_the_step():
    grid = np.stack(np.meshgrid(*[np.arange(20) * 27.0] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    assert 8 < usual_error(grid) < 11
    assert usual_error(grid / 27) == 2.0


@pytest.mark.slow
def test_positions_a_third_of_the_step_off_are_placed_and_true_ones_stay(measured):
    scan, _ = measured
    lines: list[str] = []
    assert placed(scan, None, refine_probe=False, report=lines.append) is None
    assert "at the nominal positions" in lines[0]
    wrong = off(scan, 2.5)
    found = placed(wrong, None, refine_probe=False)
    assert found is not None
    assert found.image.shape == found.scan.canvas_shape
    assert error(found.scan.positions, scan.positions) < 0.5 * error(wrong.positions, scan.positions)
