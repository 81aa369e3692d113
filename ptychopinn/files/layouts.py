"""Smaller layouts: tike, pty-chi, PtyPy's .ptyd, fold_slice, NSLS-II. Read only."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.npz import load_arrays
from ptychopinn.files.record import (
    HC_EV_M,
    Array,
    Record,
    as_complex,
    as_far_as_usable,
    as_good,
    as_modes,
    object_pixel,
)
from ptychopinn.frames import blocks, light_in_corners

NO_POSITIONS = "the file holds frames only: give the file with positions and probe, and this one by --frames."
NO_FRAMES = "the file holds no frames: give them by --frames FILE."
NO_PROBE = "the file holds no probe; give one by --probe FILE."


def read_tike(path: Path) -> Record:
    """NPZ with ``data`` (n, N, N), zero frequency at [0, 0], and ``scan`` (n, 2), (row, col) of the patch corner.

    Older files have an axis of views, of length 1, before the others.
    """
    arrays = load_arrays(path)
    try:
        missing = [name for name in ("data", "scan") if name not in arrays]
        if missing:
            raise PtychoError(f"{missing[0]}: not there; a file of tike has data and scan.")
        data, scan = _one_view(arrays["data"], 3), _one_view(arrays["scan"], 2)
        if data.ndim != 3 or data.dtype.kind not in "uif":
            raise PtychoError(f"data: shape {data.shape}, dtype {data.dtype}; real frames (n, N, N) are needed.")
        corners = _pairs(scan, "scan")
        return Record(
            "tike",
            counts=np.fft.fftshift(data, axes=(1, 2)),
            positions=corners + np.array(data.shape[1:]) / 2,
            probe=as_modes(as_complex(arrays["probe"], "probe")) if "probe" in arrays else None,
            object=as_complex(_one_view(arrays["psi"], 2), "psi") if "psi" in arrays else None,
            notes=("tike: zero frequency moved from [0, 0] to the middle; positions from patch corners to centres.",),
            absent={"probe": NO_PROBE},
            frames_key="data",
        )
    except PtychoError as error:
        raise PtychoError(f"{path}: {error}") from None


def _one_view(values: Array, axes: int) -> Array:
    """Without the leading axis of length 1."""
    return values[0] if values.ndim == axes + 1 and len(values) == 1 else values


def _pairs(values: Array, name: str) -> NDArray[np.float64]:
    if values.ndim != 2 or values.shape[1] != 2 or values.dtype.kind not in "uif" or not len(values):
        raise PtychoError(f"{name}: shape {values.shape}, dtype {values.dtype}; two numbers per frame are needed.")
    return values.astype(np.float64)


def read_frames_only(file: h5py.File, in_memory: int) -> Record:
    """A dataset ``dp`` (n, N, N), as pty-chi and fold_slice keep it beside a file of positions."""
    counts = hdf5.frames_of(hdf5.stack(hdf5.find(file, "dp")), in_memory)
    return Record("dp", counts=counts, absent={"positions": NO_POSITIONS, "probe": NO_PROBE}, frames_key="dp")


def read_nsls2(file: h5py.File, in_memory: int) -> Record:
    """``points`` (2, n) in um (x, y); lambda_nm, z_m, ccd_pixel_um; frames ``dp`` or ``diffamp``.

    ``dp`` are counts (n, y, x). ``diffamp`` are amplitudes as the program of the beamline HXN writes them: (n, x, y),
    rows along x, the zero frequency at [0, 0].
    """
    key = "dp" if "dp" in file else "diffamp"
    item = hdf5.find(file, key)
    frames, along_rows, notes = hdf5.stack(item), 1, []
    if key == "diffamp":
        along_rows = 0
        notes.append("diffamp: rows are x, as the beamline's program has them (--swap-xy if not).")
        first = next(blocks(frames.shape), None)
        if first is not None and light_in_corners(frames.read(np.arange(first.stop)).mean(axis=0)):
            frames = hdf5.stack(item, corner=True)
            notes.append("diffamp: zero frequency moved from [0, 0] to the middle.")
    points = hdf5.array(hdf5.find(file, "points"))
    if points.ndim != 2 or points.shape[0] != 2 or points.dtype.kind not in "uif" or not points.shape[1]:
        raise PtychoError(f"points: shape {points.shape}; (2, n) with x and y in um is needed.")
    names = ("lambda_nm", "z_m", "ccd_pixel_um")
    wavelength, distance, pitch = (_scalar(file, name) for name in names)
    energy, pitch = HC_EV_M / (wavelength * 1e-9), pitch * 1e-6
    return _metric(
        Record(
            "nsls2",
            counts=hdf5.frames_of(frames, in_memory),
            measurement="counts" if key == "dp" else "amplitude",
            energy_eV=energy,
            distance_m=distance,
            detector_pixel_m=(pitch, pitch),
            notes=tuple(notes),
            absent={"probe": NO_PROBE},
            frames_key=key,
        ),
        points[[along_rows, 1 - along_rows]].T * 1e-6,
        object_pixel(energy, distance, (pitch, pitch), frames.shape),
        frames.shape[-1],
    )


def read_fold_slice(file: h5py.File, pixel_m: float | None) -> Record:
    """Positions ``ppX``, ``ppY`` in m, sign as in the file, and ``lambda``, ``dx`` in m; frames are in another file."""
    names = ("ppY", "ppX")
    y, x = (np.ravel(hdf5.reals(hdf5.find(file, name))) for name in names)
    if len(y) != len(x) or not len(x):
        raise PtychoError(f"ppX, ppY: {len(x)} and {len(y)} entries; as many are needed.")
    pixel = _scalar(file, "dx") if "dx" in file else pixel_m
    if pixel is None:
        raise PtychoError("dx: not there; the size of an object pixel is needed: give --set pixel_size=METRES.")
    record = Record(
        "fold_slice",
        energy_eV=HC_EV_M / _scalar(file, "lambda") if "lambda" in file else None,
        notes=("fold_slice: signs as in the file; its own program mirrors both axes (--flip-x --flip-y).",),
        absent={"counts": NO_FRAMES, "probe": NO_PROBE},
    )
    return _metric(record, np.stack([y, x], axis=-1), (pixel, pixel), 0)


def _given(file: h5py.File, name: str) -> h5py.Dataset | None:
    """A dataset; None where there is none, or where PtyPy marks one as None."""
    item = file.get(name)
    return item if isinstance(item, h5py.Dataset) and str(item.attrs.get("type", "")) != "None" else None


def _scalar(file: h5py.File, name: str) -> float:
    """A positive number that is a dataset or an attribute."""
    item = _given(file, name)
    value = None if item is None else hdf5.number(np.squeeze(hdf5.array(item)), name)
    if value is None and name in file.attrs:
        value = hdf5.number(file.attrs[name], name)
    if value is None or not value > 0:
        raise PtychoError(
            f"{name}: {'not there' if value is None else f'{value:g} given'}; a positive number is needed."
        )
    return value


def _metric(record: Record, places_m: NDArray[np.float64], pixel: tuple[float, float], size: int) -> Record:
    """With positions from metres (y, x), the first patch in the corner of the image."""
    if not np.isfinite(places_m).all():
        raise PtychoError("positions: hold NaN or infinity.")
    low = places_m.min(axis=0)
    origin = float(low[0] - pixel[0] * size / 2), float(low[1] - pixel[1] * size / 2)
    return replace(
        record, positions=(places_m - origin) / np.array(pixel), pixel_m=pixel, origin_m=origin, metric=size > 0
    )


def read_ptyd(file: h5py.File, in_memory: int) -> Record:
    """PtyPy: ``meta`` (distance m, energy keV, psize m), ``chunks/<i>/{data, positions (y, x) m, weights}``."""
    chunks = file.get("chunks")
    if not isinstance(chunks, h5py.Group) or not len(chunks) or not all(name.isdecimal() for name in chunks):
        raise PtychoError("chunks: a group of numbered groups with frames is needed.")
    names = [f"chunks/{name}" for name in sorted(chunks, key=int)]
    stacks, places, weights = [], [], [_given(file, "meta/weight2d")]
    for name in names:
        stacks.append(hdf5.stack(hdf5.find(file, f"{name}/data")))
        places.append(_pairs(hdf5.array(hdf5.find(file, f"{name}/positions")), f"{name}/positions"))
        if len(places[-1]) != stacks[-1].shape[0]:
            raise PtychoError(
                f"{name}/positions: {len(places[-1])} entries for {stacks[-1].shape[0]} frames; as many are needed."
            )
        weights.append(_given(file, f"{name}/weights"))
    if len({stack.shape[1:] for stack in stacks}) > 1:
        raise PtychoError("chunks: frames of different sizes; equal ones are needed.")
    source = hdf5.Joined(stacks)
    masks = [_lit(item, source.shape[1:]) for item in weights if item is not None and item.size]
    energy, distance = 1e3 * _scalar(file, "meta/energy"), _scalar(file, "meta/distance")
    psize = np.ravel(hdf5.reals(hdf5.find(file, "meta/psize")))
    if psize.size not in (1, 2) or not (psize > 0).all():
        raise PtychoError(f"meta/psize: {psize.tolist()} given; one or two positive numbers of metres are needed.")
    pitch = float(psize[0]), float(psize[-1])
    propagation = _given(file, "meta/propagation")
    near = propagation is not None and "near" in str(propagation[()])
    record = Record(
        "ptyd",
        counts=hdf5.frames_of(source, in_memory),
        good_pixels=np.logical_and.reduce(masks) if masks else None,
        energy_eV=energy,
        distance_m=distance,
        detector_pixel_m=pitch,
        near_field="meta/propagation is nearfield" if near else None,
        notes=_centre(file, source.shape[-1]),
        absent={"probe": NO_PROBE},
        frames_key="chunks/data",
    )
    return _metric(
        record, np.concatenate(places), object_pixel(energy, distance, pitch, source.shape), source.shape[-1]
    )


def _lit(weights: h5py.Dataset, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels whose weight is positive in every frame of ``shape``."""
    if weights.shape[-2:] != shape:
        raise PtychoError(f"{weights.name}: shape {weights.shape}; the frames are {shape}.")
    if weights.ndim < 3:
        return hdf5.array(weights) > 0
    lit: NDArray[np.bool_] = np.logical_and.reduce([(weights[rows] > 0).all(axis=0) for rows in blocks(weights.shape)])
    return lit


def _centre(file: h5py.File, size: int) -> tuple[str, ...]:
    """A line where the file puts the zero frequency elsewhere than we do."""
    item = _given(file, "meta/center")
    if item is None or item.dtype.kind not in "uif":
        return ()
    found = np.ravel(np.asarray(item)).astype(float)
    if np.allclose(found, size / 2, atol=0.51):
        return ()
    return (f"meta/center: {found.tolist()}; the zero frequency is taken at [{size // 2}, {size // 2}].",)


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
    return _metric(record, places * length, (pixel, pixel), size)


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
