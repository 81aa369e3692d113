"""Reconstructions on disk: ``reconstruction.npz`` and ``reconstruction.h5`` with the same names."""

from pathlib import Path
from typing import Any, Final, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files import nexus
from ptychopinn.files.atomic import writing
from ptychopinn.files.conventions.own_folder import opened_file
from ptychopinn.files.naming import naming
from ptychopinn.files.npz_arrays import NpzArrays
from ptychopinn.files.output_folder import file_in
from ptychopinn.files.written_hdf5 import writing_hdf5
from ptychopinn.reconstruction import Reconstruction, StdOf

Arrays = dict[str, NDArray[Any]]

NAMES = ("object", "origin", "coverage", "positions")
"""Arrays of every reconstruction file."""

OF_SCAN, OF_FIT = "scan", "fit"
"""What ``probe_of`` says of the probe: the fit kept that of the scan, or found it."""

ARRAYS: Final = {
    "object": np.complex64,
    "coverage": np.float32,
    "positions": np.float64,
    "frame_numbers": np.int64,
    "probe": np.complex64,
    "amplitude_std": np.float32,
    "phase_std": np.float32,
    "prior_powers": np.float64,
    "prior_spots": np.int64,
    "prior_share": np.float32,
    "frame_deviance": np.float64,
    "expected_frame_deviance": np.float64,
    "frame_photons": np.float64,
    "flux": np.float64,
    "background": np.float32,
    "opr_modes": np.complex64,
    "opr_weights": np.float64,
}
"""Arrays of a reconstruction file besides ``origin``, and their dtypes."""


def write_reconstruction(
    folder: Path,
    result: Reconstruction,
    probe: NDArray[np.complex64] | None = None,
    provenance: str | None = None,
) -> tuple[Path, Path]:
    """Write the same arrays and attributes as HDF5 and as NPZ, each whole or not at all.

    Scalars such as ``pixel_size_m`` and ``deviance_per_pixel`` are attributes in HDF5 and 0-d arrays in NPZ. The HDF5
    file also has the plots of :mod:`ptychopinn.files.nexus`.

    Args:
        folder: of ``reconstruction.h5`` and ``reconstruction.npz``.
        result: to write.
        probe: of the scan, (m, N, N), for an image whose fit kept it; ``probe_of`` says which one the file has.
        provenance: JSON text of command, version and settings, for the HDF5 file.

    Returns:
        Both paths.
    """
    arrays = {"origin": np.array(result.origin)}
    arrays |= {name: value for name in ARRAYS if (value := getattr(result, name)) is not None}
    if result.probe is None and probe is not None:
        arrays["probe"] = probe
    attributes: dict[str, float | str] = {
        "deviance_per_pixel": result.deviance,
        "expected_deviance_per_pixel": result.expected_deviance,
        "subpixel": result.subpixel,
    }
    if "probe" in arrays:
        attributes["probe_of"] = OF_SCAN if result.probe is None else OF_FIT
    if result.fitted:
        attributes["fitted"] = " ".join(result.fitted)
    if result.phase_std is not None:
        attributes["std_of"] = result.std_of
    if result.pixel_size_m is not None:
        attributes["pixel_size_m"] = result.pixel_size_m
    npz, hdf5 = folder / "reconstruction.npz", folder / "reconstruction.h5"
    with writing(npz) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays, **{name: np.array(value) for name, value in attributes.items()})  # type: ignore[arg-type]
    with writing_hdf5(hdf5) as file:
        for name, value in arrays.items():
            file.create_dataset(name, data=value)
        file.attrs.update(attributes)
        nexus.add_plots(file, result, provenance)
    return hdf5, npz


