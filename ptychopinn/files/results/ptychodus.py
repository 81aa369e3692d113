"""Products of ptychodus as NPZ. Read only: it has the names of the HDF5 product, attributes and all, as arrays."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files.formats import ptychodus
from ptychopinn.files.formats.npz import load_arrays
from ptychopinn.files.hdf5 import IN_MEMORY
from ptychopinn.files.record import NO_FRAMES, Array, Record

PIXELS = ("pixel_height_m", "pixel_width_m")
CENTER = ("center_y_m", "center_x_m")


def read_npz_product(path: Path) -> Record:
    """Read a product, through the layout of its HDF5 sister.

    Raises:
        PtychoError: naming the file and the array, and what is needed.
    """
    arrays = load_arrays(path)
    try:
        with h5py.File(io.BytesIO(), "w") as file:
            _lay_out(file, arrays)
            record = ptychodus._product(file, IN_MEMORY)
    except PtychoError as error:
        raise PtychoError(f"{path}: {error}") from None
    return replace(record, format="ptychodus-product-npz", absent={"counts": NO_FRAMES})


def _lay_out(file: h5py.File, arrays: Mapping[str, Array]) -> None:
    """Arrays where the HDF5 product has datasets, and attributes where it has these."""
    for name, values in arrays.items():
        if values.ndim and values.dtype.kind in "biufc":
            file[name] = values
        elif not values.ndim and values.dtype.kind in "biufU":
            file.attrs[name] = str(values) if values.dtype.kind == "U" else values.item()
    for part, names in (("probe", PIXELS), ("object", (*PIXELS, *CENTER))):
        for name in names:
            if f"{part}_{name}" in arrays and part in file:
                file[part].attrs[name] = np.asarray(arrays[f"{part}_{name}"])
