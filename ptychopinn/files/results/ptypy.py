"""Reconstructions of PtyPy (``.ptyr``). Read only.

A storage of PtyPy holds images (layers, H, W), the metres ``_psize`` (y, x) of a pixel and ``_origin`` of pixel [0, 0].
A view of N pixels has its pixel N / 2 on its coordinate, so ``y = (coord - _origin) / _psize``. PtyPy rounds the views
to whole pixels. It propagates ``P exp(i pi r^2 / (wavelength distance))`` in one Fresnel step; our probe is that
product.
"""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.record import Reading, Record
from ptychopinn.files.results.parts import ABSENT, first_of, pair_of, pixel_of, stack_of, told
from ptychopinn.files.values import HC_EV_M, as_pairs

CONTENT = "content"


def read(file: h5py.File, how: Reading) -> Record:
    """Read ``content/{probe, obj, positions}`` and what ``content/pars`` says of the geometry.

    Raises:
        PtychoError: naming the group or dataset.
    """
    probes, notes = first_of(file, f"{CONTENT}/probe", "a probe")
    objects, more = first_of(file, f"{CONTENT}/obj", "an object")
    pixel = pixel_of(hdf5.find(file, f"{objects.name}/_psize"))
    origin = pair_of(hdf5.find(file, f"{objects.name}/_origin"))
    images = stack_of(hdf5.find(file, f"{objects.name}/data"))
    energy, distance = _energy(file, probes), _of_scan(file, "distance")
    probe, curved = _curved(stack_of(hdf5.find(file, f"{probes.name}/data")), pixel, energy, distance)
    return Record(
        "ptyr",
        positions=_positions(file, str(objects.name).split("/")[-1], origin, pixel),
        probe=probe,
        object=images[0],
        pixel_m=pixel,
        origin_m=(float(origin[0]), float(origin[1])),
        energy_eV=energy,
        distance_m=distance,
        metric=True,
        near_field="propagation is nearfield" if _is_near(file) else None,
        notes=(*notes, *more, *told(1, len(images)), *curved),
        absent={**ABSENT, "positions": f"{CONTENT}/positions: not there; PtyPy writes them when it refines positions."},
    )


def _positions(
    file: h5py.File, name: str, origin: NDArray[np.float64], pixel: tuple[float, float]
) -> NDArray[np.float64] | None:
    item = hdf5.optional(file, f"{CONTENT}/positions/{name}")
    if item is None:
        return None
    return (as_pairs(hdf5.array(item), str(item.name)) - origin) / np.array(pixel)


def _of_scan(file: h5py.File, name: str) -> float | None:
    """A positive number of the first scan whose parameters have it."""
    scans = file.get(f"{CONTENT}/pars/scans")
    for scan in sorted(scans) if isinstance(scans, h5py.Group) else ():
        item = hdf5.optional(file, f"{scans.name}/{scan}/data/{name}")
        if item is not None and item.dtype.kind in "uif" and item.size == 1 and (value := float(item[()])) > 0:
            return value
    return None


def _energy(file: h5py.File, probes: h5py.Group) -> float | None:
    """Electronvolts; PtyPy has kiloelectronvolts."""
    item = hdf5.optional(file, f"{probes.name}/_energy")
    if item is not None and item.dtype.kind in "uif" and item.size == 1 and (value := float(item[()])) > 0:
        return 1e3 * value
    known = _of_scan(file, "energy")
    return None if known is None else 1e3 * known


def _is_near(file: h5py.File) -> bool:
    scans = file.get(f"{CONTENT}/pars/scans")
    for scan in scans if isinstance(scans, h5py.Group) else ():
        for name in ("propagation", "data/propagation"):
            item = hdf5.optional(file, f"{scans.name}/{scan}/{name}")
            if item is not None and "near" in str(item[()]):
                return True
    return False


def _curved(
    probe: NDArray[np.complexfloating[Any]],
    pixel: tuple[float, float],
    energy: float | None,
    distance: float | None,
) -> tuple[NDArray[np.complexfloating[Any]], list[str]]:
    """The probe (m, N, N) with the curvature that PtyPy keeps in its propagator, and a line where that is not known."""
    if probe.shape[-1] != probe.shape[-2]:
        raise PtychoError(f"{CONTENT}/probe: shape {probe.shape}; square modes are needed.")
    if energy is None or distance is None:
        return probe, ["probe: energy or distance is not in the file; the curvature of PtyPy's propagator is left out."]
    y, x = ((np.arange(probe.shape[-1]) - probe.shape[-1] // 2) * edge for edge in pixel)
    reach = HC_EV_M / energy * distance
    return probe * np.exp(1j * np.pi * (y[:, None] ** 2 + x**2) / reach).astype(probe.dtype), []
