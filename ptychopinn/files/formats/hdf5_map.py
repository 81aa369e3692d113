"""Any HDF5 file, by a map that names its datasets."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ptychopinn.config import Section
from ptychopinn.errors import IncurableError, PtychoError, shortened
from ptychopinn.files import hdf5
from ptychopinn.files.conventions import links, units
from ptychopinn.files.formats.raster_map import (
    PER_LENGTH,
    RasterMap,
    beside,
    cube,
    energy_unit,
    pixel_of_angle,
)
from ptychopinn.files.geometry.microscope import PIXELS
from ptychopinn.files.geometry.pixels import in_pixels
from ptychopinn.files.naming import naming
from ptychopinn.files.record import NO_PROBE, Reading, Record, with_gaps
from ptychopinn.files.values import (
    LARGEST_DETECTOR_PIXEL_M,
    LARGEST_PIXEL,
    LONGEST_DISTANCE_M,
    as_complex,
    as_coordinates,
    as_good,
    as_modes,
    both,
    likely_length,
)
from ptychopinn.json_reader import read_json, validated
from ptychopinn.physics.wavelength import Particle, energy
from ptychopinn.scan.frames import Source

LONGEST: Final = {
    "distance": LONGEST_DISTANCE_M,
    "detector_pixel": LARGEST_DETECTOR_PIXEL_M,
    "pixel_size": LARGEST_PIXEL,
    "wavelength": LARGEST_PIXEL,
}
"""Metres beyond which the unit of a length must be wrong."""


Names = str | list[str]
"""A dataset, or parts to join: a list, or a pattern such as ``entry/data/data_*``, whose numbers are put in order."""


class FramesMap(Section):
    """Where the frames are."""

    dataset: Names = Field(description="a dataset, or parts to join: a list, or a pattern with *, numbers in order")
    order: Literal["nyx", "nxy", "yxn", "xyn", "YXyx", "YXxy", "XYyx", "XYxy", "yxYX", "xyXY"] | None = Field(
        None, description="n frame, or Y and X row and column of the scan; y and x row and column of a frame"
    )
    zero_frequency: Literal["centre", "corner"] = "centre"
    measurement: Literal["counts", "amplitude"] | None = None


class PositionsMap(Section):
    """Where the positions are: ``x`` and ``y``, or one ``dataset`` with its ``columns``."""

    x: Names | None = None
    y: Names | None = None
    dataset: Names | None = None
    columns: Literal["yx", "xy", "yxz", "xyz", "zyx"] = "yx"
    order: Literal["nx", "xn"] = Field("nx", description="frames along the first axis, or along the second")
    unit: str | None = Field(None, description="the file's attribute units, or px, when not given")
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
    unit: str | None = Field(None, description="the file's attribute units, or eV and m, when not given")

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


class Heard(NamedTuple):
    """What is said of a file while it is read; see :class:`ptychopinn.files.record.Record`."""

    notes: list[str]
    doubted: list[str]


def read_map(path: Path) -> FileMap:
    """Read a map.

    Raises:
        PtychoError: when it is no JSON, or names what a map does not know.
    """
    with naming(path):
        return validated(FileMap, read_json(path, "dataset names"))


def read(file: h5py.File, how: Reading, layout: FileMap) -> Record:
    """Any HDF5 file, by a map that names its datasets; see docs/formats.md."""
    frames, rows, order = _frames(file, layout.frames)
    heard = Heard([f"Read by a map: frames in the order {order}."], [])
    kinetic, particle = _energy(file, how, layout, heard)
    distance = _quantity(file, layout, "distance", heard)
    angular = layout.detector_pixel is not None and layout.detector_pixel.unit in PER_LENGTH
    pitch = None if angular else _quantity(file, layout, "detector_pixel", heard)
    good, probe, image = _images(file, layout, order, heard)
    record = Record(
        "map",
        counts=hdf5.frames_of(frames, how.in_memory),
        measurement=layout.frames.measurement,
        probe=None if probe is None else as_modes(probe),
        object=image,
        good_pixels=good,
        energy_eV=kinetic,
        particle=particle,
        distance_m=distance,
        detector_pixel_m=both(pitch, pitch),
        absent={"probe": NO_PROBE},
        frames_key=", ".join(_listed(layout.frames.dataset)),
    )
    size = _quantity(file, layout, "pixel_size", heard) or how.pixel_size
    pixel = both(size, size) or record.far_field_pixel
    if pixel is None and layout.detector_pixel is not None and angular:
        value, unit = _value(file, layout.detector_pixel, "detector_pixel"), str(layout.detector_pixel.unit)
        pixel = pixel_of_angle(record, hdf5.above_zero(value, "detector_pixel", "number"), unit)
    record = replace(record, notes=tuple(heard.notes), doubted=tuple(heard.doubted))
    return _with_positions(file, record, layout.positions, rows, pixel, how.growing)


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else names


def _datasets(file: h5py.File, names: Names, need: str) -> list[h5py.Dataset]:
    """The datasets of a name, a list of names or a pattern."""
    found = [hdf5.find(file, name, need) for given in _listed(names) for name in links.expand(file, given)]
    if not found:
        raise IncurableError(f"dataset: an empty list; {need}.")
    return found


def _datasets_of_frames(file: h5py.File, names: Names) -> list[h5py.Dataset]:
    """The datasets of frames; where a name is wrong, others that hold frames are named."""
    try:
        return _datasets(file, names, "frames are needed")
    except PtychoError as error:
        if isinstance(error, IncurableError) or not (others := links.stacks(file)):
            raise
        raise IncurableError(f"{error} The file has frames in {shortened(', '.join(others))}.") from None


def _frames(file: h5py.File, wanted: FramesMap) -> tuple[Source, tuple[int, ...], str]:
    """The frames, how many there are along each axis of the scan, and the order of their axes."""
    for name in _listed(wanted.dataset):
        if not set(name) & set("*?[") and isinstance(file.get(name), h5py.Group):
            inside = shortened(", ".join(sorted(file[name], key=links.natural)), 60) or "nothing"
            raise IncurableError(f"{name}: is a group that holds {inside}; name a dataset, or join parts by {name}/*.")
    datasets, corner = _datasets_of_frames(file, wanted.dataset), wanted.zero_frequency == "corner"
    order = wanted.order or ("YXyx" if len(datasets) == 1 and datasets[0].ndim == 4 else "nyx")
    if len(order) == 4:
        if len(datasets) > 1:
            raise IncurableError(f"frames: order {order} given; parts are joined in the order nyx, nxy, yxn or xyn.")
        raster = cube(datasets[0], order, corner)
        return raster, raster.full[:2], order
    axes = order.index("n"), order.index("y"), order.index("x")
    parts = [hdf5.stack(dataset, axes, corner) for dataset in datasets]
    for part in parts:
        if part.shape[1:] != parts[0].shape[1:]:
            raise PtychoError(
                f"{part.name}: frames {part.shape[1:]}, those of {parts[0].name} are {parts[0].shape[1:]}; equal "
                "frames are needed to join them."
            )
    if len(parts) == 1:
        return parts[0], parts[0].grid, order
    joined = hdf5.Joined(parts)
    return joined, joined.shape[:1], order


def _energy(file: h5py.File, how: Reading, layout: FileMap, heard: Heard) -> tuple[float | None, Particle]:
    """Energy in electronvolts and whose it is: a voltage, or an energy in kV, is that of electrons."""
    electrons, volts = energy_unit(None if layout.energy is None else layout.energy.unit)
    particle: Particle = layout.particle or ("electron" if electrons or layout.voltage is not None else "photon")
    if layout.voltage is not None or (layout.energy is not None and volts is not None):
        wanted = layout.voltage or layout.energy
        assert wanted is not None
        size = energy_unit(wanted.unit or "kV")[1]
        if size is None or particle == "photon":
            raise IncurableError(f"voltage: unit {wanted.unit!r}; kV or V, and no particle but electron, are needed.")
        return hdf5.above_zero(_value(file, wanted, "voltage") * size, "voltage", "voltage"), particle
    known = _quantity(file, layout, "energy", heard)
    length = None if known is not None else _quantity(file, layout, "wavelength", heard)
    if length is not None:
        return energy(length, particle), particle
    if known is None and how.microscope.energy_eV is not None:
        return how.microscope.energy_eV, "electron"
    return known, particle


def _images(
    file: h5py.File, layout: FileMap, order: str, heard: Heard
) -> tuple[NDArray[np.bool_] | None, NDArray[Any] | None, NDArray[Any] | None]:
    """Good pixels, probe and object. In a file of MATLAB, which reverses all axes, x comes first as in the frames."""
    turned, mask = order.index("x") < order.index("y"), layout.bad_pixels
    if matlab := hdf5.is_matlab(file):
        heard.notes.append(
            "A file of MATLAB: probe, object and mask are transposed, as the frames are."
            if turned
            else 'A file of MATLAB, which stores axes in reverse: frames saved as (y, x, n) need "order": "nxy".'
        )
    found: list[NDArray[Any] | None] = []
    for name in (None if mask is None else mask.dataset, layout.probe, layout.object):
        values = None if name is None else hdf5.array(hdf5.find(file, name))
        flip = turned and matlab and values is not None and values.ndim > 1
        found.append(np.ascontiguousarray(values.swapaxes(-1, -2)) if flip and values is not None else values)
    good = None
    if mask is not None and found[0] is not None:
        good = as_good(found[0], mask.dataset) if mask.bad == "nonzero" else found[0] != 0
    probe, image = (
        None if part is None else as_complex(part, name)
        for part, name in zip(found[1:], ("probe", "object"), strict=True)
    )
    return good, probe, image


def _unit(dataset: h5py.Dataset | None, told: str | None, name: str, heard: Heard) -> str | None:
    """The unit that the map gives, else that of the file; None where neither has one."""
    stored = None if dataset is None else hdf5.told_unit_of(dataset)
    if told is not None and stored is not None and not units.same(told, stored):
        heard.notes.append(f"{name}: the map says {told}, the file {shortened(stored, 40)}; the map is followed.")
        heard.doubted.append(f"map and file disagree about the unit of {name}")
    return told or stored


def _quantity(file: h5py.File, layout: FileMap, name: str, heard: Heard) -> float | None:
    """A positive number of a map, in metres or electronvolts; None where the map does not have it."""
    wanted: QuantityMap | None = getattr(layout, name)
    if wanted is None:
        return None
    dataset, value = None if wanted.dataset is None else hdf5.find(file, wanted.dataset), _value(file, wanted, name)
    told = _unit(dataset, wanted.unit, name, heard)
    if name != "energy":
        length = hdf5.above_zero(value * units.unit(told or "m", name, "length"), name, "length")
        return likely_length(length, name, LONGEST[name])
    found, assumed = units.photon_energy(hdf5.above_zero(value, name, "energy"), told, "eV", name)
    heard.notes.extend(assumed)
    heard.doubted.extend(["the energy has no unit (give it in the map)"] if assumed else [])
    return found


def _value(file: h5py.File, wanted: QuantityMap, name: str) -> float:
    if wanted.dataset is None:
        return hdf5.number(wanted.value, name)
    return hdf5.one_number(hdf5.find(file, wanted.dataset))


def _position_unit(file: h5py.File, wanted: PositionsMap, heard: Heard) -> str:
    """The unit of the positions; px where neither map nor file has one."""
    own = None if wanted.x is None or wanted.y is None else [*_listed(wanted.y), *_listed(wanted.x)]
    found: list[str] = []
    for dataset in _datasets(file, own or wanted.dataset or [], "positions are needed"):
        told = _unit(dataset, wanted.unit, "positions", heard)
        if told is None:
            heard.doubted.append("positions have no unit and were taken as pixels (give it in the map)")
        found.append(told or "px")
        if not units.same(found[-1], found[0]):
            raise IncurableError(f"positions: units {found[0]} and {found[-1]}; give the unit of both in the map.")
    return found[0]


def _with_positions(
    file: h5py.File,
    record: Record,
    wanted: PositionsMap,
    rows: tuple[int, ...],
    pixel: tuple[float, float] | None,
    growing: bool,
) -> Record:
    assert record.counts is not None
    heard = Heard([], [])
    if wanted.raster is not None:
        places, unit = wanted.raster.places(rows), wanted.raster.unit
        if unit in PIXELS:
            places = places + np.array(record.counts.shape[-2:]) / 2
    else:
        with (
            hdf5.opened(beside(file, wanted.file), file.folders is None) if wanted.file else nullcontext(file) as where
        ):
            places, unit = _places(where, wanted, growing, rows), _position_unit(where, wanted, heard)
    length, in_px = units.unit(unit, "positions", "length", "pixels"), units.dimension_of(unit) == "pixels"
    record = replace(
        record,
        notes=tuple(dict.fromkeys((*record.notes, *heard.notes))),
        doubted=tuple(dict.fromkeys((*record.doubted, *heard.doubted))),
    )
    if growing:
        places = with_gaps(places, 1.0 if in_px else np.array(pixel or (1.0, 1.0)) / length)
    if in_px:
        return replace(record, positions=places, pixel_m=pixel)
    if pixel is None:
        raise IncurableError(
            "positions: in a length, so the size of an object pixel is needed: give pixel_size, or energy, distance "
            "and detector_pixel, in the map, or --set pixel_size=METRES."
        )
    return in_pixels(record, places * length, pixel, gaps=growing)


def _places(file: h5py.File, wanted: PositionsMap, growing: bool, grid: tuple[int, ...]) -> NDArray[np.float64]:
    """Positions (n, 2), (y, x), in the unit of the file; of a growing scan those with both coordinates."""
    y, x = _coordinate(file, wanted, "y", wanted.y), _coordinate(file, wanted, "x", wanted.x)
    if (len(y), len(x)) == grid:  # one y per row and one x per column of the scan
        y, x = np.repeat(y, len(x)), np.tile(x, len(y))
    count = min(len(y), len(x)) if growing else None
    return as_coordinates(y[:count], x[:count], "positions: x, y")


def _coordinate(
    file: h5py.File, wanted: PositionsMap, axis: Literal["x", "y"], names: Names | None
) -> NDArray[np.float64]:
    """One coordinate, from its own dataset or from the table of all."""
    parts = []
    for dataset in _datasets(file, names or wanted.dataset or [], "positions are needed"):
        values = hdf5.array(dataset)
        if values.dtype.kind not in "uif":
            raise IncurableError(f"{dataset.name}: dtype {values.dtype}; positions are numbers.")
        parts.append(np.ravel(_column(values, wanted, axis, str(dataset.name)) if names is None else values))
    return wanted.sign.get(axis, 1) * np.concatenate(parts).astype(np.float64)


def _column(values: NDArray[Any], wanted: PositionsMap, axis: str, name: str) -> NDArray[Any]:
    """One column of a table (n, 2), of a grid (rows, columns, 2), or of the same with the columns first."""
    values = np.moveaxis(values, 0, -1) if wanted.order == "xn" and values.ndim else values
    if values.ndim < 2 or values.shape[-1] < len(wanted.columns):
        raise IncurableError(f"{name}: shape {values.shape}; columns {wanted.columns} are needed.")
    return values[..., wanted.columns.index(axis)]
