"""The search for a probe of which nothing is known, on scans of other code than ours."""

import numpy as np
import pytest
import torch

from ptychopinn.engines.probe_search import search_probe, search_size, starts
from ptychopinn.physics.probe import probe_power
from ptychopinn.physics.start_probes import alike
from ptychopinn.scan.beam import mean_root
from ptychopinn.scan.scan import Scan

SIZE = 48


def disc(radius: float, curvature: float) -> np.ndarray:
    """A disc with a parabolic phase."""
    axis = np.arange(SIZE) - SIZE // 2
    r = np.hypot(axis[:, None], axis[None, :])
    return np.exp(1j * curvature * (r / radius) ** 2) / (1 + np.exp((r - radius) / 0.7))


def lens(aperture: float, curvature: float, stop: float = 0.0) -> np.ndarray:
    """A pupil with a central stop, and defocus."""
    axis = np.arange(SIZE) - SIZE // 2
    r = np.hypot(axis[:, None], axis[None, :])
    pupil = 1 / (1 + np.exp((r - aperture) / 0.6)) - (1 / (1 + np.exp((r - stop) / 0.6)) if stop else 0)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil * np.exp(1j * curvature * r**2)), norm="ortho"))


def scan_of(probe: np.ndarray, step: float, photons: float = 1e6) -> Scan:
    """Frames of a patterned object; the probe moves between pixels by its Fourier transform. Its own is not told."""
    rng = np.random.default_rng(3)
    edge = 2 * SIZE
    y, x = np.mgrid[:edge, :edge]
    waves = sum(np.cos(rng.uniform(0.1, 0.9) * y + rng.uniform(-0.9, 0.9) * x + rng.uniform(0, 6)) for _ in range(9))
    image = np.exp(0.5j * np.tanh(waves)) * (1 - 0.1 * (waves > 1))
    axis = np.arange(SIZE / 2 + 1, edge - SIZE / 2 - 1, step)
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    places += rng.uniform(-0.25 * step, 0.25 * step, places.shape).clip(-1, 1)
    k = np.fft.fftfreq(SIZE)
    light = probe * np.sqrt(photons / (abs(probe) ** 2).sum())
    frames = np.empty((len(places), SIZE, SIZE), np.float32)
    for frame, place in zip(frames, places, strict=True):
        whole = np.floor(place).astype(int)
        turn = np.exp(-2j * np.pi * (k[:, None] * (place - whole)[0] + k[None] * (place - whole)[1]))
        low = whole - SIZE // 2
        wave = np.fft.ifft2(np.fft.fft2(light) * turn) * image[low[0] : low[0] + SIZE, low[1] : low[1] + SIZE]
        frame[:] = rng.poisson(abs(np.fft.fftshift(np.fft.fft2(wave, norm="ortho"))) ** 2)
    blind = np.zeros((1, SIZE, SIZE), np.complex64)
    blind[0, SIZE // 2, SIZE // 2] = 1
    return Scan(counts=frames, positions=places, probe=blind)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("true", "step"), [(disc(10.0, 2.0), 3.5), (lens(10.0, 0.05, 4.0), 3.5), (lens(9.0, -0.05), 3.0)]
)
def test_the_probe_is_found_up_to_a_shift(true, step):
    scan = scan_of(true, step)
    lines: list[str] = []
    found = search_probe(scan, torch.from_numpy(mean_root(scan)), report=lines.append)
    assert found.probe.shape == (1, SIZE, SIZE)
    assert alike(torch.from_numpy(found.probe), torch.from_numpy(true[None])) > 0.95
    assert found.rival is None
    assert found.trials[0][1] < 0.5 * found.trials[-1][1]
    assert len(lines) == 3


@pytest.mark.slow
def test_the_modes_asked_for_are_made_orthogonal():
    scan = scan_of(disc(10.0, 2.0), 4.0)
    found = search_probe(scan, torch.from_numpy(mean_root(scan)), modes=2)
    modes = torch.from_numpy(found.probe)
    assert modes.shape == (2, SIZE, SIZE)
    assert abs(complex(torch.vdot(modes[0].flatten(), modes[1].flatten()))) < 1e-2 * float(probe_power(modes).sum())


def test_starts_have_both_signs_and_fit_into_the_frame():
    axis = torch.arange(64.0) - 32
    root = (axis[:, None].square() + axis[None].square() < 14**2).double()
    made = dict(starts(root))
    curved = [name for name in made if "curvature" in name]
    assert len(curved) >= 8 and sum("+" in name for name in curved) == len(curved) / 2
    assert len(made) == len(curved) + 1 + sum("disc" in name for name in made)
    for name, probe in made.items():
        light = probe.abs().square()[0]
        assert float(light[8:-8, 8:-8].sum() / light.sum()) > 0.6, name


@pytest.mark.parametrize(("radius", "size"), [(5.0, 48), (30.0, 64), (80.0, 128)])
def test_the_search_takes_the_part_of_the_detector_that_is_lit(radius, size):
    axis = torch.arange(256.0) - 128
    root = (axis[:, None].square() + axis[None].square() < radius**2).double()
    assert search_size(root) == size
