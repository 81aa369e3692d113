"""Checks of the arrays of a scan; a failed check is one sentence that says what is needed."""

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.scan.frames import Counts, check_all
from ptychopinn.scan.outliers import check_wild

MAX_POSITION = 1e9
"""Largest position, pixels; positions in a wrong unit exceed it."""

MIN_PROBE, MAX_PROBE = 1e-20, 1e25
"""Range of the photons of a probe; outside it their squares leave the range of float32."""


def check_frames(counts: Counts, positions: NDArray[np.float64]) -> None:
    """Refuse frames that are not (n, N, N) counts with even N, and positions that are not one (y, x) for each."""
    if not even_square(counts.shape):
        most = min(counts.shape[1:]) // 2 * 2 if counts.ndim == 3 else 0
        way = f": --crop {most} keeps the middle {most} x {most} pixels" if most >= 8 else ""
        raise IncurableError(f"diffraction: shape {counts.shape}; square frames (n, N, N) with even N are needed{way}.")
    if len(counts) == 0:
        raise PtychoError("diffraction: no frames; at least one is needed.")
    if positions.shape != (len(counts), 2):
        raise PtychoError(f"positions: shape {positions.shape}; one (y, x) for each of {len(counts)} frames is needed.")
    check_positions(positions)
    check_all(counts)


def even_square(shape: tuple[int, ...]) -> bool:
    """Whether a shape is (n, N, N) with even N."""
    return len(shape) == 3 and shape[1] == shape[2] and shape[1] % 2 == 0 and shape[1] > 0


def check_mask(good: NDArray[np.bool_], shape: tuple[int, ...]) -> None:
    """Refuse good pixels of another shape than the frames, or none."""
    if good.shape != shape:
        raise PtychoError(f"bad_pixels: shape {good.shape}; the frames are {shape}.")
    if not good.any():
        raise PtychoError(
            f"bad_pixels: all {shape[0]} x {shape[1]} pixels are marked bad (True, or a number other than 0); is the "
            "mask the other way round?"
        )


def check_positions(positions: NDArray[np.float64]) -> None:
    """Refuse positions that are no numbers, not finite, or too large to be pixels."""
    if positions.dtype.kind not in "uif":
        raise PtychoError(f"positions: dtype {positions.dtype}; numbers are needed.")
    _, why = leading(positions)
    if why is None:
        return
    if np.isfinite(positions).all():  # a few far away explain it better, and shift all others where pixels start at 0
        check_wild(positions, 0, np.arange(len(positions)))
    raise why


def leading(positions: NDArray[np.float64]) -> tuple[int, PtychoError | None]:
    """Number of positions (n, 2), pixels, before the first that is not finite or too large; and the error about it."""
    good = (abs(positions) <= MAX_POSITION).all(axis=1)  # NaN is not
    if good.all():
        return len(positions), None
    count = int(good.argmin())
    if not np.isfinite(positions[count]).all():
        return count, PtychoError(f"positions: frame {count} has a position that is not a finite number.")
    y, x = positions[count]
    return count, PtychoError(
        f"positions: frame {count} lies at y {y:.3g}, x {x:.3g}; object pixels up to "
        f"{MAX_POSITION:g} are needed; check the unit of xcoords and ycoords."
    )


def check_object(image: NDArray[np.complex64]) -> None:
    """Refuse an object that is not (H, W) or not finite."""
    if image.ndim != 2 or not image.size:
        raise PtychoError(f"object: shape {image.shape}; (H, W) is needed.")
    if not np.isfinite(image).all():
        raise PtychoError("object: holds NaN or infinity.")


def check_probe(probe: NDArray[np.complex64], size: int | None = None) -> None:
    """Refuse a probe that is not (modes, N, N), not finite, zero everywhere or beyond what float32 can square.

    Args:
        probe: to check.
        size: N; any even number when None.
    """
    if size is not None and (probe.ndim != 3 or probe.shape[1:] != (size, size)):
        raise IncurableError(f"probe: shape {probe.shape}; (modes, {size}, {size}) is needed, as large as the frames.")
    if probe.ndim != 3 or probe.shape[1] != probe.shape[2] or probe.shape[1] % 2 or not probe.size:
        raise PtychoError(f"probe: shape {probe.shape}; (modes, N, N) with even N is needed.")
    if not np.isfinite(probe).all():
        raise PtychoError("probe: holds NaN or infinity.")
    if not np.abs(probe).any():
        raise PtychoError("probe: is zero everywhere; an illumination is needed.")
    photons = float((np.abs(probe).astype(np.float64) ** 2).sum())
    if not MIN_PROBE < photons < MAX_PROBE:
        raise PtychoError(
            f"probe: sum |P|^2 is {photons:.3g}; photons per frame, from {MIN_PROBE:g} to {MAX_PROBE:g}, are needed."
        )


NO_LIGHT = "diffraction: zero everywhere; frames with photons are needed."