def read_reconstruction(path: Path) -> Reconstruction:
    """Read what :func:`write_reconstruction` wrote.

    Args:
        path: ``reconstruction.h5`` or ``.npz``, or their folder.

    Raises:
        PtychoError: naming the file, what it holds and what is needed.
    """
    path = reconstruction_file(path)
    arrays = _read_npz(path) if path.suffix == ".npz" else _read_hdf5(path)
    with naming(path):
        check_arrays(arrays)
    if str(arrays.get("probe_of", "")) == OF_SCAN:
        del arrays["probe"]
    row, col = arrays["origin"].tolist()
    size = arrays.get("pixel_size_m")
    known: dict[str, Any] = {name: arrays[name].astype(kind) for name, kind in ARRAYS.items() if name in arrays}
    return Reconstruction(
        origin=(row, col),
        pixel_size_m=None if size is None else float(size),
        deviance=float(arrays.get("deviance_per_pixel", np.nan)),
        expected_deviance=float(arrays.get("expected_deviance_per_pixel", np.nan)),
        subpixel="fourier" if str(arrays.get("subpixel", "")) == "fourier" else "bilinear",
        fitted=tuple(str(arrays.get("fitted", "")).split()),
        std_of=next((kind for kind in get_args(StdOf) if kind == str(arrays.get("std_of", ""))), "patches"),
        **known,
    )


ATTRIBUTES = ("deviance_per_pixel", "expected_deviance_per_pixel", "subpixel", "std_of", "pixel_size_m", "fitted")
"""Numbers and texts of an image."""


def reconstruction_file(path: Path) -> Path:
    """The file itself, or in a folder the one that :func:`read_reconstruction` reads."""
    inside = file_in(path)
    if inside is None:
        raise PtychoError(f"{path}: holds no reconstruction.h5 or .npz; 'infer' and 'baseline' write them.")
    return inside


def check_arrays(arrays: Arrays) -> None:
    """Refuse arrays that are no reconstruction."""
    if {"xcoords", "ycoords"} & arrays.keys():
        raise PtychoError("is a scan, no image; the folder or file that infer, baseline or refine wrote is needed.")
    if missing := [name for name in NAMES if name not in arrays]:
        raise PtychoError(f"holds no {missing[0]}; a reconstruction has {', '.join(NAMES)}.")
    image, coverage = arrays["object"], arrays["coverage"]
    if image.ndim != 2 or image.dtype.kind != "c" or not np.isfinite(image).all() or not image.any():
        raise PtychoError(f"object: shape {image.shape}, {image.dtype}; a finite complex (H, W) is needed.")
    if coverage.shape != image.shape or coverage.dtype.kind not in "fui" or not (coverage >= 0).all():
        raise PtychoError(f"coverage: shape {coverage.shape}; light >= 0 on {image.shape} pixels is needed.")
    if arrays["origin"].shape != (2,) or arrays["origin"].dtype.kind not in "iu":
        raise PtychoError(f"origin: {arrays['origin'].tolist()}; two whole numbers (y, x) are needed.")
    positions = arrays["positions"]
    if positions.ndim != 2 or positions.shape[1] != 2 or positions.dtype.kind not in "fiu":
        raise PtychoError(f"positions: shape {positions.shape}, {positions.dtype}; (n, 2) numbers are needed.")
    for name in ("frame_deviance", "expected_frame_deviance", "frame_photons"):
        if name in arrays and (arrays[name].shape[-1:] != positions.shape[:1] or arrays[name].dtype.kind not in "fiu"):
            raise PtychoError(f"{name}: shape {arrays[name].shape}; a number for each position is needed.")
    numbers = arrays.get("frame_numbers")
    if numbers is not None and (numbers.shape != positions.shape[:1] or numbers.dtype.kind not in "iu"):
        raise PtychoError(f"frame_numbers: shape {numbers.shape}; one whole number per position is needed.")


def arrays_of(file: h5py.File) -> Arrays:
    """Datasets and attributes at the top of a file."""
    arrays = {name: np.asarray(file[name]) for name in file if isinstance(file[name], h5py.Dataset)}
    return arrays | {name: np.asarray(value) for name, value in file.attrs.items()}


def _read_npz(path: Path) -> Arrays:
    arrays = NpzArrays(path)
    known = {*ARRAYS, *ATTRIBUTES, "origin", "probe_of", "xcoords", "ycoords"}
    return {name: arrays[name] for name in arrays if name in known}


def _read_hdf5(path: Path) -> Arrays:
    try:
        with opened_file(path) as file:
            return arrays_of(file)
    except FileNotFoundError:
        raise PtychoError(f"{path}: no such file.") from None
    except (OSError, RuntimeError, KeyError, ValueError):
        raise PtychoError(f"{path}: is no readable HDF5 file.") from None
