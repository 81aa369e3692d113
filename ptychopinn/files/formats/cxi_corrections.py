"""What a CXI file knows of its detector and beam beside the frames: dark signal, sensitivity, brightness of each frame.

The model has none of the three: the expected counts are those of probe and object alone. Frames are not corrected for
them either, because counts that were divided or subtracted from are no longer Poisson counts. They are named instead.
"""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import WARNING
from ptychopinn.files import hdf5

DETECTOR = "entry_1/instrument_1/detector_1"
INTENSITIES = tuple(f"entry_1/{group}/intensities" for group in ("data_1", "sample_1/geometry_1"))
HAS_SIGNAL = 0x1000
"""Bit of a mask that says of a pixel that it sees light: no fault."""

WORTH_A_LINE = 0.01
"""Relative spread of sensitivity or brightness from which on an image suffers."""


def without_signal_bit(mask: NDArray[Any]) -> NDArray[Any]:
    """A mask of bits whose nonzero pixels are bad."""
    return mask & ~mask.dtype.type(HAS_SIGNAL) if mask.dtype.kind in "ui" and mask.dtype.itemsize > 1 else mask


def sensitive(file: h5py.File, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Pixels of frames of ``shape`` with any sensitivity, where ``qe_mask`` says that some have none."""
    item = file.get(f"{DETECTOR}/qe_mask")
    if not isinstance(item, h5py.Dataset) or item.shape[-2:] != shape:
        return None
    good = np.nan_to_num(hdf5.reals(item)).reshape(-1, *shape)[0] > 0
    return None if good.all() or not good.any() else good


def not_modelled(file: h5py.File) -> list[str]:
    """Warnings about what is in the file and changes the counts, but is neither modelled nor corrected."""
    return [*_dark(file), *_sensitivity(file), *_brightness(file)]


def _dark(file: h5py.File) -> list[str]:
    item = file.get(f"{DETECTOR}/data_dark")
    values = _finite(item)
    if not values.size or not (mean := float(values.mean())) > 0:
        return []
    return [
        f"{WARNING}data_dark: {mean:.3g} counts per pixel and frame (at most {values.max():.3g}) are in the file and "
        "not modelled; where the frames contain them, the image and its deviance suffer."
    ]


def _sensitivity(file: h5py.File) -> list[str]:
    values = _finite(file.get(f"{DETECTOR}/qe_mask"))
    values = values[values > 0]
    if not values.size or (spread := float(values.std() / values.mean())) < WORTH_A_LINE:
        return []
    return [
        f"{WARNING}qe_mask: the sensitivity of the pixels differs by {100 * spread:.2g} % (standard deviation) and is "
        "not modelled; pixels of none are bad."
    ]


def _brightness(file: h5py.File) -> list[str]:
    found = next((file[name] for name in (*INTENSITIES, f"{DETECTOR}/intensities") if name in file), None)
    values = _finite(found)
    if not values.size or not values.mean() > 0 or (spread := float(values.std() / values.mean())) < WORTH_A_LINE:
        return []
    return [
        f"{WARNING}intensities: the beam differs by {100 * spread:.2g} % from frame to frame (standard deviation), "
        "which is not modelled."
    ]


def _finite(item: Any) -> NDArray[np.float64]:
    """The finite numbers of a dataset; none where there is none."""
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "uif":
        return np.empty(0)
    values = hdf5.reals(item)
    return values[np.isfinite(values)]
