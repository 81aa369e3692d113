"""HDF5 files of NSLS-II. Read only."""

import h5py
import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.geometry.pixels import in_pixels
from ptychopinn.files.record import NO_PROBE, Reading, Record
from ptychopinn.files.values import HC_EV_M
from ptychopinn.scan.frames import blocks, light_in_corners


def read(file: h5py.File, how: Reading) -> Record:
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
    wavelength, distance, pitch = (hdf5.positive_number(file, name) for name in ("lambda_nm", "z_m", "ccd_pixel_um"))
    record = Record(
        "nsls2",
        counts=hdf5.frames_of(frames, how.in_memory),
        measurement="counts" if key == "dp" else "amplitude",
        energy_eV=HC_EV_M / (wavelength * 1e-9),
        distance_m=distance,
        detector_pixel_m=(pitch * 1e-6, pitch * 1e-6),
        notes=tuple(notes),
        absent={"probe": NO_PROBE},
        frames_key=key,
    )
    return in_pixels(record, points[[along_rows, 1 - along_rows]].T * 1e-6)
