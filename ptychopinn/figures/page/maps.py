"""Arrays in a page: 16 bits a pixel, as text."""

import base64
from dataclasses import dataclass
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

Real = NDArray[np.floating[Any]]

BLANK: Final = 65535
"""Code of a pixel without a value."""

BYTES: Final = 8 / 3
"""Of a number in the page: two bytes in base64."""


@dataclass(frozen=True)
class Map:
    """An image of one quantity.

    Attributes:
        values: (h, w), NaN where there is none.
        low: lower end of the colours.
        high: upper end of the colours.
        colours: name of the matplotlib colour map.
        label: what it shows, with the unit.
    """

    values: Real
    low: float
    high: float
    colours: str
    label: str


def coded(values: Real) -> dict[str, Any]:
    """An array (h, w), or (n, h, w), for the page: ``low + code * step``, exact to 1/65534 of its range.

    Returns:
        ``data`` (base64 of little-endian uint16), ``shape``, ``low`` and ``step``.
    """
    finite = np.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    step = (high - low) / (BLANK - 1) or 1.0
    codes = np.where(finite, np.rint((np.where(finite, values, low) - low) / step), BLANK).astype("<u2")
    return {"data": base64.b64encode(codes.tobytes()).decode(), "shape": values.shape, "low": low, "step": step}


def binned(values: Real, factor: int) -> Real:
    """Means over squares of ``factor`` pixels, of those that have a value; what does not fill a square is cut off."""
    if factor == 1:
        return values
    h, w = (size // factor for size in values.shape[-2:])
    parts = values[..., : h * factor, : w * factor].reshape(*values.shape[:-2], h, factor, w, factor)
    known = np.isfinite(parts)
    count = known.sum(axis=(-3, -1))
    total = np.where(known, parts, 0).sum(axis=(-3, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def palette(colours: str, count: int = 256) -> list[str]:
    """A matplotlib colour map as a list of colours."""
    return [to_hex(colour) for colour in matplotlib.colormaps[colours](np.linspace(0, 1, count))]
