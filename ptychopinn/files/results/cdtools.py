"""Results of cdtools (``save_to_h5`` of a ptychography model). Read only.

cdtools moves the probe over the object: a translation t (m) of the beam is the object pixel
``pinv(obj_basis) t - min_translation``, the corner of the patch, so the centre of the patch is N / 2 further. Its
transform is unitary: sum |probe|^2 is in counts.
"""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.record import Reading, Record
from ptychopinn.files.results.parts import ABSENT, pair_of, stack_of
from ptychopinn.files.values import HC_EV_M, as_complex

STATE = "state_dict"


def read(file: h5py.File, how: Reading) -> Record:
    """Read ``probe``, ``obj``, ``translations`` and the geometry.

    Raises:
        PtychoError: naming the dataset.
    """
    basis = hdf5.reals(hdf5.find(file, "obj_basis"))
    if basis.shape != (3, 2) or not np.isfinite(basis).all() or not (np.linalg.norm(basis, axis=0) > 0).all():
        raise PtychoError(f"obj_basis: shape {basis.shape}; two vectors (x, y, z) as columns are needed.")
    height, width = np.linalg.norm(basis, axis=0).tolist()
    probe, size, notes = _probe(file)
    probe = _as_lit(file, probe)
    image, more = _object(file)
    positions, origin = _positions(file, basis, size)
    wavelength = hdf5.number(file["wavelength"], "wavelength") if "wavelength" in file else 0.0
    near = _flag(file, "near_field")
    return Record(
        "cdtools",
        positions=positions,
        probe=probe,
        object=image,
        good_pixels=_mask(file),
        pixel_m=(height, width),
        origin_m=None if origin is None else (float(origin[0] * height), float(origin[1] * width)),
        energy_eV=HC_EV_M / wavelength if wavelength > 0 else None,
        metric=True,
        near_field="near_field is true" if near else None,
        notes=(*notes, *more, *_left_out(file)),
        absent=ABSENT,
    )


def _flag(file: h5py.File, name: str) -> bool:
    item = file.get(f"{STATE}/{name}")
    return isinstance(item, h5py.Dataset) and bool(np.asarray(item[()]).any())


def _probe(file: h5py.File) -> tuple[NDArray[np.complexfloating[Any]], int, list[str]]:
    """Modes (m, N, N), the edge N of a patch, and what was done to the modes."""
    probe = stack_of(hdf5.find(file, "probe"))
    notes = []
    if _flag(file, "fourier_probe"):
        middle = np.fft.ifftshift(probe, axes=(-2, -1))
        probe = np.fft.fftshift(np.fft.ifft2(middle, norm="ortho"), axes=(-2, -1)).astype(probe.dtype)
        notes.append("probe: cdtools kept it in Fourier space; it was transformed.")
    size = probe.shape[-1]
    if "background" in file:  # a patch is as large as a frame, times the oversampling
        finer = int(hdf5.number(file["oversampling"], "oversampling")) if "oversampling" in file else 1
        size = finer * int(hdf5.find(file, "background").shape[-1])
        if finer > 1:
            notes.append(f"probe: cdtools oversampled the frames {finer} times; the probe has {size} pixels.")
    if size != probe.shape[-1]:
        notes.append(f"probe: {probe.shape[-1]} pixels of its own size for patches of {size}; it fits no frame.")
    return probe, size, notes


