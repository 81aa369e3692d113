"""Types of stored numbers, and the types that the processor and torch take.

Files hold any byte order (MIB, EDF and FITS are big-endian), half and extended precision; torch refuses most of them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def plain_dtype(stored: np.dtype[Any]) -> np.dtype[Any]:
    """The type for numbers of a stored type: in the order of bytes of this machine, with 4 or 8 bytes per real part."""
    if stored.kind == "f" and stored.itemsize not in (4, 8):
        return np.dtype(np.float32 if stored.itemsize < 4 else np.float64)
    if stored.kind == "c" and stored.itemsize > 16:
        return np.dtype(np.complex128)
    return stored.newbyteorder("=")


def plain(values: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in :func:`plain_dtype`, not copied where they have it."""
    with np.errstate(over="ignore"):  # an extended number beyond float64 becomes infinite, which the checks refuse
        return values.astype(plain_dtype(values.dtype), copy=False)


def counts_dtype(stored: np.dtype[Any]) -> np.dtype[Any]:
    """The type for frames of a stored type: as :func:`plain_dtype`, a bit that says hit or not becomes 1 or 0."""
    return np.dtype(np.uint8) if stored.kind == "b" else plain_dtype(stored)
