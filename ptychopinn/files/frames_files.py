"""Frames alone, for ``--frames``: one dataset of an HDF5 file (``FILE:DATASET``), a ``.npy`` or an EMPAD's ``.raw``."""

from functools import partial
from pathlib import Path

from ptychopinn.files import hdf5
from ptychopinn.files.formats.bare_arrays import empad_cube, npy_cube
from ptychopinn.files.formats.py4dstem import dataset
from ptychopinn.files.geometry.raster import Cube, check_cube
from ptychopinn.files.naming import check_plain
from ptychopinn.files.record import Record


def read(name: Path, in_memory: int, allow_external: bool = False) -> Record | None:
    """The frames in their order in the file; None where the name is that of a file with a format of its own.

    Raises:
        PtychoError: naming the file and the dataset.
    """
    check_plain(name)
    if name.suffix == ".npy":
        return _record(npy_cube(name), name.name, in_memory)
    if name.suffix == ".raw":
        return _record(empad_cube(name), name.name, in_memory)
    text = str(name)
    if ":" not in text or name.exists():
        return None
    file, _, inside = text.rpartition(":")
    if not Path(file).is_file():
        return None
    with hdf5.opened(Path(file), allow_external) as opened:
        item = hdf5.find(opened, inside, "frames are needed")
        check_cube(inside, item.shape, item.dtype)
        return _record(
            Cube(partial(dataset, Path(file), inside, opened.folders), item.shape, item.dtype), inside, in_memory
        )


def _record(cube: Cube, key: str, in_memory: int) -> Record:
    measurement = None if cube.dtype.kind == "f" else "counts"
    return Record("frames", counts=hdf5.frames_of(cube, in_memory), measurement=measurement, frames_key=key)
