"""Frames and positions of fold_slice and pty-chi. Read only."""

import h5py
import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.geometry import metric
from ptychopinn.files.hdf5 import scalar
from ptychopinn.files.record import HC_EV_M, NO_FRAMES, NO_POSITIONS, NO_PROBE, Record


def read_frames_only(file: h5py.File, in_memory: int) -> Record:
    """A dataset ``dp`` (n, N, N), as pty-chi and fold_slice keep it beside a file of positions."""
    counts = hdf5.frames_of(hdf5.stack(hdf5.find(file, "dp")), in_memory)
    return Record("dp", counts=counts, absent={"positions": NO_POSITIONS, "probe": NO_PROBE}, frames_key="dp")


def read_fold_slice(file: h5py.File, pixel_m: float | None) -> Record:
    """Positions ``ppX``, ``ppY`` in m, sign as in the file, and ``lambda``, ``dx`` in m; frames are in another file."""
    names = ("ppY", "ppX")
    y, x = (np.ravel(hdf5.reals(hdf5.find(file, name))) for name in names)
    if len(y) != len(x) or not len(x):
        raise PtychoError(f"ppX, ppY: {len(x)} and {len(y)} entries; as many are needed.")
    pixel = scalar(file, "dx") if "dx" in file else pixel_m
    if pixel is None:
        raise PtychoError("dx: not there; the size of an object pixel is needed: give --set pixel_size=METRES.")
    record = Record(
        "fold_slice",
        energy_eV=HC_EV_M / scalar(file, "lambda") if "lambda" in file else None,
        notes=("fold_slice: signs as in the file; its own program mirrors both axes (--flip-x --flip-y).",),
        absent={"counts": NO_FRAMES, "probe": NO_PROBE},
    )
    return metric(record, np.stack([y, x], axis=-1), (pixel, pixel), 0)
