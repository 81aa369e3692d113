"""Frames and positions of fold_slice and pty-chi. Read only."""

import h5py
import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.geometry.pixels import in_pixels
from ptychopinn.files.record import NO_FRAMES, NO_POSITIONS, NO_PROBE, Reading, Record
from ptychopinn.files.values import HC_EV_M, Array, as_complex, as_coordinates, as_modes
from ptychopinn.scan.frames import Counts

MATLAB = "A file of MATLAB, which stores axes in reverse: rows and columns of frames and probe are exchanged."


def read_frames(file: h5py.File, how: Reading) -> Record:
    """A dataset ``dp`` (n, N, N), as pty-chi and fold_slice keep it beside a file of positions."""
    counts, _, notes = _images(file, how)
    absent = {"positions": NO_POSITIONS, "probe": NO_PROBE}
    return Record("dp", counts=counts, absent=absent, notes=notes, frames_key="dp")


def _images(file: h5py.File, how: Reading) -> tuple[Counts | None, Array | None, tuple[str, ...]]:
    """Frames ``dp`` and ``probe`` where they are there, and a note; as MATLAB 7.3 saves them, (n, x, y)."""
    counts, probe, turned = None, None, hdf5.is_matlab(file)
    if (item := hdf5.first(file, "dp")) is not None:
        counts = hdf5.frames_of(hdf5.stack(item, (0, 2, 1) if turned else (0, 1, 2)), how.in_memory)
    if (item := hdf5.first(file, "probe")) is not None:
        probe = as_complex(hdf5.array(item), "probe")
        probe = as_modes(np.ascontiguousarray(probe.swapaxes(-1, -2)) if turned and probe.ndim > 1 else probe)
    return counts, probe, (MATLAB,) if turned else ()


def read_positions(file: h5py.File, how: Reading) -> Record:
    """Positions ``ppX``, ``ppY`` in m, sign as in the file, and ``lambda``, ``dx`` in m; frames may be elsewhere."""
    y, x = (np.ravel(hdf5.reals(hdf5.find(file, name))) for name in ("ppY", "ppX"))
    places = as_coordinates(y, x, "ppX, ppY")
    pixel = hdf5.positive_number(file, "dx") if "dx" in file else how.pixel_size
    if pixel is None:
        raise PtychoError("dx: not there; the size of an object pixel is needed: give --set pixel_size=METRES.")
    counts, probe, notes = _images(file, how)
    record = Record(
        "fold_slice",
        counts=counts,
        probe=probe,
        energy_eV=HC_EV_M / hdf5.positive_number(file, "lambda") if "lambda" in file else None,
        notes=("fold_slice: signs as in the file; its own program mirrors both axes (--flip-x --flip-y).", *notes),
        absent={"counts": NO_FRAMES, "probe": NO_PROBE},
        frames_key="dp",
    )
    return in_pixels(record, places, (pixel, pixel))
