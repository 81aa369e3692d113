"""The canvas of a scan: the smallest box of whole object pixels that holds every patch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError

COVERED = 0.1
"""Share of the light on a typical photon's pixel from which a pixel is well covered."""


def bounds(positions: NDArray[np.floating[Any]], size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The smallest box of whole pixels that holds every patch: its corner (y, x), its height and width.

    Args:
        positions: (n, 2) pixels (y, x).
        size: edge N of a patch.
    """
    low = np.floor(positions.min(axis=0)).astype(int) - size // 2
    high = np.ceil(positions.max(axis=0)).astype(int) + size // 2 + 1
    return (int(low[0]), int(low[1])), (int(high[0] - low[0]), int(high[1] - low[1]))


def reframe(
    image: NDArray[np.complex64],
    origin: tuple[int, int],
    new_origin: tuple[int, int],
    new_shape: tuple[int, int],
    outside: complex = 0,
) -> NDArray[np.complex64]:
    """The same image on other whole pixels of the object frame.

    Args:
        image: (H, W) complex64.
        origin: object-frame (y, x) of its pixel [0, 0].
        new_origin: of pixel [0, 0] of the result.
        new_shape: of the result.
        outside: value where the image does not reach.
    """
    result = np.full(new_shape, outside, dtype=np.complex64)
    here, there = common(origin, image.shape, new_origin, new_shape)
    result[there] = image[here]
    return result


def start_image(
    image: NDArray[np.complex64], origin: tuple[int, int], new_origin: tuple[int, int], new_shape: tuple[int, int]
) -> NDArray[np.complex64]:
    """:func:`reframe` of an image to start a fit from: vacuum where it does not reach, or is 0.

    Raises:
        PtychoError: when it does not reach the new canvas at all.
    """
    found = reframe(image, origin, new_origin, new_shape)
    if not found.any():
        raise PtychoError(
            f"init: its image begins at y, x = {origin} and does not reach the frames, which begin at {new_origin}; "
            "an image of this scan is needed."
        )
    return np.where(found == 0, np.complex64(1), found)


def common(
    origin: tuple[int, int], shape: tuple[int, ...], other_origin: tuple[int, int], other_shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns that two boxes share: counted in the first, and in the other."""
    here, there = [], []
    for axis in (0, 1):
        start = max(origin[axis], other_origin[axis])
        stop = max(start, min(origin[axis] + shape[axis], other_origin[axis] + other_shape[axis]))
        here.append(slice(start - origin[axis], stop - origin[axis]))
        there.append(slice(start - other_origin[axis], stop - other_origin[axis]))
    return (here[0], here[1]), (there[0], there[1])


def covered(coverage: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Pixels of (H, W) light with at least ``COVERED`` of the light on a typical photon's pixel, ``sum c^2 / sum c``.

    This mean, weighted by the light itself, does not feel the wide faint tails of a probe.
    """
    light = np.asarray(coverage, np.float64)
    enough: NDArray[np.bool_] = light >= COVERED * (light**2).sum() / max(light.sum(), 1e-300)
    return enough & (light > 0)
