"""Scans made with numpy alone: probes, objects and detector faults that share no code with the package."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Arrays = dict[str, NDArray]


def probe_of(N: int, kind: str, radius: float) -> NDArray[np.complex128]:
    """A probe (N, N) of unit power: disc, gauss, curved disc, the focus of a round lens, or of a zone plate."""
    y, x = np.mgrid[:N, :N] - N / 2
    r = np.hypot(y, x)
    q = np.hypot(*np.meshgrid(np.fft.fftfreq(N), np.fft.fftfreq(N)))
    match kind:
        case "disc":
            wave = (r < radius) + 0j
        case "gauss":
            wave = np.exp(-((1.5 * r / radius) ** 2) / 2) + 0j
        case "curved":
            wave = np.exp(-((r / radius) ** 8) + 5j * (r / radius) ** 2)
        case "focus":
            wave = np.fft.fftshift(np.fft.ifft2(q < 1 / radius))
        case "zone plate":
            ring = (q < 0.22) & (q > 0.06)
            wave = np.fft.fftshift(np.fft.ifft2(ring * np.exp(83j * radius * q**2)))
    return wave / np.sqrt((abs(wave) ** 2).sum())


def object_of(size: int, kind: str, rng: np.random.Generator) -> NDArray[np.complex128]:
    """A transmission (size, size): vacuum, weak, a phase object, a grating, grains."""
    y, x = np.mgrid[:size, :size]
    rough = ndimage.gaussian_filter(rng.normal(size=(size, size)), 2.5)
    rough /= rough.std()
    match kind:
        case "vacuum":
            return np.ones((size, size), complex)
        case "weak":
            return np.exp((0.4j - 0.1) * rough - 0.15)
        case "phase":
            return np.exp(2j * rough)
        case "grating":
            return (1 - 0.6 * ((x // 5) % 2)) * np.exp(0.8j * ((x // 5) % 2))
    image = np.ones((size, size), complex)
    for row, column in rng.integers(0, size, (size * size // 900, 2)):
        image[np.hypot(y - row, x - column) < rng.uniform(2, 7)] = 0.15 * np.exp(1j)
    return image


def scan_arrays(
    probe: str = "disc",
    radius: float = 12,
    image: str = "weak",
    N: int = 64,
    side: int = 12,
    photons: float = 1e5,
    step: float | None = None,
    seed: int = 0,
) -> Arrays:
    """A scan by the keys of an NPZ file: whole positions on a jittered raster, Poisson counts, the truth."""
    rng = np.random.default_rng(seed)
    step = 0.45 * radius if step is None else step
    wave = probe_of(N, probe, radius) * np.sqrt(photons)
    truth = object_of(int(side * step) + N + 6, image, rng)
    rows, columns = (axis.ravel() * step for axis in np.mgrid[:side, :side])
    jitter = rng.uniform(-0.2, 0.2, (2, side * side)) * step
    y, x = np.round(rows + jitter[0] + N / 2 + 2), np.round(columns + jitter[1] + N / 2 + 2)
    frames = [
        rng.poisson(
            abs(np.fft.fftshift(np.fft.fft2(wave * truth[a - N // 2 :, b - N // 2 :][:N, :N], norm="ortho"))) ** 2
        )
        for a, b in zip(y.astype(int), x.astype(int), strict=True)
    ]
    return {
        "diffraction": np.array(frames, dtype=np.uint32),
        "xcoords": x,
        "ycoords": y,
        "probeGuess": wave[None].astype(np.complex64),
        "objectGuess": truth.astype(np.complex64),
    }
