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
from ptychopinn.files.record import HC_EV_M, Array, Record, as_complex, as_good, as_modes, object_pixel

NO_POSITIONS = "the file holds frames only: give the file with positions and probe, and this one by --frames."
NO_FRAMES = "the file holds no frames: give them by --frames FILE."
NO_PROBE = "the file holds no probe; give one by --probe FILE."


def read_tike(path: Path) -> Record:
    """NPZ with ``data`` (n, N, N), zero frequency at [0, 0], and ``scan`` (n, 2), (row, col) of the patch corner."""
    arrays = load_arrays(path)
    try:
        data, scan = arrays["data"], arrays["scan"]
        if data.ndim != 3 or data.dtype.kind not in "uif":
            raise PtychoError(f"data: shape {data.shape}, dtype {data.dtype}; real frames (n, N, N) are needed.")
        corners = _pairs(scan[0] if scan.ndim == 3 else scan, "scan")
        image = arrays.get("psi")
        return Record(
            "tike",
            counts=np.fft.fftshift(data, axes=(1, 2)),
            positions=corners + np.array(data.shape[1:]) / 2,
            probe=as_modes(as_complex(arrays["probe"], "probe")) if "probe" in arrays else None,
            object=None if image is None else as_complex(image[0] if image.ndim == 3 else image, "psi"),
            notes=("tike: zero frequency moved from [0, 0] to the middle; positions from patch corners to centres.",),
            absent={"probe": NO_PROBE},
            frames_key="data",
        )
    except PtychoError as error:
        raise PtychoError(f"{path}: {error}") from None


def _pairs(values: Array, name: str) -> NDArray[np.float64]:
    if values.ndim != 2 or values.shape[1] != 2 or values.dtype.kind not in "uif" or not len(values):
        raise PtychoError(f"{name}: shape {values.shape}, dtype {values.dtype}; two numbers per frame are needed.")
    return values.astype(np.float64)


def read_frames_only(path: Path, file: h5py.File, in_memory: int) -> Record:
    """A dataset ``dp`` (n, N, N), as pty-chi and fold_slice keep it beside a file of positions."""
    counts = hdf5.frames_of(hdf5.stack(path, hdf5.find(file, "dp")), in_memory)
    return Record("dp", counts=counts, absent={"positions": NO_POSITIONS, "probe": NO_PROBE}, frames_key="dp")


def read_nsls2(path: Path, file: h5py.File, in_memory: int) -> Record:
    """Counts ``dp`` or amplitudes ``diffamp``, ``points`` (2, n) in um (x, y); lambda_nm, z_m, ccd_pixel_um."""
    key = "dp" if "dp" in file else "diffamp"
    frames = hdf5.stack(path, hdf5.find(file, key))
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
            absent={"probe": NO_PROBE},
            frames_key=key,
        ),
        points.T[:, ::-1] * 1e-6,
        object_pixel(energy, distance, (pitch, pitch), frames.shape),
        frames.shape[-1],
    )


def read_fold_slice(file: h5py.File, pixel_m: float | None) -> Record:
    """Positions ``ppX``, ``ppY`` in m, sign as in the file, and ``lambda``, ``dx`` in m; frames are in another file."""
    names = ("ppY", "ppX")
    y, x = (np.ravel(hdf5.array(hdf5.find(file, name))).astype(np.float64) for name in names)
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


def _scalar(file: h5py.File, name: str) -> float:
    """A positive number that is a dataset or an attribute."""
    value = hdf5.number(np.squeeze(hdf5.array(file[name])), name) if name in file else None
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


