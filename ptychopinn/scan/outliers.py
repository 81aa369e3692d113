"""Positions far from all others, as a glitch of a motor or an encoder makes them."""

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.text import readable

FEWEST_PLACES = 8
"""Different positions that are needed to tell what is usual."""

TRIMMED = 20
"""One in so many different positions may be wrong at either end of an axis."""

BEYOND = 3.0
"""Widths of the scan, or of a frame, by which a wild position lies beyond the others: no scan leaps so far."""


def wild(positions: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Indices of positions that lie far from all others.

    Args:
        positions: (n, 2) finite, pixels.
        size: edge N of a frame.
    """
    places = np.unique(positions, axis=0)
    if len(places) < FEWEST_PLACES:
        return np.empty(0, np.int64)
    # Trimmed, so that the wild ones do not tell how wide the scan is; of different positions, because motors rest.
    cut = max(1, len(places) // TRIMMED)
    ordered = np.sort(places, axis=0)
    low, high = ordered[cut], ordered[-1 - cut]
    reach = BEYOND * max(float((high - low).max()), float(size))
    return np.flatnonzero((np.maximum(low - positions, positions - high) > reach).any(axis=1))


def check_wild(positions: NDArray[np.float64], size: int, numbers: NDArray[np.int64]) -> None:
    """Refuse positions of which some lie far from all others: they make an image of empty pixels.

    Args:
        positions: (n, 2) finite, pixels (y, x).
        size: edge N of a frame.
        numbers: (n,) of the frames in the file.

    Raises:
        PtychoError: naming the frames, and what the others span.
    """
    found = wild(positions, size)
    if not len(found):
        return
    rest = np.delete(positions, found, axis=0)
    low, high = rest.min(axis=0), rest.max(axis=0)
    away = np.maximum(low - positions[found], positions[found] - high).max(axis=1)
    shown = ", ".join(map(str, numbers[found[:5]])) + (" ..." if len(found) > 5 else "")
    frames = f"frame {shown} lies" if len(found) == 1 else f"{len(found)} frames ({shown}) lie at least"
    height, width = (readable(float(edge)) for edge in high - low)
    raise PtychoError(
        f"positions: {frames} {readable(float(away.min()))} px away from the other {len(rest)} frames, which span "
        f"{height} x {width} px; correct the position, or leave such frames out by --drop-frames FILE."
    )
