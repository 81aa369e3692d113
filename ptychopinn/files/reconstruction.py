"""Reconstructions on disk: ``reconstruction.npz`` and ``reconstruction.h5`` with the same names."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files.atomic import writing
from ptychopinn.files.formats.npz import load_arrays
from ptychopinn.files.output_folder import file_in

Arrays = dict[str, NDArray[Any]]

NAMES = ("object", "origin", "coverage", "positions")
"""Arrays that every reconstruction file holds."""


def write_reconstruction(folder: Path, arrays: Arrays, attributes: dict[str, float | str]) -> tuple[Path, Path]:
    """Write the same arrays as HDF5 and as NPZ, each whole or not at all.

    Args:
        folder: where ``reconstruction.h5`` and ``reconstruction.npz`` go.
        arrays: ``object`` (H, W) complex64, ``origin`` (2,) object-frame (y, x) of pixel [0, 0], ``coverage``
            (H, W) photons per pixel, ``positions`` (n, 2) pixels (y, x).
        attributes: scalars such as ``pixel_size_m`` and ``deviance``; attributes in HDF5, 0-d arrays in NPZ.

    Returns:
        Both paths.
    """
    npz, hdf5 = folder / "reconstruction.npz", folder / "reconstruction.h5"
    with writing(npz) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays, **{name: np.array(value) for name, value in attributes.items()})  # type: ignore[arg-type]
    with writing(hdf5) as temporary, h5py.File(temporary, "w") as file:
        for name, value in arrays.items():
            file.create_dataset(name, data=value)
        for name, scalar in attributes.items():
            file.attrs[name] = scalar
    return hdf5, npz


def read_reconstruction(path: Path) -> Arrays:
    """Read what :func:`write_reconstruction` wrote.

    Args:
        path: ``reconstruction.h5`` or ``.npz``, or the folder that holds them.

    Returns:
        The arrays, and the attributes as 0-d arrays.

    Raises:
        PtychoError: naming the file, what it holds and what is needed.
    """
    inside = file_in(path)
    if inside is None:
        raise PtychoError(f"{path}: holds no reconstruction.h5 or .npz; 'infer' and 'baseline' write them.")
    path = inside
    arrays = load_arrays(path) if path.suffix == ".npz" else _read_hdf5(path)
    if {"xcoords", "ycoords"} & arrays.keys():
        raise PtychoError(
            f"{path}: is a scan, no image; the folder or file that infer, baseline or refine wrote is needed."
        )
    if missing := [name for name in NAMES if name not in arrays]:
        raise PtychoError(f"{path}: holds no {missing[0]}; a reconstruction has {', '.join(NAMES)}.")
    image, coverage = arrays["object"], arrays["coverage"]
    if image.ndim != 2 or image.dtype.kind != "c" or not np.isfinite(image).all() or not image.any():
        raise PtychoError(f"{path}: object: shape {image.shape}, {image.dtype}; a finite complex (H, W) is needed.")
    if coverage.shape != image.shape or coverage.dtype.kind not in "fui" or not (coverage >= 0).all():
        raise PtychoError(f"{path}: coverage: shape {coverage.shape}; light >= 0 on {image.shape} pixels is needed.")
    if arrays["origin"].shape != (2,) or arrays["origin"].dtype.kind not in "iu":
        raise PtychoError(f"{path}: origin: {arrays['origin'].tolist()}; two whole numbers (y, x) are needed.")
    positions = arrays["positions"]
    if positions.ndim != 2 or positions.shape[1] != 2 or positions.dtype.kind not in "fiu":
        raise PtychoError(f"{path}: positions: shape {positions.shape}, {positions.dtype}; (n, 2) numbers are needed.")
    numbers = arrays.get("frame_numbers")
    if numbers is not None and (numbers.shape != positions.shape[:1] or numbers.dtype.kind not in "iu"):
        raise PtychoError(f"{path}: frame_numbers: shape {numbers.shape}; one whole number per position is needed.")
    return arrays


def _read_hdf5(path: Path) -> Arrays:
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: np.asarray(file[name]) for name in file if isinstance(file[name], h5py.Dataset)}
            return arrays | {name: np.asarray(value) for name, value in file.attrs.items()}
    except FileNotFoundError:
        raise PtychoError(f"{path}: no such file.") from None
    except (OSError, RuntimeError, KeyError, ValueError):
        raise PtychoError(f"{path}: is no readable HDF5 file.") from None