def read_ptyd(path: Path, file: h5py.File, in_memory: int) -> Record:
    """PtyPy: ``meta`` (distance m, energy keV, psize m), ``chunks/<i>/{data, positions (y, x) m, weights}``."""
    chunks = [file[f"chunks/{name}"] for name in sorted(file["chunks"], key=int)]
    if not chunks:
        raise PtychoError("chunks: empty; frames are needed.")
    stacks, places, good = [], [], None
    for chunk in chunks:
        stacks.append(hdf5.stack(path, hdf5.find(file, f"{chunk.name}/data")))
        places.append(_pairs(hdf5.array(hdf5.find(file, f"{chunk.name}/positions")), f"{chunk.name}/positions"))
        if len(places[-1]) != stacks[-1].shape[0]:
            raise PtychoError(
                f"{chunk.name}/positions: {len(places[-1])} entries for {stacks[-1].shape[0]} frames; as many are "
                "needed."
            )
        if "weights" in chunk and chunk["weights"].shape:
            weights = hdf5.array(chunk["weights"])
            bright = (weights if weights.ndim == 2 else weights.min(axis=0)) > 0
            good = bright if good is None else good & bright
    if len({stack.shape[1:] for stack in stacks}) > 1:
        raise PtychoError("chunks: frames of different sizes; equal ones are needed.")
    source = hdf5.Joined(stacks)
    energy, distance = 1e3 * _scalar(file, "meta/energy"), _scalar(file, "meta/distance")
    psize = np.broadcast_to(np.ravel(hdf5.array(hdf5.find(file, "meta/psize"))).astype(float), 2)
    pitch = float(psize[0]), float(psize[1])
    record = Record(
        "ptyd",
        counts=hdf5.frames_of(source, in_memory),
        good_pixels=good,
        energy_eV=energy,
        distance_m=distance,
        detector_pixel_m=pitch,
        notes=_centre(file, source.shape[-1]),
        absent={"probe": NO_PROBE},
        frames_key="chunks/data",
    )
    return _metric(
        record, np.concatenate(places), object_pixel(energy, distance, pitch, source.shape), source.shape[-1]
    )


def _centre(file: h5py.File, size: int) -> tuple[str, ...]:
    """A line where the file puts the zero frequency elsewhere than we do."""
    item: Any = file.get("meta/center")
    if item is None or np.asarray(item).dtype.kind not in "uif":
        return ()
    found = np.ravel(np.asarray(item)).astype(float)
    if np.allclose(found, size / 2, atol=0.51):
        return ()
    return (f"meta/center: {found.tolist()}; the zero frequency is taken at [{size // 2}, {size // 2}].",)


def read_map(path: Path, file: h5py.File, layout: dict[str, Any], pixel_m: float | None, in_memory: int) -> Record:
    """Any HDF5 file, by a map that names its datasets; see docs/formats.md."""
    frames, order = _mapped_frames(path, file, layout["frames"])
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
    return _mapped_positions(file, record, layout["positions"], pixel, frames.shape[-1])


def _mapped_frames(path: Path, file: h5py.File, wanted: dict[str, Any]) -> tuple[hdf5.Stack, str]:
    order = wanted.get("order", "nyx")
    axes = order.index("n"), order.index("y"), order.index("x")
    corner = wanted.get("zero_frequency", "centre") == "corner"
    return hdf5.stack(path, hdf5.find(file, wanted["dataset"], "frames are needed"), axes, corner), order


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
    file: h5py.File, record: Record, wanted: dict[str, Any], pixel: float | None, size: int
) -> Record:
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
    if len(columns[0]) != len(columns[1]):
        raise PtychoError(f"positions: {len(columns[1])} x and {len(columns[0])} y; as many are needed.")
    places = np.stack(columns, axis=-1)
    told = wanted.get("unit", "px")
    length = hdf5.unit(told, "positions", "length", "pixels")
    if hdf5.UNITS[told][0] == "pixels":
        return replace(record, positions=places, pixel_m=None if pixel is None else (pixel, pixel))
    if pixel is None:
        raise PtychoError(
            "positions: in a length, so the size of an object pixel is needed: give pixel_size, or energy, distance "
            "and detector_pixel, in the map, or --set pixel_size=METRES."
        )
    return _metric(record, places * length, (pixel, pixel), size)
