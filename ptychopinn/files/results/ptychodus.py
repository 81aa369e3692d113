"""Products of ptychodus as NPZ. Read only: it has the names of the HDF5 product, attributes and all, as arrays."""

import io
from collections.abc import Mapping
from dataclasses import replace

import h5py
import numpy as np

from ptychopinn.files.formats import ptychodus
from ptychopinn.files.record import NO_FRAMES, Reading, Record
from ptychopinn.files.values import Array

PIXELS = ("pixel_height_m", "pixel_width_m")
CENTER = ("center_y_m", "center_x_m")


def read(arrays: Mapping[str, Array], how: Reading) -> Record:
    """Read a product, through the layout of its HDF5 sister.

    Raises:
        PtychoError: naming the array, and what is needed.
    """
    with h5py.File(io.BytesIO(), "w") as file:
        _lay_out(file, arrays)
        record = ptychodus.read_product(file, how)
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
