"""Reconstructions of this package as sources: object, positions and probe.

Their ``positions`` lie in the object frame of the scan, in which ``origin`` is pixel [0, 0] of ``object``; a record has
pixel [0, 0] at coordinate 0. ``frame_numbers`` say which frames of the scan file they belong to.
"""

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files.reconstruction import arrays_of, check_arrays
from ptychopinn.files.record import Reading, Record
from ptychopinn.files.results.parts import ABSENT
from ptychopinn.files.values import Array, as_complex, as_modes, checked_pixel

FRAME_NUMBERS = "frame_numbers"

OWN = ("reconstruction", "reconstruction-npz")
"""Names of the formats."""


def read(file: h5py.File | Mapping[str, Array], how: Reading) -> Record:
    """Read an open ``reconstruction.h5``, or the arrays of ``reconstruction.npz``.

    Raises:
        PtychoError: naming the array, and what is needed.
    """
    arrays = arrays_of(file) if isinstance(file, h5py.File) else dict(file)
    check_arrays(arrays)
    origin = arrays["origin"].astype(np.float64)
    pixel = None
    if "pixel_size_m" in arrays:
        edge = checked_pixel("pixel_size_m", arrays["pixel_size_m"].item())
        pixel = edge, edge
    return Record(
        OWN[0] if isinstance(file, h5py.File) else OWN[1],
        positions=arrays["positions"].astype(np.float64) - origin,
        probe=as_modes(as_complex(arrays["probe"], "probe")) if "probe" in arrays else None,
        object=arrays["object"],
        pixel_m=pixel,
        origin_m=None if pixel is None else (float(origin[0] * pixel[0]), float(origin[1] * pixel[1])),
        extra={name: arrays[name] for name in (FRAME_NUMBERS,) if name in arrays},
        notes=_deviance(arrays),
        absent=ABSENT,
    )


def numbers_of(record: Record, other: Record, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Numbers of the frames of a reconstruction, and of those of the scan that ``name`` gives, in the same counting.

    Raises:
        PtychoError: when the scan has frames of another size, or lacks some of the numbers.
    """
    assert record.positions is not None
    assert other.counts is not None
    edge = other.counts.shape[-1]
    if record.probe is not None and record.probe.shape[-1] != edge:
        raise PtychoError(
            f"{name}: frames of {edge} pixels, and the reconstruction was made of frames of "
            f"{record.probe.shape[-1]}; equal ones are needed."
        )
    here = np.asarray(record.extra.get(FRAME_NUMBERS, np.arange(len(record.positions))))
    there = np.asarray(other.extra.get(FRAME_NUMBERS, np.arange(len(other.counts))))
    if missing := sorted(set(here.tolist()) - set(there.tolist())):
        raise PtychoError(
            f"{name}: no frame {missing[0]}, of which the reconstruction has a position; the scan that it was made of "
            "is needed."
        )
    return here, there


def _deviance(arrays: Mapping[str, Array]) -> tuple[str, ...]:
    names = ("deviance_per_pixel", "expected_deviance_per_pixel")
    if not all(name in arrays and np.isfinite(arrays[name]).all() for name in names):
        return ()
    measured, expected = (float(arrays[name]) for name in names)
    return (f"A reconstruction: deviance per pixel {measured:.3g} (noise alone {expected:.3g}).",)
