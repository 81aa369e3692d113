"""Measurements that PtyRAD writes: the one dataset ``meas`` in HDF5. Read only.

Source: PtyRAD 0.1.0b13, ``io/hierarchy.py`` (``write_hdf5``) and ``io/handlers.py`` (``save_array``).
"""

from functools import partial
from pathlib import Path

import h5py

from ptychopinn.files import hdf5
from ptychopinn.files.formats.py4dstem import dataset
from ptychopinn.files.geometry.raster import NO_LENS, Calibration, Cube, check_cube, on_raster, raster_shape
from ptychopinn.files.record import Reading, Record

KEY = "meas"


def read(file: h5py.File, how: Reading) -> Record:
    """Frames (n, H, W) or (rows, columns, H, W); the file says nothing else, the user does."""
    item = hdf5.find(file, KEY, "PtyRAD's measurements are needed")
    check_cube(KEY, item.shape, item.dtype)
    shape, notes = raster_shape(KEY, item.shape, how.microscope.shape())
    cube = Cube(partial(dataset, Path(file.filename), KEY), item.shape, item.dtype)
    record = Record(
        "ptyrad",
        counts=hdf5.frames_of(cube, how.in_memory),
        measurement="counts",
        absent={"probe": NO_LENS},
        frames_key=KEY,
        notes=tuple(notes),
    )
    return on_raster(record, shape, Calibration(), how)
