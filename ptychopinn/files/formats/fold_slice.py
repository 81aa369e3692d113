"""Frames and positions of fold_slice and pty-chi. Read only."""

import h5py
import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.geometry import in_pixels
from ptychopinn.files.record import NO_FRAMES, NO_POSITIONS, NO_PROBE, Reading, Record
from ptychopinn.files.values import HC_EV_M, as_complex, as_coordinates, as_modes


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
    notes = ["fold_slice: signs as in the file; its own program mirrors both axes (--flip-x --flip-y)."]
    turned = hdf5.is_matlab(file)
    if turned:
        notes.append("A file of MATLAB, which stores axes in reverse: frames and probe are transposed.")
    frames = hdf5.stack(hdf5.find(file, "dp"), (0, 2, 1) if turned else (0, 1, 2)) if "dp" in file else None
    probe = as_complex(hdf5.array(hdf5.find(file, "probe")), "probe") if "probe" in file else None
    record = Record(
        "fold_slice",
        counts=None if frames is None else hdf5.frames_of(frames, how.in_memory),
        probe=None if probe is None else as_modes(probe.swapaxes(-1, -2) if turned and probe.ndim > 1 else probe),
        energy_eV=HC_EV_M / hdf5.positive_number(file, "lambda") if "lambda" in file else None,
        notes=tuple(notes),
        absent={"counts": NO_FRAMES, "probe": NO_PROBE},
    )
    return in_pixels(record, places, (pixel, pixel))
