"""What a map says of a 4D-STEM scan: its raster, its electrons, and detector pixels as angles."""

from functools import partial
from pathlib import Path
from typing import Final, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ptychopinn.config import Section
from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.conventions.own_folder import check_sources
from ptychopinn.files.formats.py4dstem import dataset
from ptychopinn.files.geometry.microscope import ANGLES, FREQUENCIES, LENGTHS, PIXELS
from ptychopinn.files.geometry.raster import Cube, raster_places, spatial_frequency
from ptychopinn.files.record import Record

VOLTAGES: Final = {"V": 1.0, "kV": 1e3, "MV": 1e6}
"""Units of a voltage; an energy in one of them is that of electrons."""

PER_LENGTH: Final = {**ANGLES, **FREQUENCIES}
"""Units of a detector pixel that is no length."""


class RasterMap(Section):
    """Positions on a raster, row by row: :func:`ptychopinn.files.geometry.raster.on_raster` has the formulae."""

    step: float | tuple[float, float] = Field(description="between neighbours, or (y, x)")
    unit: str = "px"
    shape: tuple[int, int] | None = Field(None, description="rows and columns, of frames (n, H, W)")
    rotation: float = Field(0.0, description="degrees, from +x towards +y")
    transpose: bool = Field(False, description="exchange x and y, after the rotation")

    @model_validator(mode="after")
    def _is_positive(self) -> Self:
        if not np.min(self.step) > 0 or (self.shape is not None and min(self.shape) < 1):
            raise ValueError("positive numbers are needed")
        if self.unit not in LENGTHS and self.unit not in PIXELS:
            raise ValueError("unit: a length or px is needed")
        return self

    def places(self, found: tuple[int, ...]) -> NDArray[np.float64]:
        """Positions (n, 2), (y, x), in the unit; ``found`` is the number of frames, or rows and columns of them.

        Raises:
            PtychoError: when there are other frames, or only their number is known.
        """
        shape = self.shape or found
        if len(shape) != 2:
            raise IncurableError(f"positions: raster: {found[0]} frames in one row; shape, [rows, columns], is needed.")
        if shape[0] * shape[1] != np.prod(found) or (len(found) == 2 and shape != found):
            there = " x ".join(map(str, found))
            raise PtychoError(f"positions: raster: shape {list(shape)} given; there are {there} frames.")
        step = self.step if isinstance(self.step, tuple) else (self.step, self.step)
        places = raster_places((shape[0], shape[1]), step, self.rotation, self.transpose)
        return places - places.min(axis=0)


def cube(item: h5py.Dataset, order: str, corner: bool) -> Cube:
    """Frames of a dataset with two axes of the scan.

    Args:
        item: of four axes.
        order: their names, such as ``YXyx``: rows and columns of the scan (Y, X) and of a frame (y, x).
        corner: whether the zero frequency is at [0, 0].

    Raises:
        PtychoError: for another number of axes, or no real numbers.
    """
    name = str(item.name)
    if item.ndim != len(order) or item.dtype.kind not in "uif":
        raise IncurableError(
            f"{name}: shape {item.shape}, dtype {item.dtype}; real frames in the order {order} are needed."
        )
    check_sources(item)
    axes = tuple(order.index(axis) for axis in "YXyx")
    full = tuple(item.shape[axis] for axis in axes)
    where = partial(dataset, Path(item.file.filename), name, hdf5.folders_of(item))
    return Cube(where, full, item.dtype, axes=axes, corner=corner)


def pixel_of_angle(record: Record, size: float, unit: str) -> tuple[float, float]:
    """Object pixel in metres, of a detector pixel that is an angle or a spatial frequency."""
    assert record.counts is not None
    frequency = spatial_frequency(size, unit, record)
    return 1 / (record.counts.shape[-2] * frequency), 1 / (record.counts.shape[-1] * frequency)


def beside(file: h5py.File, name: str) -> Path:
    """Another file that a map names: a whole path, or a name beside the scan file."""
    return Path(file.filename).parent / name


def energy_unit(unit: str | None) -> tuple[bool, float | None]:
    """Whether the unit of an energy means electrons, and its size in volts then."""
    return (False, None) if unit is None or unit.strip() not in VOLTAGES else (True, VOLTAGES[unit.strip()])
