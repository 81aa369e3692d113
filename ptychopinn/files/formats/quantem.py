"""4D-STEM datasets of quantem: a Zarr store in a ``.zip`` file. Read only; needs the package zarr.

``Dataset4dstem`` keeps ``_array`` (rows, columns, H, W), ``_sampling`` of the four axes and their ``_units``.
Source: quantem, ``core/io/serialize.py`` and ``core/datastructures/dataset4dstem.py``.
"""

import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.geometry.microscope import PIXELS
from ptychopinn.files.geometry.raster import NO_LENS, Calibration, Cube, check_cube, on_raster, raster_shape
from ptychopinn.files.record import Reading, Record

MEMBER = "zarr.json"
"""What a Zarr store of version 3 has at its top."""

ARRAY = "_array"


def is_quantem(path: Path) -> bool:
    """Whether a ZIP file is a Zarr store."""
    try:
        with zipfile.ZipFile(path) as archive:
            return MEMBER in archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return False


def read(path: Path, how: Reading) -> Record:
    """The frames of a dataset on its raster.

    Raises:
        PtychoError: naming what is needed.
    """
    group = _group(path)
    if ARRAY not in group:
        raise PtychoError(f"{ARRAY}: not there; a Dataset4dstem of quantem is needed.")
    array = group[ARRAY]
    check_cube(ARRAY, array.shape, array.dtype)
    shape, notes = raster_shape(ARRAY, array.shape, how.microscope.shape())
    record = Record(
        "quantem",
        counts=hdf5.frames_of(Cube(partial(_array, path), array.shape, array.dtype), how.in_memory),
        measurement="counts",
        absent={"probe": NO_LENS},
        frames_key=ARRAY,
        notes=tuple(notes),
    )
    return on_raster(record, shape, _calibration(group), how)


def _group(path: Path) -> Any:
    try:
        import zarr
        from zarr.storage import ZipStore
    except ImportError:
        raise PtychoError("is a Zarr store; 'pip install zarr' to read it.") from None
    try:
        return zarr.open_group(ZipStore(path, mode="r"), mode="r")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise PtychoError(f"is no readable Zarr store ({reason}).") from None


def _array(path: Path) -> Any:
    return _group(path)[ARRAY]


def _calibration(group: Any) -> Calibration:
    """Step of the scan and size of a detector pixel, with their units, and the rotation between them."""
    if "_sampling" not in group or "_units" not in group:
        return Calibration()
    steps, told = np.asarray(group["_sampling"][:], dtype=float), group["_units"].attrs
    units = [str(told.get(str(axis), "pixels")) for axis in range(4)]
    if steps.shape != (4,) or not np.isfinite(steps).all() or not (steps > 0).all():
        raise PtychoError(f"_sampling: {steps.tolist()}; four positive numbers are needed.")
    pairs = []
    for first, what in ((0, "scan"), (2, "detector")):
        if units[first] != units[first + 1]:
            raise PtychoError(f"_units: {units[first]} and {units[first + 1]} along the {what}; equal ones are needed.")
        known = units[first] not in PIXELS
        pairs.append(((float(steps[first]), float(steps[first + 1])), units[first]) if known else None)
    rotation = group["_metadata"].attrs.get("r_to_q_rotation_cw_deg") if "_metadata" in group else None
    return Calibration(pairs[0], pairs[1], float(rotation) if isinstance(rotation, int | float) else 0.0)
