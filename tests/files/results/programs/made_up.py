"""What the scripts in this folder let other programs compute with: two probe modes, and an object of any size."""

import numpy as np

N = 32


def probe() -> np.ndarray:
    """(2, N, N), off centre, curved, of different shapes."""
    y, x = np.mgrid[:N, :N] - N // 2
    mode = 200 * np.exp(-((y - 1) ** 2 + x**2) / 40) * np.exp(0.05j * (y**2 + 1.3 * x**2 + 3 * y))
    return np.stack([mode, 0.3 * mode * y / 5]).astype(np.complex64)


def image(shape: tuple[int, int]) -> np.ndarray:
    """An object without symmetry."""
    wave = np.add.outer(np.sin(np.arange(shape[0]) / 3), np.cos(np.arange(shape[1]) / 2.3))
    return (np.exp(0.4j * wave) * (1 - 0.1 * np.sin(wave))).astype(np.complex64)


def places() -> np.ndarray:
    """Positions (25, 2), (y, x) in pixels, none of them whole."""
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(np.arange(5) * 4.3, np.arange(5) * 4.7, indexing="ij"), axis=-1)
    return grid.reshape(-1, 2) + rng.uniform(-1, 1, (25, 2))
