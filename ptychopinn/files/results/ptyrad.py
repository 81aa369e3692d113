"""Models of PtyRAD (``model_iter*.hdf5``). Read only.

The patch of a frame begins at the object pixel ``crop_pos``, and the probe is shifted by ``probe_pos_shifts`` on it,
both (y, x): ``y = crop_pos + shift + N / 2``. The frames, and with them the probe, are divided by the mean sum of a
frame, so that sum |probe|^2 is about 1. ``dx`` is in angstrom.
"""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.record import Reading, Record
from ptychopinn.files.results.parts import ABSENT, ANGSTROM, pixel_of, stack_of, told
from ptychopinn.files.values import as_pairs, as_product

FOUND, MODEL = "optimizable_tensors", "model_attributes"
ORIENTATION = ("params/init_params/meas_flipT", "params/exp_params/meas_flipT")


def read(file: h5py.File, how: Reading) -> Record:
    """Read probe, amplitude and phase of the object, and where its patches lie.

    Raises:
        PtychoError: naming the dataset.
    """
    probe = stack_of(hdf5.find(file, f"{FOUND}/probe")) if f"{FOUND}/probe" in file else None
    notes = ["probe: PtyRAD divides the frames by their mean sum; it is not in photons."] if probe is not None else []
    image, more = _object(file)
    positions = None
    if f"{MODEL}/crop_pos" in file:
        if probe is None:
            raise PtychoError(f"{FOUND}/probe: not there; its size tells where the patches lie.")
        corners = as_pairs(hdf5.array(hdf5.find(file, f"{MODEL}/crop_pos")), f"{MODEL}/crop_pos")
        positions = corners + _shifts(file, len(corners)) + np.array(probe.shape[-2:]) / 2
    pixel = pixel_of(hdf5.find(file, f"{MODEL}/dx"), ANGSTROM) if f"{MODEL}/dx" in file else None
    return Record(
        "ptyrad-model",
        positions=positions,
        probe=probe,
        object=image,
        pixel_m=pixel,
        notes=(*notes, *more, *_turned(file)),
        absent=ABSENT,
    )


def _object(file: h5py.File) -> tuple[NDArray[np.complexfloating[Any]] | None, list[str]]:
    """``obja exp(i objp)`` of shape (modes, layers, H, W), as one image."""
    names = (f"{FOUND}/obja", f"{FOUND}/objp")
    if not all(name in file for name in names):
        return None, []
    amplitude, phase = (hdf5.reals(hdf5.find(file, name)) for name in names)
    if amplitude.shape != phase.shape or amplitude.ndim != 4 or not amplitude.size:
        raise PtychoError(f"{names[0]}: shape {amplitude.shape}, objp {phase.shape}; (modes, layers, H, W) is needed.")
    layers = (amplitude * np.exp(1j * phase))[0]
    return as_product(layers), told(len(layers), len(amplitude))


def _shifts(file: h5py.File, count: int) -> NDArray[np.float64]:
    name = f"{FOUND}/probe_pos_shifts"
    if name not in file:
        return np.zeros((count, 2))
    shifts = as_pairs(hdf5.array(hdf5.find(file, name)), name)
    if len(shifts) != count:
        raise PtychoError(f"{name}: {len(shifts)} entries for {count} of crop_pos; as many are needed.")
    return shifts


def _turned(file: h5py.File) -> list[str]:
    """A line where PtyRAD mirrored or transposed the frames before it used them."""
    for name in ORIENTATION:
        item = file.get(name)
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "buif" and np.asarray(item[()]).any():
            flips = np.asarray(item[()]).astype(int).tolist()
            return [f"PtyRAD turned the frames (up-down, left-right, transposed: {flips}); these need the same."]
    return []
