"""Images for Fiji and other viewers: amplitude and phase, a float32 TIFF file each, with the size of a pixel.

ImageJ reads the size from its own text in the description (``unit=um``) and the pixels per unit from the resolution
tags, whose unit must then be none. Two files, because each opens with a contrast of its own in every viewer.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ptychopinn.files.atomic import writing
from ptychopinn.files.record import Record

PARTS: Final = ("amplitude", "phase")

UNITS: Final = (("um", 1e-6), ("nm", 1e-9))
"""As ImageJ spells them, in metres; the smaller one for pixels below a nanometre."""

SHOWN = (0.5, 99.5)
"""Percentiles between which a viewer shows an image at first."""


def files_of(path: Path) -> tuple[Path, ...]:
    """``OUT.tif`` -> ``OUT_amplitude.tif``, ``OUT_phase.tif``."""
    return tuple(path.with_name(f"{path.stem}_{part}{path.suffix}") for part in PARTS)


def write_tiff(path: Path, record: Record) -> None:
    """Write amplitude and phase (rad, wrapped to -pi .. pi) of an object: both files or none.

    Args:
        path: ``OUT.tif``, see :func:`files_of`.
        record: with an object.

    Raises:
        PtychoError: when it has none.
    """
    if record.object is None:
        raise record.missing("object", "an image is")
    image = np.asarray(record.object)
    lit = image != 0
    with ExitStack() as stack:
        for target, values in zip(files_of(path), (np.abs(image), np.angle(image)), strict=True):
            temporary = stack.enter_context(writing(target))
            _write(temporary, values.astype(np.float32), lit, record)


def _write(path: Path, values: NDArray[np.float32], lit: NDArray[np.bool_], record: Record) -> None:
    import tifffile  # not every conversion needs it

    metadata: dict[str, Any] = {"axes": "YX"}
    low, high = np.percentile(values[lit] if lit.any() else values, SHOWN).tolist()
    if low < high:
        metadata |= {"min": low, "max": high}
    resolution = None
    if record.pixel_m is not None and not record.made_up:
        height, width = record.pixel_m
        unit, size = UNITS[0] if min(height, width) >= 1e-9 else UNITS[1]
        metadata["unit"], resolution = unit, (size / width, size / height)
    with path.open("wb") as stream:
        tifffile.imwrite(stream, values, imagej=True, resolution=resolution, metadata=metadata)
