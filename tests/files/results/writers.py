"""Writers of the results of other programs, by their rules: the frames of a scan seen by its object and its probe.

Each puts the image somewhere of its own: a border around it, an origin in metres, positions of another meaning.
"""

from functools import partial
from pathlib import Path

import h5py
import numpy as np

from ptychopinn.scan.scan import Scan

PIXEL_M, WAVELENGTH_M, DISTANCE_M = 4e-8, 1.55e-10, 1.0
BORDER = (5, 9)


def padded(scan: Scan) -> np.ndarray:
    """The object with a border of vacuum, as wide below as above."""
    assert scan.object is not None
    return np.pad(scan.object, [(BORDER[0],) * 2, (BORDER[1],) * 2], constant_values=1)


def write_phaser(path: Path, scan: Scan, version: str = "0.2") -> None:
    """Lengths in angstrom; the middle of a patch, index (N - 1) / 2, lies on the position."""
    edge = 1e10 * PIXEL_M
    corner = np.array([-700.0, 450.0])
    with h5py.File(path, "w") as file:
        for name, text in (("type", "phaser_state"), ("version", version)):
            file.create_dataset(name, (), h5py.string_dtype(), text)
        file["wavelength"] = 0.0197
        file["probe/data"], file["probe/sampling"] = scan.probe, [edge, edge]
        file["probe/extent"] = [edge * scan.N] * 2
        file["object/data"], file["object/sampling"] = padded(scan)[None], [edge, edge]
        file["object/thicknesses"], file["object/corner"] = np.zeros(1), corner
        file["object/region_min"] = h5py.Empty("f8")
        first_pixel = scan.positions + BORDER - scan.N / 2
        file["scan/data" if version == "0.2" else "scan"] = (corner + edge * (first_pixel + (scan.N - 1) / 2)).reshape(
            8, -1, 2
        )


def write_ptyrad(path: Path, scan: Scan) -> None:
    """Corners of the patches in whole pixels, and shifts of the probe; sum |probe|^2 = 1."""
    image, corners = padded(scan), scan.positions + BORDER - scan.N / 2
    whole = np.round(corners).astype(np.int32)
    with h5py.File(path, "w") as file:
        found = file.create_group("optimizable_tensors")
        found["obja"], found["objp"] = (part[None, None].astype(np.float32) for part in (abs(image), np.angle(image)))
        found["probe"] = scan.probe / np.sqrt((abs(scan.probe) ** 2).sum())
        found["probe_pos_shifts"] = (corners - whole).astype(np.float32)
        file["model_attributes/crop_pos"], file["model_attributes/dx"] = whole, np.float32(1e10 * PIXEL_M)
        file["ptyrad_version"], file["params/init_params/meas_flipT"] = "1.0.0", "__NONE__"


def write_cdtools(path: Path, scan: Scan) -> None:
    """Translations of the beam in the laboratory, rows along -y and columns along -x."""
    basis = np.array([[0, -PIXEL_M], [-PIXEL_M, 0], [0, 0]])
    corners = scan.positions - scan.N / 2
    there = corners + [3.25, -8.5]  # pixels of the laboratory
    with h5py.File(path, "w") as file:
        file["obj"], file["obj_basis"], file["probe_basis"] = padded(scan), basis, basis
        norm = abs(scan.probe[0]).max()
        file["probe"], file["state_dict/probe"], file["state_dict/probe_norm"] = scan.probe, scan.probe / norm, norm
        file["translations"] = file["original_translations"] = there @ basis.T
        file["background"], file["oversampling"] = np.zeros((scan.N, scan.N)), 1
        file["weights"], file["wavelength"] = np.ones(len(scan)), WAVELENGTH_M
        file["state_dict/min_translation"] = there[0] - corners[0] - BORDER
        file["state_dict/surface_normal"], file["state_dict/fourier_probe"] = [0.0, 0.0, 1.0], False
        file["model_class"] = "FancyPtycho"


def write_ptyr(path: Path, scan: Scan) -> None:
    """Storages with ``_psize`` and ``_origin``; the propagator has the curvature that the probe lacks."""
    y, x = np.mgrid[: scan.N, : scan.N] - scan.N // 2
    curvature = np.exp(1j * np.pi * PIXEL_M**2 * (y**2 + x**2) / (WAVELENGTH_M * DISTANCE_M))
    origin = np.array([-2.3e-6, 1.1e-6])
    with h5py.File(path, "w") as file:
        file["header/kind"] = "minimal"
        for name, data, start in (("probe", scan.probe / curvature, (0, 0)), ("obj", padded(scan)[None], origin)):
            group = file.create_group(f"content/{name}/Sscan00G00")
            group["data"], group["_psize"], group["_origin"] = data, [PIXEL_M, PIXEL_M], start
        file["content/probe/Sscan00G00/_energy"] = 1.239841984332e-9 / WAVELENGTH_M
        file["content/pars/scans/MF/data/distance"] = DISTANCE_M
        file["content/positions/Sscan00G00"] = origin + PIXEL_M * (scan.positions + BORDER)


def write_ptychodus(path: Path, scan: Scan) -> None:
    """The middle of the object, index (H - 1) / 2, lies on ``object_center``, that of a patch on its position."""
    image, center = padded(scan), np.array([2e-6, -3e-6])
    middle = (np.array(image.shape) - 1) / 2
    places = center + PIXEL_M * (scan.positions + BORDER - scan.N / 2 + (scan.N - 1) / 2 - middle)
    edges = {f"{part}_pixel_{edge}_m": PIXEL_M for part in ("probe", "object") for edge in ("height", "width")}
    np.savez(
        path,
        name="scan 7",
        comments="",
        detector_object_distance_m=DISTANCE_M,
        photon_energy_eV=1.239841984332e-6 / WAVELENGTH_M,
        probe_position_indexes=np.arange(len(scan)),
        probe_position_y_m=places[:, 0],
        probe_position_x_m=places[:, 1],
        probe=scan.probe[None],
        object=image[None],
        object_center_y_m=center[0],
        object_center_x_m=center[1],
        object_layer_spacing_m=np.zeros(0),
        loss_epochs=np.arange(2),
        loss_values=np.array([2.0, 1.0]),
        **edges,
    )


WRITERS = {
    "iter10.h5": partial(write_phaser, version="0.1"),
    "iter20.h5": write_phaser,
    "model_iter0020.hdf5": write_ptyrad,
    "cdtools.h5": write_cdtools,
    "scan_ML_0300.ptyr": write_ptyr,
    "product.npz": write_ptychodus,
}
