"""Fourier ring correlation: up to which spatial frequency do two images of one object agree."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.registration import largest_box

SMALLEST = 8
"""Pixels that each side of the images needs, px."""

Image = NDArray[np.floating] | NDArray[np.complexfloating]
Real = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Correlation of two images per ring of spatial frequency.

    Attributes:
        frequencies: (r,) cycles per pixel, from 0; 0.5 is Nyquist.
        correlation: (r,) from -1 to 1; 0 for a ring in which one of the images has no signal.
        counts: (r,) Fourier pixels per ring.
        independent: (r,) how many of them are independent: half for real images, and fewer with a window, which blurs
            the transform along the ring.
    """

    frequencies: Real
    correlation: Real
    counts: NDArray[np.int64]
    independent: Real


def frc(
    a: Image,
    b: Image,
    mask: NDArray[np.bool_] | None = None,
    *,
    window: bool = True,
    corners: bool = False,
) -> Curve:
    """``FRC(q) = Re sum_q A conj(B) / sqrt(sum_q abs(A)^2 sum_q abs(B)^2)``, A and B the transforms, q one ring.

    Ring number k holds the Fourier pixels with ``round(abs(frequency) n) = k``, n the shorter side. The window acts on
    the images less their means, and the means are put back into the zero frequency alone, so that no bright background
    leaks into the first rings. Of complex images one global phase is removed, the best one under the window.

    Args:
        a: (H, W) real or complex.
        b: (H, W) of the same kind, in register with ``a``.
        mask: (H, W) bool; the largest rectangle inside it is used. None for all pixels.
        window: a Tukey window that falls to zero over a quarter of each side at each edge; without one the jumps
            between opposite edges correlate although the images do not.
        corners: continue beyond 0.5 cycles per pixel to the corners of the transform, where rings are cut.

    Raises:
        PtychoError: when shapes or kinds differ, values are not finite, or the images are below 8 x 8 px.
    """
    a, b = _checked(a, b, mask)
    real = not (np.iscomplexobj(a) or np.iscomplexobj(b))
    weights = _window(a.shape) if window else np.ones(a.shape)
    first, second = _spectrum(a, weights), _spectrum(b, weights)
    n = min(a.shape)
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size) for size in a.shape), indexing="ij"))
    ring = np.rint(radius * n).astype(np.int64).ravel()
    last = int(ring.max()) if corners else n // 2

    def total(values: NDArray[np.floating]) -> Real:
        return np.asarray(np.bincount(ring, weights=values.ravel())[: last + 1], np.float64)

    product = first * second.conj()
    if not real:
        product = product * np.exp(-1j * np.angle(product.sum()))
    power = np.sqrt(total(abs(first) ** 2)) * np.sqrt(total(abs(second) ** 2))
    counts = np.bincount(ring)[: last + 1]
    correlation = np.divide(total(product.real), power, out=np.zeros(last + 1), where=power > 0)
    # Along one axis; across, the neighbours of a pixel lie in other rings.
    free = np.sqrt((weights**2).sum() ** 2 / (weights.size * (weights**4).sum()))
    return Curve(np.arange(last + 1) / n, correlation.clip(-1, 1), counts, counts * free / (2 if real else 1))


def crossing(curve: Curve, threshold: float | Real = 0.5) -> float:
    """Frequency at which a correlation first falls below a threshold, linear between rings, in cycles per pixel.

    The zero frequency is one number without a resolution and is left out. A correlation that never falls below
    gives the last frequency of the curve (the true one is at least that), one that starts below gives 0.

    Args:
        curve: of :func:`frc`.
        threshold: one number, or (r,) one per ring such as :func:`half_bit`.
    """
    above = (curve.correlation - threshold)[1:]
    frequencies = curve.frequencies[1:]
    below = np.flatnonzero(above < 0)
    if not len(below):
        return float(curve.frequencies[-1])
    k = int(below[0])
    if k == 0:
        return 0.0
    step = above[k - 1] / (above[k - 1] - above[k])
    return float(frequencies[k - 1] + step * (frequencies[k] - frequencies[k - 1]))


def half_bit(curve: Curve) -> Real:
    """(r,) correlation at which a ring carries half a bit of information per pixel, for two halves of one measurement.

    ``T = (0.2071 + 1.9102 / sqrt(n)) / (1.2071 + 0.9102 / sqrt(n))`` with n independent pixels in the ring:
    van Heel and Schatz, J. Struct. Biol. 151 (2005) 250.
    """
    root = np.sqrt(curve.independent)
    return np.asarray((0.2071 * root + 1.9102) / (1.2071 * root + 0.9102))


def half_period_nm(frequency: float, pixel_size_m: float) -> float | None:
    """Half period of a frequency in cycles per pixel, nm: one pixel at Nyquist; None at frequency 0."""
    return pixel_size_m * 1e9 / (2 * frequency) if frequency > 0 else None


def _checked(a: Image, b: Image, mask: NDArray[np.bool_] | None) -> tuple[Image, Image]:
    if a.shape != b.shape or a.ndim != 2 or (mask is not None and mask.shape != a.shape):
        given = f"images {a.shape} and {b.shape}" + ("" if mask is None else f" with a mask {mask.shape}")
        raise PtychoError(f"frc: {given}; equal shapes (H, W) are needed.")
    if np.iscomplexobj(a) != np.iscomplexobj(b):
        raise PtychoError("frc: a real and a complex image; two of the same kind are needed.")
    if mask is not None:
        box = largest_box(mask)
        a, b = a[box], b[box]
    if min(a.shape) < SMALLEST:
        raise PtychoError(f"frc: images of {a.shape[0]} x {a.shape[1]} px; at least {SMALLEST} px a side are needed.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise PtychoError("frc: NaN or infinite pixels; finite ones are needed.")
    return a, b


def _window(shape: tuple[int, ...]) -> Real:
    """(H, W) product of two symmetric Tukey windows; the taper of one of n pixels starts half a pixel outside."""
    rows, columns = (np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5 for size in shape)
    fall = [np.minimum(1, 4 * depth / size) for depth, size in zip((rows, columns), shape, strict=True)]
    return np.sin(np.pi / 2 * fall[0])[:, None] ** 2 * np.sin(np.pi / 2 * fall[1]) ** 2


def _spectrum(image: Image, weights: Real) -> NDArray[np.complex128]:
    values = image.astype(np.complex128)
    mean = (weights * values).sum() / weights.sum()
    spectrum = np.fft.fft2(weights * (values - mean))
    spectrum[0, 0] += mean * weights.sum()
    return spectrum
