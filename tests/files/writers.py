"""Writers of the layouts of other programs, by their rules, and what must be read of them."""

from pathlib import Path

import h5py
import numpy as np

from ptychopinn.files.values import HC_EV_M
from ptychopinn.scan.scan import Scan

ENERGY_KEV, DISTANCE_M, PITCH_M = 8.0, 2.0, 75e-6
WAVELENGTH_M = HC_EV_M / (1e3 * ENERGY_KEV)


def metres(scan: Scan, pixel: float) -> np.ndarray:
    """Positions (n, 2) as (y, x) in metres, from an origin of no meaning."""
    return scan.positions * pixel - 3e-6


def write_ptyd(path: Path, scan: Scan, pixel: float, **meta: object) -> None:
    """Chunks of 10 frames, each with its weights; ``meta`` as PtyPy's h5rw stores it, None as a marked zero."""
    known = {"energy": ENERGY_KEV, "distance": DISTANCE_M, "psize": [PITCH_M, PITCH_M], "center": None, "label": None}
    known |= {"shape": [scan.N, scan.N], "num_frames": len(scan), "propagation": b"farfield"} | meta
    with h5py.File(path, "w") as file:
        for name, value in known.items():
            item = file.create_dataset(f"meta/{name}", data=np.zeros(1) if value is None else value)
            item.attrs["type"] = "None" if value is None else "array"
        for number, start in enumerate(range(0, len(scan), 10)):
            rows = slice(start, start + 10)
            group = file.create_group(f"chunks/{number}")
            group["data"], group["positions"] = scan.counts[rows], metres(scan, pixel)[rows]
            group["indices"], group["weights"] = np.arange(len(scan))[rows], np.ones(scan.counts[rows].shape)


def write_nsls2(path: Path, key: str, frames: np.ndarray, points_um: np.ndarray, attributes: bool = False) -> None:
    numbers = {"lambda_nm": 1e9 * WAVELENGTH_M, "z_m": DISTANCE_M, "ccd_pixel_um": 1e6 * PITCH_M}
    with h5py.File(path, "w") as file:
        file[key], file["points"] = frames, points_um
        for name, value in numbers.items():
            (file.attrs if attributes else file)[name] = value


def write_training(path: Path, scan: Scan, pixel: float) -> None:
    """The training export of ptychodus."""
    numbers = {"object_pixel_width_m": pixel, "object_pixel_height_m": pixel, "photon_energy_eV": 1e3 * ENERGY_KEV}
    with h5py.File(path, "w") as file:
        file["patterns"], file["probe"] = scan.counts, scan.probe
        file["probe_position_y_px"], file["probe_position_x_px"] = scan.positions.T - 0.5
        file["bad_pixels"] = np.zeros((scan.N, scan.N), bool)
        for name, value in (numbers | {"detector_object_distance_m": DISTANCE_M}).items():
            file[name] = value


def write_para(path: Path, scan: Scan, pixel: float) -> None:
    with h5py.File(path, "w") as file:
        (file["ppY"], file["ppX"]), file["dx"] = metres(scan, pixel).T, pixel


def write_counts(path: Path, scan: Scan, pixel: float) -> None:
    write_nsls2(path, "dp", scan.counts, 1e6 * metres(scan, pixel)[:, ::-1].T)


WRITERS = {"scan.ptyd": write_ptyd, "training.h5": write_training, "para.h5": write_para, "nsls2.h5": write_counts}


def corner_first(frames: np.ndarray) -> np.ndarray:
    return np.fft.ifftshift(frames, axes=(1, 2))


def assert_same(found: Scan, scan: Scan) -> None:
    """The same frames at the same places, but for where the image begins; the same probe."""
    np.testing.assert_array_equal(found.counts, scan.counts)
    moved, known = (each.positions - each.positions[0] for each in (found, scan))
    np.testing.assert_allclose(moved, known, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.probe, scan.probe)
