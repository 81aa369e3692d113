"""A detector in plain numpy and h5py, which shares no code with the package: frames, and a file that grows."""

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

FRAMES = "entry_1/instrument_1/detector_1/data"
POSITIONS = "entry_1/sample_1/geometry_1/translation"
DETECTOR = "entry_1/instrument_1/detector_1"
ENERGY_J, WAVELENGTH, DISTANCE, PITCH = 1.602176634e-15, 1.239841984e-10, 2.0, 75e-6
"""10 keV."""


class Measured(NamedTuple):
    """Frames (n, N, N) uint16, positions (n, 2), (y, x) in pixels, and the probe (N, N)."""

    frames: NDArray[np.uint16]
    positions: NDArray[np.float64]
    probe: NDArray[np.complex64]


def measure(count: int = 36, size: int = 32, seed: int = 0, photons: float = 2e4) -> Measured:
    """Frames of a smooth random object behind a Gaussian probe, ``|fftshift(fft2(P O))|^2``, on a jittered raster."""
    random = np.random.default_rng(seed)
    side = int(np.ceil(count**0.5))
    edge = size + 4 * side + 8
    waves = np.fft.fftfreq(edge)[:, None] ** 2 + np.fft.fftfreq(edge)[None, :] ** 2
    noise = np.fft.fft2(random.normal(size=(2, edge, edge))) * np.exp(-waves * 200)
    height, phase = np.fft.ifft2(noise).real
    image = (0.8 + 0.1 * np.tanh(8 * height)) * np.exp(1j * np.tanh(8 * phase))
    axis = np.arange(size) - size // 2
    probe = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * (size / 8) ** 2)) * np.exp(
        0.02j * (axis[:, None] ** 2 + axis[None, :] ** 2)
    )
    probe *= (photons / (abs(probe) ** 2).sum()) ** 0.5
    rows = 4 * np.stack(np.divmod(np.arange(count), side), axis=-1) + random.integers(0, 2, (count, 2)) + 2
    fields = [np.fft.fft2(probe * image[y : y + size, x : x + size], norm="ortho") for y, x in rows]
    frames = random.poisson(abs(np.fft.fftshift(fields, axes=(1, 2))) ** 2).astype(np.uint16)
    return Measured(frames, rows + size / 2, probe.astype(np.complex64))


def pixel(size: int) -> float:
    """Edge of an object pixel in metres, in the far field."""
    return WAVELENGTH * DISTANCE / (size * PITCH)


def begin(path: Path, scan: Measured, length: int = 0, fill: Any = 0, dtype: Any = np.uint16) -> None:
    """A CXI file without a frame yet; with ``length`` room for as many was made before, and holds ``fill``."""
    size = scan.frames.shape[1]
    with h5py.File(path, "w", libver="latest") as file:
        file["cxi_version"] = 160
        for name, shape, kind in ((FRAMES, (size, size), dtype), (POSITIONS, (3,), np.float64)):
            options = {"maxshape": (None, *shape), "chunks": (1, *shape), "fillvalue": fill}
            file.create_dataset(name, (length, *shape), kind, **options)
        file["entry_1/data_1/data"] = h5py.SoftLink(f"/{FRAMES}")
        file[f"{DETECTOR}/distance"] = DISTANCE
        file[f"{DETECTOR}/x_pixel_size"] = file[f"{DETECTOR}/y_pixel_size"] = PITCH
        file["entry_1/instrument_1/source_1/energy"] = ENERGY_J
        file["entry_1/image_1/data"] = scan.probe


def append(path: Path, scan: Measured, start: int, stop: int) -> None:
    """Frames and positions ``start`` to ``stop``, at their place."""
    with h5py.File(path, "r+") as file:
        frames, places = file[FRAMES], file[POSITIONS]
        for dataset in (frames, places):
            if len(dataset) < stop:
                dataset.resize(stop, axis=0)
        frames[start:stop] = scan.frames[start:stop]
        y, x = (scan.positions[start:stop] * pixel(scan.frames.shape[1])).T
        places[start:stop] = np.stack([-x, -y, 0 * x], axis=-1)


def change(path: Path, name: str, row: int, value: Any) -> None:
    """Overwrite one frame or position."""
    with h5py.File(path, "r+") as file:
        file[name][row] = value
