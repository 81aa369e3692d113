"""Files of ptychodus: the product of version 1.7 and older ones, its training export and its assembled frames.

A product puts metre coordinate ``center`` at pixel index (H - 1) / 2 of the object, and a patch of N pixels with its
index (N - 1) / 2 on the position. In our pixels, whose patch centre is N / 2, both halves cancel for even N:
``y = (y_m - center) / pixel + H / 2``; older versions with their centres at H / 2 and N / 2 give the same.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.geometry.pixels import without_placeholders
from ptychopinn.files.naming import naming
from ptychopinn.files.record import ELECTRON_ENERGY, Reading, Record
from ptychopinn.files.values import (
    Array,
    as_column,
    as_complex,
    as_coordinates,
    as_good,
    as_modes,
    as_product,
    checked_pixel,
)
from ptychopinn.files.written_hdf5 import WrittenFile, writing_hdf5
from ptychopinn.scan.frames import Counts, select

SCALARS: Final = {
    "probe_photon_count": 0.0,
    "exposure_time_s": 0.0,
    "mass_attenuation_m2_per_kg": 0.0,
    "tomography_angle_deg": 0.0,
    "focus_object_distance_m": 0.0,
    "tilt_angle_deg": 0.0,
}
"""Numbers that are kept from file to file, with the defaults of ptychodus."""

OLDER: Final = {"photon_energy_eV": "probe_energy_eV", "mass_attenuation_m2_per_kg": "mass_attenuation_m2_kg"}
"""Names of attributes that changed, and what they were; both are written."""

LARGEST_ATTRIBUTE = 2**16
"""Bytes that an attribute may hold."""

PIXELS_AGREE = 1e-3
"""Largest relative difference of probe and object pixels that count as equal."""

OTHER_PIXELS = "probe: its pixels differ in size from those of the object"

KEPT = ("probe_photon_counts", "loss_epochs", "loss_values", "opr_weights")
"""Datasets that are kept from file to file."""

RAW = "raw_data"


def read_product(file: h5py.File, how: Reading) -> Record:
    """A product, with frames where it has our group ``raw_data``.

    Raises:
        PtychoError: naming the dataset or attribute, and what is needed.
    """
    image = hdf5.find(file, "object", "a product has one")
    layers, probes = as_complex(hdf5.array(image), "object"), _probes(file)
    layers = layers[None] if layers.ndim == 2 else layers
    if layers.ndim != 3 or not layers.size:
        raise PtychoError(f"object: shape {layers.shape}; (layers, H, W) is needed.")
    pixel = _edges(image)
    center = _attribute(image, "center_y_m"), _attribute(image, "center_x_m")
    origin = center[0] - pixel[0] * layers.shape[1] / 2, center[1] - pixel[1] * layers.shape[2] / 2
    positions = (_places(file) - origin) / pixel
    raw = _raw(file, how) or Record("ptychodus-frames")
    extra, counts = _extra(file, layers, probes), raw.counts
    notes = _remarks(file, layers, probes, pixel)
    doubted = [note.partition(";")[0] for note in notes if note.startswith(OTHER_PIXELS)]
    if counts is not None:
        extra["probe_position_indexes"], positions, counts = _paired(extra, positions, counts, raw.extra["indexes"])
    near = np.asarray(file.attrs.get("far_field")).tolist() in (False, [False])
    record = Record(
        "ptychodus-product",
        counts=counts,
        positions=positions,
        probe=as_modes(probes[0]),
        object=as_product(layers),
        good_pixels=raw.good_pixels,
        pixel_m=pixel,
        origin_m=origin,
        energy_eV=_number(file, "photon_energy_eV"),
        distance_m=_number(file, "detector_object_distance_m"),
        detector_pixel_m=raw.detector_pixel_m,
        metric=True,
        near_field="far_field is false" if near else None,
        extra=extra,
        notes=tuple(notes),
        doubted=tuple(doubted),
        absent={"counts": f"{RAW}/patterns: not there; the product holds no frames: give them by --frames FILE."},
        frames_key=f"{RAW}/patterns",
    )
    return without_placeholders(record, str(file.attrs.get("made_up_geometry", "")))


def _attribute(item: Any, name: str) -> float:
    if name not in item.attrs:
        raise PtychoError(f"{item.name.strip('/') or 'file'}: no attribute {name}; a number is needed.")
    return hdf5.number(item.attrs[name], name)


def _number(file: h5py.File, name: str) -> float:
    """A number of the file under its present or its older name."""
    older = OLDER.get(name, name)
    value = _attribute(file, older if name not in file.attrs and older in file.attrs else name)
    if value < 0:
        raise PtychoError(f"{name}: {value:g} given; no negative number has a meaning here.")
    return value


def _edges(item: h5py.Dataset, of: str = "") -> tuple[float, float]:
    """Height and width of a pixel, in metres, from the attributes of a dataset."""
    height, width = (checked_pixel(name, _attribute(item, name)) for name in _edge_names(of))
    return height, width


def _edge_names(of: str) -> tuple[str, str]:
    return f"{of}pixel_height_m", f"{of}pixel_width_m"


def _probes(file: h5py.File) -> NDArray[np.complexfloating[Any]]:
    """(C, I, N, N): coherent modes, incoherent modes."""
    probes = as_complex(hdf5.array(hdf5.find(file, "probe", "a product has one")), "probe")
    if not 2 <= probes.ndim <= 4 or not probes.size:
        raise PtychoError(f"probe: shape {probes.shape}; (coherent modes, incoherent modes, N, N) is needed.")
    return probes.reshape((1,) * (4 - probes.ndim) + probes.shape)


def _places(file: h5py.File) -> NDArray[np.float64]:
    """Positions (n, 2) in metres (y, x)."""
    names = ("probe_position_y_m", "probe_position_x_m")
    found = [hdf5.find(file, name, "positions are needed") for name in names]
    columns = [as_column(hdf5.array(item), name) for item, name in zip(found, names, strict=True)]
    y, x = (column * hdf5.unit_of(item, "m", "length") for column, item in zip(columns, found, strict=True))
    places = as_coordinates(y, x, "probe_position_x_m, probe_position_y_m")
    index = hdf5.array(hdf5.find(file, "probe_position_indexes", "frame numbers are needed"))
    if index.shape != y.shape or index.dtype.kind not in "ui":
        raise PtychoError(
            f"probe_position_indexes: shape {index.shape}, dtype {index.dtype}; {len(y)} frame numbers are needed."
        )
    return places


def _raw(file: h5py.File, how: Reading) -> Record | None:
    """Frames, good pixels, frame numbers and detector pixel of our group; None where there is none."""
    if RAW not in file:
        return None
    with naming(RAW):
        if not isinstance(file[RAW], h5py.Group):
            raise PtychoError("is a dataset; a group with patterns and indexes is needed.")
        raw = read_frames(file[RAW], how)
        assert raw.counts is not None
        shape, count = np.shape(raw.extra.get("indexes", ())), raw.counts.shape[0]
        if shape != (count,):
            raise PtychoError(f"indexes: shape {shape}; one number for each of {count} frames is needed.")
    return raw


def _paired(
    extra: dict[str, Any], positions: NDArray[np.float64], counts: Counts, numbers: Array
) -> tuple[Array, NDArray[np.float64], Counts]:
    """Frame numbers, positions and frames that belong together, in the order of the positions."""
    index = extra.get("probe_position_indexes", np.arange(len(positions)))
    if np.array_equal(index, numbers):
        return index, positions, counts
    _, here, there = np.intersect1d(index, numbers, return_indices=True)
    if not len(here):
        raise PtychoError("indexes: no frame has the number of a position; equal numbers are needed.")
    order = np.argsort(here)
    return index[here[order]], positions[here[order]], select(counts, there[order])


def _remarks(file: h5py.File, layers: Array, probes: Array, pixel: tuple[float, float]) -> list[str]:
    notes = []
    if "photon_energy_eV" not in file.attrs:
        notes.append("Attributes of an older version of ptychodus (probe_energy_eV).")
    if len(layers) > 1:
        notes.append(f"object: {len(layers)} layers; their product is taken.")
    if len(probes) > 1:
        notes.append(f"probe: the first of {len(probes)} coherent (OPR) modes is taken.")
    own = hdf5.find(file, "probe").attrs
    sizes = [
        hdf5.number(own.get(name, edge), f"probe: {name}") for name, edge in zip(_edge_names(""), pixel, strict=True)
    ]
    if not np.allclose(sizes, pixel, PIXELS_AGREE):
        notes.append(f"{OTHER_PIXELS}; they are taken for the same.")
    if not np.isclose(*pixel, rtol=1e-6):
        notes.append(f"object: pixels of {pixel[0]:.4g} m x {pixel[1]:.4g} m are not square; no pixel size is kept.")
    index = np.asarray(file["probe_position_indexes"])
    if len(np.unique(index)) < len(index):
        notes.append("probe_position_indexes: numbers repeat; frames and positions are taken in their order.")
    return notes


def _extra(file: h5py.File, layers: Array, probes: Array) -> dict[str, Any]:
    """Values that are kept but not used."""
    extra: dict[str, Any] = {}
    extra |= {name: hdf5.text(file.attrs[name]) for name in ("name", "comments", "polarization") if name in file.attrs}
    extra |= {
        name: _number(file, name) for name in (*SCALARS, ELECTRON_ENERGY) if {name, OLDER.get(name)} & set(file.attrs)
    }
    index = np.asarray(file["probe_position_indexes"])
    if len(np.unique(index)) == len(index):
        extra["probe_position_indexes"] = index
    extra |= {name: hdf5.array(hdf5.find(file, name)) for name in KEPT if name in file}
    if "opr_weights" not in extra and "opr_weights" in file["probe"].attrs:
        extra["opr_weights"] = np.asarray(file["probe"].attrs["opr_weights"])
    if "loss_values" in extra and "loss_epochs" not in extra:
        extra["loss_epochs"] = np.arange(len(extra["loss_values"]))
    if len(probes) > 1:
        extra["opr_modes"] = probes[1:]
    if len(layers) > 1:
        extra["object_layers"] = layers
        extra["object_layer_spacing_m"] = hdf5.array(hdf5.find(file, "object_layer_spacing_m"))
    return extra


def write_product(path: Path, record: Record) -> None:
    """Write a product for ptychodus 1.7 and older versions, with the frames in ``raw_data``.

    Args:
        path: HDF5 file, written whole or not at all.
        record: with positions, probe, object, pixel size, energy and distance; counts as counts.

    Raises:
        PtychoError: when positions, probe or object are missing.
    """
    record.check_parts("a ptychodus product needs one; it is", "positions", "probe", "object")
    with writing_hdf5(path) as file:
        _write_attributes(file, record)
        _write_arrays(file, record)
        if record.counts is not None:
            _write_raw(file, record)


def _write_attributes(file: h5py.File, record: Record) -> None:
    extra = record.extra
    file.attrs["name"] = str(extra.get("name", "Unnamed"))
    file.attrs["comments"] = str(extra.get("comments", ""))
    file.attrs["detector_object_distance_m"] = record.distance_m
    file.attrs["far_field"] = record.near_field is None
    values = {name: float(extra.get(name, usual)) for name, usual in SCALARS.items()}
    for name, value in (values | {"photon_energy_eV": record.energy_eV}).items():
        file.attrs[name] = value
        if name in OLDER:
            file.attrs[OLDER[name]] = value
    if ELECTRON_ENERGY in extra:
        file.attrs[ELECTRON_ENERGY] = extra[ELECTRON_ENERGY]
    if "polarization" in extra:
        file.attrs["polarization"] = str(extra["polarization"])
    if "made_up_geometry" in extra:
        file.attrs["made_up_geometry"] = str(extra["made_up_geometry"])


def _write_arrays(file: h5py.File, record: Record) -> None:
    assert record.positions is not None
    assert record.probe is not None
    assert record.object is not None
    assert record.pixel_m is not None
    extra, pixel = record.extra, record.pixel_m
    layers = np.asarray(extra.get("object_layers", record.object[None]))
    shape = layers.shape[1:]
    places, origin = record.in_metres(shape)
    file["probe_position_indexes"] = extra.get("probe_position_indexes", np.arange(len(places)))
    file["probe_position_x_m"], file["probe_position_y_m"] = places[:, 1], places[:, 0]
    file["probe"] = record.all_modes()
    file["object"] = layers
    file["object_layer_spacing_m"] = np.asarray(extra.get("object_layer_spacing_m", ()), dtype=np.float64)
    for name in (name for name in KEPT if name in extra):
        file[name] = extra[name]
    if "opr_weights" in extra and np.asarray(extra["opr_weights"]).nbytes < LARGEST_ATTRIBUTE - 4096:
        file["probe"].attrs["opr_weights"] = extra["opr_weights"]
    for item in (file["probe"], file["object"]):
        item.attrs["pixel_height_m"], item.attrs["pixel_width_m"] = pixel
    for axis, name in enumerate(("center_y_m", "center_x_m")):
        file["object"].attrs[name] = origin[axis] + pixel[axis] * shape[axis] / 2


def _write_raw(file: WrittenFile, record: Record) -> None:
    """The frames in the layout of ptychodus's own ``diffraction.h5``."""
    assert record.counts is not None
    group = file.create_group(RAW)
    frames = hdf5.write_frames(file, f"{RAW}/patterns", record.counts)
    group["indexes"] = file["probe_position_indexes"][()]
    if record.good_pixels is not None:
        group["bad_pixels"] = ~record.good_pixels
    if record.detector_pixel_m is not None:
        frames.attrs["detector_pixel_height_m"], frames.attrs["detector_pixel_width_m"] = record.detector_pixel_m


