"""A 4D-STEM scan in plain NumPy, and the files that programs of the field write of one."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

WAVELENGTH_M = 1.9687e-12
"""Of electrons of 300 kV."""

SEMIANGLE, DEFOCUS_M, N = 20e-3, 150e-10, 64
ANGLE_PER_PIXEL = 1.25e-3
PIXEL_M = WAVELENGTH_M / (N * ANGLE_PER_PIXEL)
STEP_M = 0.7e-10


@dataclass(frozen=True)
class Stem:
    """Frames (rows, columns, N, N), positions (y, x) of patch corners in px, probe and object."""

    frames: np.ndarray
    corners: np.ndarray
    probe: np.ndarray
    object: np.ndarray


def lens_probe() -> np.ndarray:
    """Of an aperture of 20 mrad at a defocus of 150 A, unit power, (N, N)."""
    k = (np.arange(N) - N // 2) * ANGLE_PER_PIXEL / WAVELENGTH_M
    squared = k[:, None] ** 2 + k[None, :] ** 2
    wave = (squared <= (SEMIANGLE / WAVELENGTH_M) ** 2) * np.exp(1j * np.pi * WAVELENGTH_M * DEFOCUS_M * squared)
    probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(wave)))
    return probe / np.sqrt((np.abs(probe) ** 2).sum())


def atoms(size: int, seed: int = 0) -> np.ndarray:
    """A phase object: Gaussians of 0.4 A where atoms of a turned square lattice with some missing are, (size, size)."""
    generator = np.random.default_rng(seed)
    y, x = np.indices((size, size)) * PIXEL_M * 1e10
    phase = np.zeros((size, size))
    for i in range(-20, 40):
        for j in range(-20, 40):
            cy, cx = 2.0 * (0.96 * i - 0.28 * j), 2.0 * (0.28 * i + 0.96 * j)
            if generator.random() < 0.8 and -2 < cy < y.max() + 2 and -2 < cx < x.max() + 2:
                phase += generator.uniform(0.3, 0.7) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 0.4**2))
    return np.exp(1j * phase)


def raster(rows: int, columns: int, rotation_deg: float = 0.0, transpose: bool = False) -> np.ndarray:
    """Patch corners in px, whole: the object is cut without interpolation."""
    y, x = (index.ravel() * STEP_M / PIXEL_M for index in np.indices((rows, columns)).astype(float))
    angle = np.deg2rad(rotation_deg)
    y, x = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    places = np.stack([x, y] if transpose else [y, x], axis=-1)
    return places - places.min(axis=0)


def simulate(
    rows: int = 24,
    columns: int = 24,
    dose: float = 1e4,
    rotation_deg: float = 0.0,
    transpose: bool = False,
    seed: int = 0,
) -> Stem:
    """Poisson counts of a phase object, its patches moved between pixels by Fourier shifts of the probe."""
    corners = raster(rows, columns, rotation_deg, transpose)
    whole = np.floor(corners).astype(int)
    image = atoms(int(whole.max()) + N + 2, seed)
    probe = lens_probe() * np.sqrt(dose)
    k = np.fft.fftfreq(N)
    spectrum, generator = np.fft.fft2(probe), np.random.default_rng(seed + 1)
    frames = np.empty((len(corners), N, N), np.uint16)
    for number, (corner, (y, x)) in enumerate(zip(corners - whole, whole, strict=True)):
        moved = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (k[:, None] * corner[0] + k[None, :] * corner[1])))
        wave = np.fft.fftshift(np.fft.fft2(moved * image[y : y + N, x : x + N], norm="ortho"))
        frames[number] = generator.poisson(np.abs(wave) ** 2)
    return Stem(frames.reshape(rows, columns, N, N), corners, probe.astype(np.complex64), image)


def write_py4dstem(
    path: Path,
    frames: np.ndarray,
    probe: np.ndarray | None = None,
    q: tuple[float, str] = (ANGLE_PER_PIXEL / WAVELENGTH_M * 1e-10, "A^-1"),
    r: tuple[float, str] = (STEP_M * 1e10, "A"),
    **calibration: object,
) -> Path:
    """A file of the layout that py4DSTEM 0.14 writes."""
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {"emd_group_type": "file", "version_major": 1, "version_minor": 0, "authoring_program": "emdfile"}
        )
        root = file.create_group("datacube_root")
        root.attrs.update({"emd_group_type": "root", "python_class": "Root"})
        cube = root.create_group("datacube")
        cube.attrs.update({"emd_group_type": "array", "python_class": "DataCube"})
        cube["data"] = frames
        cube["data"].attrs["units"] = "pixel intensity"
        for axis, (name, (step, unit)) in enumerate(zip(("Rx", "Ry", "Qx", "Qy"), (r, r, q, q), strict=True)):
            cube[f"dim{axis}"] = np.array([0.0, step])
            cube[f"dim{axis}"].attrs.update({"name": name, "units": unit})
        if probe is not None:
            group = root.create_group("probe")
            group.attrs.update({"emd_group_type": "array", "python_class": "Array"})
            group["data"] = probe
        values = {"Q_pixel_size": q[0], "Q_pixel_units": q[1], "R_pixel_size": r[0], "R_pixel_units": r[1]}
        kept = root.create_group("metadatabundle/calibration")
        for key, value in (values | calibration).items():
            kept[key] = value
    return path


def write_empad(path: Path, frames: np.ndarray) -> Path:
    """Frames (n, 128, 128) as the EMPAD writes them, two rows of something else behind each."""
    rows = np.full((len(frames), 130, 128), 7e5, "<f4")
    rows[:, :128] = frames
    rows.tofile(path)
    return path


def phase_error(image: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square of the phase difference, rad, after the best global phase; arrays of the same pixels."""
    product = image * truth.conj()
    product = product * np.exp(-1j * np.angle(product.sum()))
    return float(np.sqrt(np.mean(np.angle(product) ** 2)))
