"""Any HDF5 file, by a map that names its datasets."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files import hdf5
from ptychopinn.files.geometry import metric
from ptychopinn.files.record import (
    HC_EV_M,
    NO_PROBE,
    Record,
    as_complex,
    as_far_as_usable,
    as_good,
    as_modes,
    object_pixel,
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FramesMap(_Part):
    """Where the frames are."""

    dataset: str
    order: Literal["nyx", "nxy", "yxn", "xyn"] = "nyx"
    zero_frequency: Literal["centre", "corner"] = "centre"
    measurement: Literal["counts", "amplitude"] | None = None


class PositionsMap(_Part):
    """Where the positions are: ``x`` and ``y``, or one ``dataset`` with its ``columns``."""

    x: str | None = None
    y: str | None = None
    dataset: str | None = None
    columns: Literal["yx", "xy", "yxz", "xyz", "zyx"] = "yx"
    order: Literal["nx", "xn"] = Field("nx", description="frames along the first axis, or along the second")
    unit: str = "px"
    sign: dict[Literal["x", "y"], Literal[1, -1]] = {}


class QuantityMap(_Part):
    """A number: where it is, or what it is."""

    dataset: str | None = None
    value: float | None = None
    unit: str | None = None


class MaskMap(_Part):
    """Where the mask of the detector is, and which of its values mean bad."""

    dataset: str
    bad: Literal["nonzero", "zero"] = "nonzero"


class FileMap(_Part):
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


def read_file_map(path: Path) -> dict[str, Any]:
    """A map as plain values.

    Raises:
        PtychoError: when it is no JSON, or names what a map does not know.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        layout = FileMap.model_validate(values)
    except OSError as error:
        raise PtychoError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "map"
        given = shortened(repr(first["input"]))
        need = "An object with its keys is needed" if first["type"] == "model_type" else first["msg"].rstrip(".")
        raise PtychoError(f"{path}: {where}: {given} given. {need}.") from None
    except (ValueError, RecursionError) as error:
        raise PtychoError(f"{path}: is not JSON: {error}.") from None
    places = layout.positions
    if places.dataset is None and (places.x is None or places.y is None):
        raise PtychoError(f"{path}: positions: x and y, or dataset, are needed.")
    for name in ("energy", "wavelength", "distance", "detector_pixel", "pixel_size"):
        quantity = getattr(layout, name)
        if quantity is not None and (quantity.dataset is None) == (quantity.value is None):
            raise PtychoError(f"{path}: {name}: either dataset or value is needed.")
    return layout.model_dump(exclude_none=True)


def read_map(
    file: h5py.File, layout: dict[str, Any], pixel_m: float | None, in_memory: int, growing: bool = False
) -> Record:
    """Any HDF5 file, by a map that names its datasets; see docs/formats.md."""
    frames, order = _mapped_frames(file, layout["frames"])
    energy, distance, pitch = (
        _quantity(file, layout.get(name), name) for name in ("energy", "distance", "detector_pixel")
    )
    if energy is None and (wavelength := _quantity(file, layout.get("wavelength"), "wavelength")) is not None:
        energy = HC_EV_M / wavelength
    pixel = _quantity(file, layout.get("pixel_size"), "pixel_size") or pixel_m
    if pixel is None and energy is not None and distance is not None and pitch is not None:
        pixel = object_pixel(energy, distance, (pitch, pitch), frames.shape)[0]
    mask = layout.get("bad_pixels")
    good = None
    if mask is not None:
        values = hdf5.array(hdf5.find(file, mask["dataset"]))
        good = as_good(values, mask["dataset"]) if mask.get("bad", "nonzero") == "nonzero" else values != 0
    parts = {
        name: as_complex(hdf5.array(hdf5.find(file, layout[name])), name)
        for name in ("probe", "object")
        if name in layout
    }
    record = Record(
        "map",
        counts=hdf5.frames_of(frames, in_memory),
        measurement=layout["frames"].get("measurement"),
        probe=as_modes(parts["probe"]) if "probe" in parts else None,
        object=parts.get("object"),
        good_pixels=good,
        energy_eV=energy,
        distance_m=distance,
        detector_pixel_m=None if pitch is None else (pitch, pitch),
        notes=(f"Read by a map: frames in the order {order}.",),
        absent={"probe": NO_PROBE},
        frames_key=layout["frames"]["dataset"],
    )
    return _mapped_positions(file, record, layout["positions"], pixel, frames.shape[-1], growing)


