"""Frames and positions of fold_slice and pty-chi. Read only."""

import h5py
import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.geometry import in_pixels
from ptychopinn.files.record import NO_FRAMES, NO_POSITIONS, NO_PROBE, Reading, Record
from ptychopinn.files.values import HC_EV_M, as_coordinates


def read_frames(file: h5py.File, how: Reading) -> Record:
    """A dataset ``dp`` (n, N, N), as pty-chi and fold_slice keep it beside a file of positions."""
    counts = hdf5.frames_of(hdf5.stack(hdf5.find(file, "dp")), how.in_memory)
    return Record("dp", counts=counts, absent={"positions": NO_POSITIONS, "probe": NO_PROBE}, frames_key="dp")


def read_positions(file: h5py.File, how: Reading) -> Record:
    """Positions ``ppX``, ``ppY`` in m, sign as in the file, and ``lambda``, ``dx`` in m; frames are in another file."""
    y, x = (np.ravel(hdf5.reals(hdf5.find(file, name))) for name in ("ppY", "ppX"))
    places = as_coordinates(y, x, "ppX, ppY")
    pixel = hdf5.positive_number(file, "dx") if "dx" in file else how.pixel_size
    if pixel is None:
        raise PtychoError("dx: not there; the size of an object pixel is needed: give --set pixel_size=METRES.")
    record = Record(
        "fold_slice",
        energy_eV=HC_EV_M / hdf5.positive_number(file, "lambda") if "lambda" in file else None,
        notes=("fold_slice: signs as in the file; its own program mirrors both axes (--flip-x --flip-y).",),
        absent={"counts": NO_FRAMES, "probe": NO_PROBE},
    )
    return in_pixels(record, places, (pixel, pixel))