def _as_lit(file: h5py.File, probe: NDArray[np.complexfloating[Any]]) -> NDArray[np.complexfloating[Any]]:
    """Modes with the power and the mutual intensity that the frames saw on average.

    ``weights`` are one amplitude per frame, or (n, rank, modes) a matrix W for each: its modes are W P. The modes A P
    with ``A^H A = mean(W^H W)`` have the mean mutual intensity of all frames.
    """
    if "weights" not in file:
        return probe
    weights = as_complex(hdf5.array(hdf5.find(file, "weights")), "weights")
    if weights.ndim == 1 and weights.size:
        return probe * np.sqrt((np.abs(weights) ** 2).mean()).astype(np.float32)
    if weights.ndim != 3 or not weights.size or weights.shape[-1] != len(probe):
        raise PtychoError(f"weights: shape {weights.shape}; (n) or (n, rank, {len(probe)} modes) is needed.")
    power, modes = np.linalg.eigh(np.einsum("nra,nrb->ab", weights.conj(), weights) / len(weights))
    root = (modes * np.sqrt(np.maximum(power, 0))) @ modes.conj().T
    return np.einsum("ab,byx->ayx", root, probe).astype(probe.dtype)


def _object(file: h5py.File) -> tuple[NDArray[np.complexfloating[Any]], list[str]]:
    images = stack_of(hdf5.find(file, "obj"))
    notes = [f"object: the first of {len(images)} modes is taken."] if len(images) > 1 else []
    image = images[0]
    if _flag(file, "exponentiate_obj"):
        image = np.exp(1j * (image.real if _flag(file, "phase_only") else image)).astype(image.dtype)
    return image, notes


def _positions(
    file: h5py.File, basis: NDArray[np.float64], size: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Positions (n, 2) in object pixels, and coordinate 0 of these in pixels of the laboratory."""
    if f"{STATE}/min_translation" not in file:
        return None, None
    corner = pair_of(hdf5.find(file, f"{STATE}/min_translation"))
    origin = corner - size / 2
    if "translations" not in file:
        return None, origin
    places = hdf5.reals(hdf5.find(file, "translations"))
    if places.ndim != 2 or places.shape[1] != 3 or not len(places):
        raise PtychoError(f"translations: shape {places.shape}; one (x, y, z) per frame is needed.")
    places = places * [1.0, 1.0, 0.0] @ _onto_sample(file).T
    return places @ np.linalg.pinv(basis).T - origin, origin


def _onto_sample(file: h5py.File) -> NDArray[np.float64]:
    """What takes a translation across the beam to the plane of a tilted sample, (3, 3)."""
    name = f"{STATE}/surface_normal"
    normal = np.ravel(hdf5.reals(hdf5.find(file, name))) if name in file else np.array([0.0, 0.0, 1.0])
    if normal.shape != (3,) or not np.isfinite(normal).all() or not abs(normal[2]) > 0:
        raise PtychoError(f"{name}: {normal.tolist()}; a vector (x, y, z) with z other than 0 is needed.")
    plane = np.eye(3)
    plane[2] = -normal / normal[2]
    return np.asarray(np.linalg.inv(plane), dtype=np.float64)


def _mask(file: h5py.File) -> NDArray[np.bool_] | None:
    item = file.get(f"{STATE}/mask")
    return hdf5.array(item).astype(bool) if isinstance(item, h5py.Dataset) and item.ndim == 2 else None


def _left_out(file: h5py.File) -> list[str]:
    """Lines about what cdtools modelled and this package does not."""
    lines = []
    weights = hdf5.array(hdf5.find(file, "weights")) if "weights" in file else np.ones(1)
    if weights.ndim > 1:
        lines.append("weights: cdtools mixed the modes anew for every frame; the probe has their mean.")
    elif weights.dtype.kind in "uif" and weights.size and np.ptp(weights) > 0.01 * abs(weights.mean()):
        lines.append(f"weights: amplitudes of {weights.min():.3g} to {weights.max():.3g} per frame are not modelled.")
    if "background" in file and (mean := float(hdf5.reals(hdf5.find(file, "background")).mean())) > 0.01:
        lines.append(f"background: {mean:.3g} counts per pixel are not modelled.")
    sensitivity = file.get(f"{STATE}/qe_mask")
    if isinstance(sensitivity, h5py.Dataset) and sensitivity.size and np.ptp(hdf5.reals(sensitivity)) > 0:
        lines.append("qe_mask: the sensitivity of the pixels is not modelled.")
    return lines
