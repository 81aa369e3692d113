"""Frames under conditions that their file does not say, made by plain numpy."""

import numpy as np

from ptychopinn.scan.scan import Scan

N, SIDE, STEP, DOSE = 40, 10, 5.0, 1e6

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def made() -> Parts:
    """Object, curved disc for a probe, and whole-pixel corners of 100 patches.

    A Gaussian probe would not do: a slope of its flux is the same as a shift, and no fit can tell.
    """
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:N, :N] - N / 2
    probe = np.exp(1.5j * (y**2 + x**2) / 49) / (1 + np.exp(np.hypot(y, x) - 7))
    probe *= np.sqrt(DOSE / (abs(probe) ** 2).sum())
    edge = int(N + (SIDE - 1) * STEP + 6)
    frequency = np.hypot(np.fft.fftfreq(edge)[:, None], np.fft.fftfreq(edge))
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(2, edge, edge))) * np.exp(-((frequency / 0.12) ** 2))).real
    field /= field.std()
    image = np.exp(0.4j * field[0]) * (1 - 0.1 * np.tanh(field[1]) ** 2)
    corners = np.array([(i * STEP, j * STEP) for i in range(SIDE) for j in range(SIDE)])
    return image, probe, (corners + rng.integers(0, 3, corners.shape)).astype(int)


def measured(parts: Parts, flux=1.0, background=0.0, change=0.0, brighter=1.0) -> Scan:
    """A scan under conditions that its positions and probe do not say."""
    image, probe, corners = parts
    probe = np.sqrt(brighter) * probe
    patches = np.stack([image[i : i + N, j : j + N] for i, j in corners])
    y = np.mgrid[:N, :N][0] - N / 2
    mode = probe * np.sin(y / 3)
    mode -= probe * np.vdot(probe, mode) / np.vdot(probe, probe)
    weights = np.reshape(change, (-1, 1, 1)) * np.linspace(-1, 1, len(corners))[:, None, None]
    rates = abs(np.fft.fftshift(np.fft.fft2((probe + weights * mode) * patches, norm="ortho"), axes=(1, 2))) ** 2
    counts = np.random.default_rng(1).poisson(np.reshape(flux, (-1, 1, 1)) * rates + background)
    return Scan(counts.astype(np.uint32), (corners + N // 2).astype(float), probe[None].astype(np.complex64))


def phase_error(result, image) -> float:
    """Mean absolute phase error between the outermost positions, without shift of the phase."""
    low, high = result.positions.min(axis=0).astype(int), result.positions.max(axis=0).astype(int)
    box = slice(low[0], high[0]), slice(low[1], high[1])
    turn = result.window(image.shape)[box] * image[box].conj()
    return float(abs(np.angle(turn * np.exp(-1j * np.angle(turn.sum())))).mean())