def read_training(file: h5py.File, how: Reading) -> Record:
    """A training export in HDF5; its positions are object pixels with the centre at (N - 1) / 2."""
    names = ("probe_position_y_px", "probe_position_x_px")
    y, x = (as_column(hdf5.array(hdf5.find(file, name)), name) for name in names)
    height, width = (
        hdf5.positive(hdf5.find(file, f"object_pixel_{edge}_m"), "m", "length") for edge in ("height", "width")
    )
    return replace(
        read_frames(file, how),
        format="ptychodus-training",
        positions=as_coordinates(y, x, f"{names[1]}, {names[0]}") + 0.5,
        probe=as_modes(as_complex(hdf5.array(hdf5.find(file, "probe")), "probe")),
        object=as_complex(hdf5.array(file["object"]), "object") if "object" in file else None,
        pixel_m=(height, width),
        energy_eV=hdf5.positive(hdf5.find(file, "photon_energy_eV"), "eV", "energy"),
        distance_m=hdf5.positive(hdf5.find(file, "detector_object_distance_m"), "m", "length"),
        partial=False,
        notes=("Positions moved by 1/2 px: the centre of ptychodus is (N - 1) / 2.",),
    )


def read_frames(file: h5py.Group, how: Reading) -> Record:
    """The assembled frames of ptychodus (``diffraction.h5``): patterns, numbers, bad pixels."""
    item = hdf5.find(file, "patterns", "frames are needed")
    known = all(name in item.attrs for name in _edge_names("detector_"))
    mask = hdf5.first(file, "bad_pixels")
    return Record(
        "ptychodus-frames",
        counts=hdf5.frames_of(hdf5.stack(item), how.in_memory),
        good_pixels=None if mask is None else as_good(hdf5.array(mask), "bad_pixels"),
        detector_pixel_m=_edges(item, "detector_") if known else None,
        extra={"indexes": hdf5.array(hdf5.find(file, "indexes"))} if "indexes" in file else {},
        frames_key="patterns",
    )
