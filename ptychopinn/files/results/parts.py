"""What the results of several programs share: groups that are looked up, layers and modes that are told of."""

from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files import hdf5
from ptychopinn.files.record import MAKE_PROBE
from ptychopinn.files.values import Array, as_complex

ANGSTROM = 1e-10
"""Metres."""

ABSENT: Final = {
    "counts": "a result holds no frames: give them by --frames FILE.",
    "positions": "the result holds no positions.",
    "probe": f"the result holds no probe; {MAKE_PROBE}",
}
"""Sentences for what a result lacks."""


def first_of(file: h5py.File, name: str, what: str) -> tuple[h5py.Group, list[str]]:
    """The first group inside a group, in the order of names, and a line where there are others.

    Raises:
        PtychoError: when there is none.
    """
    group = file.get(name)
    inside = sorted(key for key in group if isinstance(group[key], h5py.Group)) if isinstance(group, h5py.Group) else []
    if not isinstance(group, h5py.Group) or not inside:
        raise PtychoError(f"{name}: not there, or empty; {what} is needed.")
    others = [f"{name}: {inside[0]} is taken; not read: {shortened(', '.join(inside[1:]))}."] if inside[1:] else []
    return group[inside[0]], others


def stack_of(dataset: h5py.Dataset, lowest: int = 3) -> NDArray[np.complexfloating[Any]]:
    """Complex arrays (k, H, W) of a dataset (H, W), (k, H, W) or with more leading axes down to ``lowest``.

    Raises:
        PtychoError: naming the dataset.
    """
    values = as_complex(hdf5.array(dataset), str(dataset.name))
    if values.ndim == 2:
        values = values[None]
    if values.ndim < lowest or not values.size:
        raise PtychoError(f"{dataset.name}: shape {values.shape}; complex images (k, H, W) are needed.")
    return values


def pair_of(dataset: h5py.Dataset) -> NDArray[np.float64]:
    """Two finite numbers (y, x), also where one stands for both.

    Raises:
        PtychoError: naming the dataset.
    """
    values = np.ravel(hdf5.reals(dataset))
    if values.size not in (1, 2) or not np.isfinite(values).all():
        raise PtychoError(f"{dataset.name}: shape {values.shape}; two finite numbers (y, x) are needed.")
    return np.resize(values, 2)


def pixel_of(dataset: h5py.Dataset, unit: float = 1.0) -> tuple[float, float]:
    """Height and width of a pixel in metres, from a dataset in ``unit``.

    Raises:
        PtychoError: naming the dataset.
    """
    height, width = (unit * pair_of(dataset)).tolist()
    if not (0 < height < 1 and 0 < width < 1):
        raise PtychoError(f"{dataset.name}: {height:g}, {width:g} m; positive lengths below a metre are needed.")
    return height, width


def told(layers: int, modes: int) -> list[str]:
    """Lines about an object of several layers or of several incoherent modes."""
    lines = [f"object: {layers} layers; their product is taken."] if layers > 1 else []
    return lines + ([f"object: the first of {modes} incoherent modes is taken."] if modes > 1 else [])


def usable(values: Array, key: str) -> NDArray[np.float64]:
    """Positions (..., 2) as (n, 2).

    Raises:
        PtychoError: naming ``key``.
    """
    if values.ndim < 2 or values.shape[-1] != 2 or values.dtype.kind not in "uif" or not values.size:
        raise PtychoError(f"{key}: shape {values.shape}, dtype {values.dtype}; positions (n, 2) are needed.")
    return values.reshape(-1, 2).astype(np.float64)
