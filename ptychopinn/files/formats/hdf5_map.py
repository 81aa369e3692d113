"""Any HDF5 file, by a map that names its datasets."""

from contextlib import nullcontext
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
from ptychopinn.files.formats.raster_map import (
    PER_LENGTH,
    RasterMap,
    beside,
    cube,
    energy_unit,
    pixel_of_angle,
)
from ptychopinn.files.geometry import in_pixels
from ptychopinn.files.microscope import LENGTHS, PIXELS
from ptychopinn.files.raster import Cube
from ptychopinn.files.record import NO_PROBE, Reading, Record, as_far_as_usable
from ptychopinn.files.values import as_complex, as_coordinates, as_good, as_modes, both
from ptychopinn.json_reader import read_json, validated
from ptychopinn.physics.wavelength import Particle, energy


class FramesMap(Section):
    """Where the frames are."""

    dataset: str
    order: Literal["nyx", "nxy", "yxn", "xyn", "YXyx", "YXxy", "XYyx", "XYxy", "yxYX", "xyXY"] | None = Field(
        None, description="n frame, or Y and X row and column of the scan; y and x row and column of a frame"
    )
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
    raster: RasterMap | None = None
    file: str | None = Field(None, description="HDF5 file beside the scan file, where they lie in another one")

    @model_validator(mode="after")
    def _are_somewhere(self) -> Self:
        if self.raster is None and self.dataset is None and (self.x is None or self.y is None):
            raise ValueError("x and y, dataset, or raster, are needed")
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
    voltage: QuantityMap | None = None
    particle: Particle | None = None
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
    energy, particle = _energy(file, how, layout)
    distance = _quantity(file, layout, "distance")
    angular = layout.detector_pixel is not None and layout.detector_pixel.unit in PER_LENGTH
    pitch = None if angular else _quantity(file, layout, "detector_pixel")
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
        particle=particle,
        distance_m=distance,
        detector_pixel_m=both(pitch, pitch),
        notes=(f"Read by a map: frames in the order {_order(file, layout.frames)}.",),
        absent={"probe": NO_PROBE},
        frames_key=layout.frames.dataset,
    )
    size = _quantity(file, layout, "pixel_size") or how.pixel_size
    pixel = both(size, size) or record.far_field_pixel
    if pixel is None and layout.detector_pixel is not None and angular:
        value, unit = _value(file, layout.detector_pixel, "detector_pixel"), str(layout.detector_pixel.unit)
        pixel = pixel_of_angle(record, hdf5.above_zero(value, "detector_pixel", "number"), unit)
    rows = frames.full[:2] if isinstance(frames, Cube) else frames.shape[:1]
    return _with_positions(file, record, layout.positions, rows, pixel, how.growing)


def _frames(file: h5py.File, wanted: FramesMap) -> hdf5.Stack | Cube:
    dataset, order = hdf5.find(file, wanted.dataset, "frames are needed"), _order(file, wanted)
    corner = wanted.zero_frequency == "corner"
    if len(order) == 4:
        return cube(dataset, order, corner)
    return hdf5.stack(dataset, (order.index("n"), order.index("y"), order.index("x")), corner)


def _order(file: h5py.File, wanted: FramesMap) -> str:
    """Axes of the frames; when not given those of a stack, or of a raster of four axes."""
    return wanted.order or ("YXyx" if hdf5.find(file, wanted.dataset, "frames are needed").ndim == 4 else "nyx")


def _energy(file: h5py.File, how: Reading, layout: FileMap) -> tuple[float | None, Particle]:
    """Energy in electronvolts and whose it is: a voltage, or an energy in kV, is that of electrons."""
    electrons, volts = energy_unit(None if layout.energy is None else layout.energy.unit)
    particle: Particle = layout.particle or ("electron" if electrons or layout.voltage is not None else "photon")
    if layout.voltage is not None or (layout.energy is not None and volts is not None):
        wanted = layout.voltage or layout.energy
        assert wanted is not None
        size = energy_unit(wanted.unit or "kV")[1]
        if size is None or particle == "photon":
            raise PtychoError(f"voltage: unit {wanted.unit!r}; kV or V, and no particle but electron, are needed.")
        return hdf5.above_zero(_value(file, wanted, "voltage") * size, "voltage", "voltage"), particle
    known = _quantity(file, layout, "energy")
    length = None if known is not None else _quantity(file, layout, "wavelength")
    if length is not None:
        return energy(length, particle), particle
    if known is None and how.microscope.energy_eV is not None:
        return how.microscope.energy_eV, "electron"
    return known, particle


def _quantity(file: h5py.File, layout: FileMap, name: str) -> float | None:
    """A positive number of a map, in metres or electronvolts; None where the map does not have it."""
    wanted: QuantityMap | None = getattr(layout, name)
    if wanted is None:
        return None
    dimension, usual = ("energy", "eV") if name == "energy" else ("length", "m")
    size = hdf5.unit(wanted.unit or usual, name, dimension)
    return hdf5.above_zero(_value(file, wanted, name) * size, name, dimension)


def _value(file: h5py.File, wanted: QuantityMap, name: str) -> float:
    value = wanted.value if wanted.dataset is None else np.squeeze(hdf5.array(hdf5.find(file, wanted.dataset)))
    return hdf5.number(value, name)


def _with_positions(
    file: h5py.File,
    record: Record,
    wanted: PositionsMap,
    rows: tuple[int, ...],
    pixel: tuple[float, float] | None,
    growing: bool,
) -> Record:
    assert record.counts is not None
    if wanted.raster is not None:
        places, in_px = wanted.raster.places(rows), wanted.raster.unit in PIXELS
        length = 1.0 if in_px else LENGTHS[wanted.raster.unit]
        if in_px:
            places = places + np.array(record.counts.shape[-2:]) / 2
    else:
        with hdf5.opened(beside(file, wanted.file)) if wanted.file else nullcontext(file) as where:
            places = _places(where, wanted, growing)
        length = hdf5.unit(wanted.unit, "positions", "length", "pixels")
        in_px = hdf5.UNITS[wanted.unit.strip()][0] == "pixels"
    if growing:
        places, refused = as_far_as_usable(places, 1.0 if in_px else np.array(pixel or (1.0, 1.0)) / length)
        record = replace(record, refused=refused)
    if in_px:
        return replace(record, positions=places, pixel_m=pixel)
    if pixel is None:
        raise PtychoError(
            "positions: in a length, so the size of an object pixel is needed: give pixel_size, or energy, distance "
            "and detector_pixel, in the map, or --set pixel_size=METRES."
        )
    return in_pixels(record, places * length, pixel)


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
