"""Values of a file, checked and converted: arrays, lengths, and the geometry of the far field.

A value that cannot be used raises a PtychoError that names its key, what it holds and what is needed.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import IncurableError, PtychoError, shortened
from ptychopinn.physics.wavelength import HC_EV_M as HC_EV_M
from ptychopinn.physics.wavelength import Particle, wavelength
from ptychopinn.scan.dtypes import counts_dtype, plain

Array = NDArray[Any]

Value = TypeVar("Value")

SMALLEST_PIXEL, LARGEST_PIXEL = 1e-15, 1.0
"""Bounds of an object pixel, metres."""

LARGEST_DETECTOR_PIXEL_M, LONGEST_DISTANCE_M = 0.01, 500.0
"""Lengths in a file beyond which their unit is wrong: larger than any detector pixel, longer than any hall."""

JOULE_PER_EV = 1.602176634e-19


def checked_pixel(name: str, value: Any) -> float:
    """A positive length below a metre."""
    known = isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool)
    if not known or not SMALLEST_PIXEL < value < LARGEST_PIXEL:
        raise PtychoError(f"{name} {shortened(repr(value))}; a positive number of metres, below 1, is needed.")
    return float(value)


def likely_length(value: float, name: str, longest: float) -> float:
    """A length of an experiment, in metres.

    Raises:
        PtychoError: for one that is longer than any of its kind.
    """
    if value > longest:
        raise PtychoError(f"{name}: {value:g} m given; at most {longest:g} m is possible; check its unit.")
    return value


def check_finite(values: Array, name: str) -> None:
    """Refuse rows of which none is finite; single ones may still be left out."""
    if not np.isfinite(values).all(axis=1).any():
        raise PtychoError(f"{name}: NaN or infinity in all {len(values)} rows; positions are needed.")


def check_placed(positions: Array | None, numbers: Sequence[int] | NDArray[np.int64], way_out: str) -> None:
    """Refuse frames without a finite position.

    Args:
        positions: (n, 2); None where there are none.
        numbers: (n,) of the frames, as the user knows them.
        way_out: what to do.
    """
    if positions is None or positions.dtype.kind not in "uif" or len(positions) != len(numbers):
        return  # others complain of these
    wrong = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(wrong):
        raise PtychoError(
            f"positions: NaN or infinity, first in frame {numbers[wrong[0]]}, in {len(wrong)} of {len(positions)}; "
            f"{way_out}."
        )


def object_pixel(
    energy_eV: float,
    distance_m: float,
    detector_pixel_m: tuple[float, float],
    shape: tuple[int, ...],
    particle: Particle = "photon",
) -> tuple[float, float]:
    """Height and width of an object pixel in the far field, ``wavelength * distance / (N * detector pixel)``."""
    reach = wavelength(energy_eV, particle) * distance_m
    return reach / (shape[-2] * detector_pixel_m[0]), reach / (shape[-1] * detector_pixel_m[1])


def both(first: Value | None, second: Value | None) -> tuple[Value, Value] | None:
    """Two values; None unless both are there."""
    return None if first is None or second is None else (first, second)


def check_frames(value: Any, key: str) -> None:
    """Refuse an array or an HDF5 dataset that is no stack of real frames (n, H, W)."""
    shape = value.shape or ()  # an empty dataset has none
    if len(shape) < 3 or value.dtype.kind not in "uifb":
        needed = "real frames (n, N, N) or (rows, columns, N, N) are needed"
        raise IncurableError(f"{key}: shape {shape}, dtype {value.dtype}; {needed}.")


PARTS = (("real", "imag"), ("re", "im"), ("r", "i"))
"""Names of the parts of complex numbers, in lower case, as MATLAB and others store them."""


def as_numbers(value: Array) -> Array:
    """Values in types that torch takes; pairs of real and imaginary part become complex numbers."""
    names = value.dtype.names or ()
    if tuple(name.lower() for name in names) in PARTS:
        real, imaginary = (plain(value[name]) for name in names)
        if real.dtype.kind == imaginary.dtype.kind == "f":
            return real + real.dtype.type(1) * 1j * imaginary
    return plain(value) if value.dtype.kind in "uifc" else value


def as_stack(frames: Array, key: str) -> Array:
    """Frames (n, H, W); the axes of a scan become one, the last of them running fastest."""
    check_frames(frames, key)
    frames = frames.astype(counts_dtype(frames.dtype), copy=False)
    return frames.reshape(int(np.prod(frames.shape[:-2])), *frames.shape[-2:])


def as_complex(value: Array, key: str) -> NDArray[np.complexfloating[Any]]:
    """Complex numbers in the precision of the file."""
    if value.dtype.kind not in "cfui":
        raise IncurableError(f"{key}: dtype {value.dtype}; complex numbers are needed.")
    if value.dtype.kind == "c":
        return value
    return value.astype(np.complex128 if value.dtype.itemsize > 4 else np.complex64)


def as_modes(probe: NDArray[np.complexfloating[Any]]) -> NDArray[np.complexfloating[Any]]:
    """A probe of any usual shape, ``(N, N)``, ``(m, N, N)``, ``(N, N, m)`` or with leading ones, as (m, N, N).

    Modes are the last axis where only the first two are equal, and they are fewer than pixels.
    """
    while probe.ndim > 3 and probe.shape[0] == 1:
        probe = probe[0]
    if probe.ndim == 2:
        return probe[None]
    if probe.ndim == 3 and probe.shape[0] == probe.shape[1] > probe.shape[2]:
        return np.ascontiguousarray(np.moveaxis(probe, -1, 0))
    return probe


def as_product(layers: NDArray[np.complexfloating[Any]]) -> NDArray[np.complexfloating[Any]]:
    """An object (H, W), or the product of its layers (L, H, W)."""
    if layers.ndim == 2:
        return layers
    with np.errstate(over="ignore", invalid="ignore"):  # Scan refuses values that are not finite
        return layers[0] if len(layers) == 1 else np.prod(layers, axis=0)


def as_column(value: Array, key: str) -> NDArray[np.float64]:
    """One number per frame."""
    if value.ndim < 1 or np.squeeze(value).ndim > 2 or value.dtype.kind not in "uif":
        raise PtychoError(f"{key}: shape {value.shape}, dtype {value.dtype}; one number per frame is needed.")
    return np.ravel(value).astype(np.float64)


def as_coordinates(y: NDArray[np.float64], x: NDArray[np.float64], names: str) -> NDArray[np.float64]:
    """Positions (n, 2), (y, x), from two columns.

    Raises:
        PtychoError: for columns of different lengths, naming them by ``names``, or empty ones.
    """
    if len(x) != len(y):
        raise PtychoError(f"{names}: {len(x)} and {len(y)} entries; equal numbers are needed.")
    if not len(x):
        raise PtychoError(f"{names}: no entries; one number per frame is needed.")
    return np.stack([y, x], axis=-1)


def as_pairs(values: Array, key: str) -> NDArray[np.float64]:
    """Two real numbers per frame, (n, 2)."""
    if values.ndim < 2 or values.shape[-1] != 2 or values.dtype.kind not in "uif" or not values.size:
        raise IncurableError(f"{key}: shape {values.shape}, dtype {values.dtype}; two numbers per frame are needed.")
    return values.reshape(-1, 2).astype(np.float64)


def as_good(value: Array, key: str) -> NDArray[np.bool_]:
    """Good pixels from a mask that is nonzero where the detector is bad; floats are a mask where all are 0 or 1."""
    whole = value.dtype.kind == "f" and bool(np.isin(value, (0, 1)).all())
    if value.dtype.kind not in "bui" and not whole:
        raise IncurableError(f"{key}: dtype {value.dtype}; booleans or whole numbers are needed.")
    return np.asarray(value == 0)
