"""Any HDF5 file, by a map that names its datasets."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ptychopinn.config import Section
from ptychopinn.errors import PtychoError, naming
from ptychopinn.files import hdf5
from ptychopinn.files.geometry import in_pixels
from ptychopinn.files.record import NO_PROBE, Reading, Record, as_far_as_usable
from ptychopinn.files.values import HC_EV_M, as_complex, as_coordinates, as_good, as_modes, both
from ptychopinn.json_reader import read_json, validated


class FramesMap(Section):
    """Where the frames are."""

    dataset: str
    order: Literal["nyx", "nxy", "yxn", "xyn"] = "nyx"
    zero_frequency: Literal["centre", "corner"] = "centre"
    measurement: Literal["counts", "amplitude"] | None = None


class PositionsMap(Section):
    """Where the positions are: ``x`` and ``y``, or one ``dataset`` with its ``columns``."""

    x: str | None = None
    y: str | None = None
    dataset: str | None = None
    columns: Literal["yx", "xy", "yxz", "xyz", "zyx"] = "yx"
    order: Literal["nx", "xn"] = Field("nx", description="frames along the first axis, or along the second")
    unit: str = "px"
    sign: dict[Literal["x", "y"], Literal[1, -1]] = {}

    @model_validator(mode="after")
    def _are_somewhere(self) -> Self:
        if self.dataset is None and (self.x is None or self.y is None):
            raise ValueError("x and y, or dataset, are needed")
        return self


class QuantityMap(Section):
    """A number: where it is, or what it is."""

    dataset: str | None = None
    value: float | None = None
    unit: str | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.dataset is None) == (self.value is None):
            raise ValueError("either dataset or value is needed")
        return self


class MaskMap(Section):
    """Where the mask of the detector is, and which of its values mean bad."""

    dataset: str
    bad: Literal["nonzero", "zero"] = "nonzero"


class FileMap(Section):
    """All that a map may say."""

    frames: FramesMap
    positions: PositionsMap
    probe: str | None = None
    object: str | None = None
    bad_pixels: MaskMap | None = None
    energy: QuantityMap | None = None
    wavelength: QuantityMap | None = None
    distance: QuantityMap | None = None
    detector_pixel: QuantityMap | None = None
    pixel_size: QuantityMap | None = None


def read_map(path: Path) -> FileMap:
    """Read a map.

    Raises:
        PtychoError: when it is no JSON, or names what a map does not know.
    """
    with naming(path):
        return validated(FileMap, read_json(path, "dataset names"))


def read(file: h5py.File, how: Reading, layout: FileMap) -> Record:
    """Any HDF5 file, by a map that names its datasets; see docs/formats.md."""
    frames = _frames(file, layout.frames)
    energy, distance, pitch = (_quantity(file, layout, name) for name in ("energy", "distance", "detector_pixel"))
    wavelength = None if energy is not None else _quantity(file, layout, "wavelength")
    energy = energy if wavelength is None else HC_EV_M / wavelength
    mask, good = layout.bad_pixels, None
    if mask is not None:
        values = hdf5.array(hdf5.find(file, mask.dataset))
        good = as_good(values, mask.dataset) if mask.bad == "nonzero" else values != 0
    probe, image = (
        None if name is None else as_complex(hdf5.array(hdf5.find(file, name)), part)
        for part, name in (("probe", layout.probe), ("object", layout.object))
    )
    record = Record(
        "map",
        counts=hdf5.frames_of(frames, how.in_memory),
        measurement=layout.frames.measurement,
        probe=None if probe is None else as_modes(probe),
        object=image,
        good_pixels=good,
        energy_eV=energy,
        distance_m=distance,
        detector_pixel_m=both(pitch, pitch),
        notes=(f"Read by a map: frames in the order {layout.frames.order}.",),
        absent={"probe": NO_PROBE},
        frames_key=layout.frames.dataset,
    )
    pixel = _quantity(file, layout, "pixel_size") or how.pixel_size
    if pixel is None and record.far_field_pixel is not None:
        pixel = record.far_field_pixel[0]
    return _with_positions(file, record, layout.positions, pixel, how.growing)


def _frames(file: h5py.File, wanted: FramesMap) -> hdf5.Stack:
    axes = wanted.order.index("n"), wanted.order.index("y"), wanted.order.index("x")
    dataset = hdf5.find(file, wanted.dataset, "frames are needed")
    return hdf5.stack(dataset, axes, wanted.zero_frequency == "corner")


def _quantity(file: h5py.File, layout: FileMap, name: str) -> float | None:
    """A positive number of a map, in metres or electronvolts; None where the map does not have it."""
    wanted: QuantityMap | None = getattr(layout, name)
    if wanted is None:
        return None
    dimension, usual = ("energy", "eV") if name == "energy" else ("length", "m")
    value = wanted.value if wanted.dataset is None else np.squeeze(hdf5.array(hdf5.find(file, wanted.dataset)))
    return hdf5.above_zero(hdf5.number(value, name) * hdf5.unit(wanted.unit or usual, name, dimension), name, dimension)


def _with_positions(
    file: h5py.File, record: Record, wanted: PositionsMap, pixel: float | None, growing: bool
) -> Record:
    places = _places(file, wanted, growing)
    length = hdf5.unit(wanted.unit, "positions", "length", "pixels")
    in_px = hdf5.UNITS[wanted.unit.strip()][0] == "pixels"
    if growing:
        places, refused = as_far_as_usable(places, 1.0 if in_px else (pixel or 1.0) / length)
        record = replace(record, refused=refused)
    if in_px:
        return replace(record, positions=places, pixel_m=both(pixel, pixel))
    if pixel is None:
        raise PtychoError(
            "positions: in a length, so the size of an object pixel is needed: give pixel_size, or energy, distance "
            "and detector_pixel, in the map, or --set pixel_size=METRES."
        )
    return in_pixels(record, places * length, (pixel, pixel))


def _places(file: h5py.File, wanted: PositionsMap, growing: bool) -> NDArray[np.float64]:
    """Positions (n, 2), (y, x), in the unit of the file; of a growing scan those with both coordinates."""
    y, x = _coordinate(file, wanted, "y", wanted.y), _coordinate(file, wanted, "x", wanted.x)
    count = min(len(y), len(x)) if growing else None
    return as_coordinates(y[:count], x[:count], "positions: x, y")


def _coordinate(
    file: h5py.File, wanted: PositionsMap, axis: Literal["x", "y"], name: str | None
) -> NDArray[np.float64]:
    """One coordinate, from its own dataset or from the table of all."""
    values = hdf5.array(hdf5.find(file, name or str(wanted.dataset), "positions are needed"))
    if name is None:
        values = values.T if wanted.order == "xn" else values
        if values.ndim != 2 or values.shape[1] < len(wanted.columns):
            raise PtychoError(f"{wanted.dataset}: shape {values.shape}; columns {wanted.columns} are needed.")
        values = values[:, wanted.columns.index(axis)]
    if values.dtype.kind not in "uif":
        raise PtychoError(f"positions: dtype {values.dtype}; numbers are needed.")
    return wanted.sign.get(axis, 1) * np.ravel(values).astype(np.float64)
