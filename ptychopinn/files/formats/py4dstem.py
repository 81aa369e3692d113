"""DataCubes of py4DSTEM in HDF5 (EMD 1.0 and older), read only.

A DataCube is (Rx, Ry, Qx, Qy), where x is the first axis: our rows. Its calibration lies beside it, in the root's
``metadatabundle/calibration``; its units are pixels until somebody has measured them.
Source: emdfile 0.0.16 and py4DSTEM 0.14.18, ``data/calibration.py``, ``process/phase/phase_base_class.py``.
"""

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.conventions.own_folder import DAMAGED, Folders, opened_file
from ptychopinn.files.geometry.microscope import PIXELS
from ptychopinn.files.geometry.raster import NO_LENS, Calibration, Cube, check_cube, on_raster, raster_shape
from ptychopinn.files.record import Reading, Record

CALIBRATION = "metadatabundle/calibration"
VOLTS_PER_KV = 1e3
LARGEST_KV = 3000.0
"""No microscope has more: a larger number is in volts."""


def is_py4dstem(file: h5py.File) -> bool:
    """Whether an HDF5 file holds a DataCube."""
    return bool(_cubes(file))


def read(file: h5py.File, how: Reading) -> Record:
    """The DataCube of a file on its raster, and a complex probe where there is one.

    Raises:
        PtychoError: for several cubes, or what is not calibrated.
    """
    cubes = _cubes(file)
    if len(cubes) != 1:
        listed = ", ".join(cubes) or "none"
        raise PtychoError(
            f"DataCubes: {listed}; one is needed: name its dataset by a map, or by --frames FILE:DATASET."
        )
    name = cubes[0]
    item = hdf5.find(file, name)
    check_cube(name, item.shape, item.dtype)
    cube = Cube(partial(dataset, Path(file.filename), name, hdf5.folders_of(item)), item.shape, item.dtype)
    shape, notes = raster_shape(name, item.shape, how.microscope.shape())
    record = Record(
        "py4dstem",
        counts=hdf5.frames_of(cube, how.in_memory),
        measurement="counts",
        probe=_probe(file, item.shape[-2:]),
        absent={"probe": NO_LENS},
        frames_key=name,
        notes=tuple(notes),
    )
    return on_raster(record, shape, calibration_of(file, name), how)


def dataset(path: Path, name: str, folders: Folders = ()) -> h5py.Dataset:
    """A dataset of a file, which stays open as long as it is used; ``folders`` as of ``opened_file``."""
    try:
        return opened_file(path, folders)[name]
    except DAMAGED as error:
        raise PtychoError(f"{path}: {name}: cannot be read: {hdf5.reason(error)}.") from None


def _cubes(file: h5py.File) -> list[str]:
    """Names of the datasets that are DataCubes."""
    found: list[str] = []

    def note(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Group) or "emd_group_type" not in item.attrs:
            return
        data = item.get("data")
        if isinstance(data, h5py.Dataset) and data.ndim == 4:
            found.append(f"{name}/data")

    file.visititems(note)
    return found


def calibration_of(file: h5py.File, name: str) -> Calibration:
    """What the file says of its cube: the calibration of its root, or else the cube's own axes."""
    root, group = file[name.split("/")[0]], file[name].parent
    kept = root.get(CALIBRATION)
    values = {} if not isinstance(kept, h5py.Group) else {key: _value(item) for key, item in kept.items()}
    step, q_step = _sized(values, "R"), _sized(values, "Q")
    voltage = next((values[key] for key in ("voltage", "accelerating_voltage", "energy") if key in values), None)
    rotation = values.get("QR_rotation_degrees")
    return Calibration(
        step if _known(step) else _axes(group, (0, 1)),
        q_step if _known(q_step) else _axes(group, (2, 3)),
        float(rotation) if isinstance(rotation, int | float) else 0.0,
        values.get("QR_flip") is True,
        _kilovolts(voltage),
    )


def _kilovolts(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        return None
    return value / VOLTS_PER_KV if value > LARGEST_KV else float(value)


def _value(item: Any) -> Any:
    """A number, text or truth value of the metadata; None for anything else."""
    if not isinstance(item, h5py.Dataset) or item.shape != ():
        return None
    value = item[()]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.item() if isinstance(value, np.generic) else value


def _sized(values: dict[str, Any], space: str) -> tuple[tuple[float, float], str] | None:
    size, unit = values.get(f"{space}_pixel_size"), values.get(f"{space}_pixel_units")
    if not isinstance(size, int | float) or not np.isfinite(size) or not size > 0 or not isinstance(unit, str):
        return None
    return (float(size), float(size)), unit


def _known(found: tuple[tuple[float, float], str] | None) -> bool:
    return found is not None and found[1] not in PIXELS


def _axes(group: h5py.Group, numbers: tuple[int, int]) -> tuple[tuple[float, float], str] | None:
    """Step and unit of two axes, from their vectors: ``dim0`` ... of EMD 1.0, ``dim1`` ... of older ones."""
    first = 0 if "dim0" in group else 1
    found = [_axis(group.get(f"dim{first + number}")) for number in numbers]
    if found[0] is None or found[1] is None or found[0][1] != found[1][1]:
        return None
    return (found[0][0], found[1][0]), found[0][1]


def _axis(item: Any) -> tuple[float, str] | None:
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "uif" or item.size < 2 or "units" not in item.attrs:
        return None
    values, unit = np.ravel(hdf5.array(item)), item.attrs["units"]
    step = abs(float(values[1]) - float(values[0]))
    text = unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit)
    return (step, text.strip("[]")) if step > 0 else None


def _probe(file: h5py.File, shape: tuple[int, ...]) -> NDArray[np.complexfloating[Any]] | None:
    """A complex array of the size of a frame that is called a probe; py4DSTEM's own vacuum probe is real."""
    found: list[NDArray[Any]] = []

    def note(name: str, item: Any) -> None:
        called = isinstance(item, h5py.Dataset) and item.dtype.kind == "c" and "probe" in name.lower()
        if called and 2 <= item.ndim <= 4 and item.shape[-2:] == shape:
            found.append(hdf5.array(item))

    file.visititems(note)
    return found[0].reshape(-1, *shape) if found else None