def _mapped_frames(file: h5py.File, wanted: dict[str, Any]) -> tuple[hdf5.Stack, str]:
    order = wanted.get("order", "nyx")
    axes = order.index("n"), order.index("y"), order.index("x")
    corner = wanted.get("zero_frequency", "centre") == "corner"
    return hdf5.stack(hdf5.find(file, wanted["dataset"], "frames are needed"), axes, corner), order


def _quantity(file: h5py.File, wanted: dict[str, Any] | None, name: str) -> float | None:
    """A positive number of a map: ``{"dataset": ..., "unit": ...}`` or ``{"value": ..., "unit": ...}``."""
    if wanted is None:
        return None
    dimension, usual = ("energy", "eV") if name == "energy" else ("length", "m")
    value = wanted["value"] if "value" in wanted else hdf5.array(hdf5.find(file, wanted["dataset"]))
    found = hdf5.number(np.squeeze(value), name) * hdf5.unit(wanted.get("unit", usual), name, dimension)
    if not found > 0:
        raise PtychoError(f"{name}: {found:g} given; a positive {dimension} is needed.")
    return found


def _mapped_positions(
    file: h5py.File, record: Record, wanted: dict[str, Any], pixel: float | None, size: int, growing: bool
) -> Record:
    places = _mapped_places(file, wanted, growing)
    told = wanted.get("unit", "px")
    length = hdf5.unit(told, "positions", "length", "pixels")
    in_pixels = hdf5.UNITS[told][0] == "pixels"
    if growing:
        places, refused = as_far_as_usable(places, 1.0 if in_pixels else (pixel or 1.0) / length)
        record = replace(record, refused=refused)
    if in_pixels:
        return replace(record, positions=places, pixel_m=None if pixel is None else (pixel, pixel))
    if pixel is None:
        raise PtychoError(
            "positions: in a length, so the size of an object pixel is needed: give pixel_size, or energy, distance "
            "and detector_pixel, in the map, or --set pixel_size=METRES."
        )
    return metric(record, places * length, (pixel, pixel), size)


def _mapped_places(file: h5py.File, wanted: dict[str, Any], growing: bool) -> NDArray[np.float64]:
    """Positions (n, 2), (y, x), in the unit of the file; of a growing scan those with both coordinates."""
    columns = []
    for axis in "yx":
        if axis in wanted:
            values = np.ravel(hdf5.array(hdf5.find(file, wanted[axis], "positions are needed")))
        else:
            table = hdf5.array(hdf5.find(file, wanted["dataset"], "positions are needed"))
            table = table.T if wanted.get("order", "nx").endswith("n") else table
            order = wanted.get("columns", "yx")
            if table.ndim != 2 or table.shape[1] < len(order):
                raise PtychoError(f"{wanted['dataset']}: shape {table.shape}; columns {order} are needed.")
            values = table[:, order.index(axis)]
        if values.dtype.kind not in "uif":
            raise PtychoError(f"positions: dtype {values.dtype}; numbers are needed.")
        columns.append(wanted.get("sign", {}).get(axis, 1) * values.astype(np.float64))
    if growing:
        columns = [column[: min(map(len, columns))] for column in columns]
    if len(columns[0]) != len(columns[1]):
        raise PtychoError(f"positions: {len(columns[1])} x and {len(columns[0])} y; as many are needed.")
    if growing and not len(columns[0]):
        raise PtychoError("positions: none; at least one is needed.")
    return np.stack(columns, axis=-1)
