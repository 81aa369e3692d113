"""Reconstructions of this package as sources: object, positions and probe.

Their ``positions`` lie in the object frame of the scan, in which ``origin`` is pixel [0, 0] of ``object``; a record has
pixel [0, 0] at coordinate 0. ``frame_numbers`` say which frames of the scan file they belong to.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.files.record import Record, as_complex, as_modes, checked_pixel
from ptychopinn.files.results.parts import ABSENT

FRAME_NUMBERS, FRAME_SIZE = "frame_numbers", "frame_size"

OWN = ("reconstruction", "reconstruction-npz")
"""Names of the formats."""


def read_own(path: Path) -> Record:
    """Read ``reconstruction.h5`` or ``.npz``.

    Raises:
        PtychoError: naming the file, what it holds and what is needed.
    """
    arrays = read_reconstruction(path)
    origin = arrays["origin"].astype(np.float64)
    extra: dict[str, Any] = {name: arrays[name] for name in (FRAME_NUMBERS,) if name in arrays}
    if FRAME_SIZE in arrays:
        extra[FRAME_SIZE] = int(arrays[FRAME_SIZE])
    pixel = None
    if "pixel_size_m" in arrays:
        edge = checked_pixel(f"{path}: pixel_size_m", arrays["pixel_size_m"].item())
        pixel = edge, edge
    return Record(
        "reconstruction",
        positions=arrays["positions"].astype(np.float64) - origin,
        probe=as_modes(as_complex(arrays["probe"], "probe")) if "probe" in arrays else None,
        object=arrays["object"],
        pixel_m=pixel,
        origin_m=None if pixel is None else (float(origin[0] * pixel[0]), float(origin[1] * pixel[1])),
        extra=extra,
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
    size, edge = record.extra.get(FRAME_SIZE), other.counts.shape[-1]
    if size is not None and size != edge:
        raise PtychoError(
            f"{name}: frames of {edge} pixels, and the reconstruction was made of frames of {size}; equal ones are "
            "needed: convert or subset the scan with --crop first."
        )
    here = np.asarray(record.extra.get(FRAME_NUMBERS, np.arange(len(record.positions))))
    there = np.asarray(other.extra.get(FRAME_NUMBERS, np.arange(len(other.counts))))
    if missing := sorted(set(here.tolist()) - set(there.tolist())):
        raise PtychoError(
            f"{name}: no frame {missing[0]}, of which the reconstruction has a position; the scan that it was made of "
            "is needed."
        )
    return here, there


def _deviance(arrays: dict[str, Any]) -> tuple[str, ...]:
    names = ("deviance_per_pixel", "expected_deviance_per_pixel")
    if not all(name in arrays and np.isfinite(arrays[name]).all() for name in names):
        return ()
    measured, expected = (float(arrays[name]) for name in names)
    return (f"A reconstruction: deviance per pixel {measured:.3g} (noise alone {expected:.3g}).",)
