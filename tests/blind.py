"""Scans whose probe is not told, made by other code than ours: plain numpy, the probe moves between pixels."""

import numpy as np

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


def pattern(edge: int = 2 * SIZE) -> np.ndarray:
    """An object: waves of many directions, clipped."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:edge, :edge]
    waves = sum(np.cos(rng.uniform(0.1, 0.9) * y + rng.uniform(-0.9, 0.9) * x + rng.uniform(0, 6)) for _ in range(9))
    return np.exp(0.5j * np.tanh(waves)) * (1 - 0.1 * (waves > 1))


def scan_of(probe: np.ndarray, step: float, photons: float = 1e6) -> Scan:
    """Frames of :func:`pattern`; the probe of the scan is a point, and its object the true one."""
    rng, image = np.random.default_rng(3), pattern()
    edge = len(image)
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
    return Scan(counts=frames, positions=places, probe=blind, object=image.astype(np.complex64))
