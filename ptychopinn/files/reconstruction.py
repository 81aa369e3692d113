"""Reconstructions on disk: ``reconstruction.npz`` and ``reconstruction.h5`` with the same names."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.files.atomic import writing

Arrays = dict[str, NDArray[Any]]


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
