"""PtyPy's .ptyd files. Read only."""

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.conventions.own_folder import check_sources
from ptychopinn.files.geometry.pixels import in_pixels
from ptychopinn.files.record import NO_PROBE, Reading, Record
from ptychopinn.files.values import as_pairs
from ptychopinn.scan.frames import blocks


def read(file: h5py.File, how: Reading) -> Record:
    """PtyPy: ``meta`` (distance m, energy keV, psize m), ``chunks/<i>/{data, positions (y, x) m, weights}``."""
    chunks = file.get("chunks")
    if not isinstance(chunks, h5py.Group) or not len(chunks) or not all(name.isdecimal() for name in chunks):
        raise PtychoError("chunks: a group of numbered groups with frames is needed.")
    names = [f"chunks/{name}" for name in sorted(chunks, key=int)]
    stacks, places, weights = [], [], [hdf5.optional(file, "meta/weight2d")]
    for name in names:
        stacks.append(hdf5.stack(hdf5.find(file, f"{name}/data")))
        places.append(as_pairs(hdf5.array(hdf5.find(file, f"{name}/positions")), f"{name}/positions"))
        if len(places[-1]) != stacks[-1].shape[0]:
            raise PtychoError(
                f"{name}/positions: {len(places[-1])} entries for {stacks[-1].shape[0]} frames; as many are needed."
            )
        weights.append(hdf5.optional(file, f"{name}/weights"))
    if len({stack.shape[1:] for stack in stacks}) > 1:
        raise PtychoError("chunks: frames of different sizes; equal ones are needed.")
    source = hdf5.Joined(stacks)
    masks = [_lit(item, source.shape[1:]) for item in weights if item is not None and item.size]
    psize = np.ravel(hdf5.reals(hdf5.find(file, "meta/psize")))
    if psize.size not in (1, 2) or not (psize > 0).all():
        raise PtychoError(f"meta/psize: {psize.tolist()} given; one or two positive numbers of metres are needed.")
    pitch = float(psize[0]), float(psize[-1])
    propagation = hdf5.optional(file, "meta/propagation")
    near = propagation is not None and "near" in str(propagation[()])
    record = Record(
        "ptyd",
        counts=hdf5.frames_of(source, how.in_memory),
        good_pixels=np.logical_and.reduce(masks) if masks else None,
        energy_eV=1e3 * hdf5.positive_number(file, "meta/energy"),
        distance_m=hdf5.positive_number(file, "meta/distance"),
        detector_pixel_m=pitch,
        near_field="meta/propagation is nearfield" if near else None,
        notes=_centre(file, source.shape[-1]),
        absent={"probe": NO_PROBE},
        frames_key="chunks/data",
    )
    return in_pixels(record, np.concatenate(places))


def _lit(weights: h5py.Dataset, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Good pixels: their weight is positive in every frame."""
    check_sources(weights)
    if weights.shape[-2:] != shape:
        raise PtychoError(f"{weights.name}: shape {weights.shape}; the frames are {shape}.")
    if weights.ndim < 3:
        return hdf5.array(weights) > 0
    lit: NDArray[np.bool_] = np.logical_and.reduce([(weights[rows] > 0).all(axis=0) for rows in blocks(weights.shape)])
    return lit


def _centre(file: h5py.File, size: int) -> tuple[str, ...]:
    """A note where the file has the zero frequency elsewhere."""
    item = hdf5.optional(file, "meta/center")
    if item is None or item.dtype.kind not in "uif":
        return ()
    found = np.ravel(np.asarray(item)).astype(float)
    if np.allclose(found, size / 2, atol=0.51):
        return ()
    return (f"meta/center: {found.tolist()}; the zero frequency is taken at [{size // 2}, {size // 2}].",)
