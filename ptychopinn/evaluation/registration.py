"""Bring an image onto a reference: phase ramp, translation, global phase and amplitude scale.

No diffraction pattern knows where the object lies, its global phase, or (with an unknown dose) its amplitude scale.
They are removed before two images are compared, and what was removed is reported.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from ptychopinn.errors import PtychoError

UPSAMPLING = 100
"""Steps per pixel of the shift, and per cycle over the image of the ramp."""
ROUNDS = 6
"""Repeats of ramp and shift; each one corrects what the edges of the images hid before."""
REACH = 2
"""Pixels at an edge that a fractional shift leaves unknown: its interpolation needs pixels outside."""
TINY = 1e-300
"""Keeps a factor finite where an image is zero everywhere."""
PADDING = 16
"""Mirrored pixels on every side that keep the interpolation of one edge from the opposite one."""

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]
Mask = NDArray[np.bool_]
Pair = tuple[float, float]


@dataclass(frozen=True)
class Aligned:
    """An image on its reference, and what was removed from it.

    The input was ``reference``, moved by ``shift``, times ``scale * exp(i * (phase + ramp . (pixel - centre)))``, as
    far as those can tell, with centre = (H // 2, W // 2); :func:`remove` with these numbers turns it into ``image``.

    Attributes:
        image: (H, W) complex128; 0 outside ``mask``.
        mask: (H, W) bool; the mask that was given less the pixels that the shift made invalid.
        shift: (y, x) px by which the input lay down and right of the reference.
        phase: global phase that the input had over the reference, rad.
        scale: factor that the amplitude of the input had over the reference.
        ramp: (y, x) phase ramp that the input had over the reference, rad per px.
    """

    image: Complex
    mask: Mask
    shift: Pair = (0.0, 0.0)
    phase: float = 0.0
    scale: float = 1.0
    ramp: Pair = (0.0, 0.0)


def align(
    image: NDArray[np.complexfloating],
    reference: NDArray[np.complexfloating],
    mask: Mask,
    *,
    shift: bool = True,
    scale: bool = False,
    ramp: bool = False,
) -> Aligned:
    """Remove what no measurement determines: ramp, translation, global phase, scale, in this order.

    Ramp: the one with the largest ``abs(sum image conj(reference) exp(-i ramp . pixel))``. Translation: the peak of the
    cross-correlation of the two complex images less their means, tapered towards the edges of the mask. The two are
    repeated until they no longer move. Phase: ``angle(sum image conj(reference))``, best in least squares. Scale: best
    in least squares for the amplitudes.

    Args:
        image: (H, W) complex.
        reference: (H, W) complex, the same pixel frame.
        mask: (H, W) bool, where both cover.
        shift: remove a translation, to about 0.01 px.
        scale: remove a factor on the amplitude.
        ramp: remove a phase ramp. It also removes a real tilt of the sample's phase, thus only when asked.

    Raises:
        PtychoError: when the arrays do not fit each other, the mask is empty, an image is not finite or zero everywhere
            in it, or nothing is left of the mask once the shift is removed.
    """
    _check(image, reference, mask)
    truth = np.where(mask, reference, 0).astype(np.complex128)
    moved, tilt = np.zeros(2), np.zeros(2)
    current = remove(image, mask)
    for _ in range(ROUNDS if shift or ramp else 0):
        turn = _find_ramp(current.image, truth * current.mask) if ramp else np.zeros(2)
        tilt = tilt + turn
        if ramp:
            current = remove(image, mask, shift=_pair(moved), ramp=_pair(tilt))
        step = _find_shift(current.image, truth, current.mask) if shift else np.zeros(2)
        moved = (moved + step).round(6)
        current = remove(image, mask, shift=_pair(moved), ramp=_pair(tilt))
        if np.abs(step).max() < 1.5 / UPSAMPLING and np.abs(turn).max() * max(mask.shape) < 1e-3:
            break
    left, right = current.image[current.mask], truth[current.mask]
    if not left.any() or not right.any():
        raise PtychoError(f"align: nothing is left to compare once the shift of {_pair(moved)} px is removed.")
    phase, factor = phase_and_scale(left, right)
    return remove(image, mask, shift=_pair(moved), phase=phase, scale=factor if scale else 1.0, ramp=_pair(tilt))


def phase_and_scale(image: NDArray[np.complexfloating], reference: NDArray[np.complexfloating]) -> tuple[float, float]:
    """Global phase (rad) and amplitude factor that an image has over a reference: least squares over all pixels."""
    image, reference = image.astype(np.complex128), reference.astype(np.complex128)
    products = float((abs(image) * abs(reference)).sum())
    scale = max(float((abs(image) ** 2).sum()), TINY) / max(products, TINY)
    return float(np.angle(np.vdot(reference, image))), scale


def remove(
    image: NDArray[np.complexfloating],
    mask: Mask,
    *,
    shift: Pair = (0.0, 0.0),
    phase: float = 0.0,
    scale: float = 1.0,
    ramp: Pair = (0.0, 0.0),
) -> Aligned:
    """``out(x) = in(x + shift) exp(-i ramp . (x + shift - centre)) exp(-i phase) / scale``, 0 outside the mask.

    The translation is a linear phase on the Fourier transform. Pixels outside the mask are filled from the nearest
    pixel inside and the image is mirrored at its borders first, so that neither rings into the mask.

    Args:
        image: (H, W) complex.
        mask: (H, W) bool, the pixels that are known, both here and in what the image is compared with.
        shift: (y, x) px, moves content up and left.
        phase: rad.
        scale: factor, not 0.
        ramp: (y, x) rad per px, about the pixel (H // 2, W // 2).

    Raises:
        PtychoError: when the mask is empty, or no pixel of it is left after the shift.
    """
    if not mask.any():
        raise PtychoError("align: the mask is empty; at least one pixel that both images cover is needed.")
    flat = np.where(mask, image, 0).astype(np.complex128) * _plane_wave(image.shape, (-ramp[0], -ramp[1]))
    if any(shift):
        back = (-shift[0], -shift[1])
        flat, mask = _translate(flat, mask, back), mask & _translate_mask(mask, back)
        if not mask.any():
            raise PtychoError(f"align: no pixel of the mask is left once the shift of {shift} px is removed.")
    flat = flat * (np.exp(-1j * phase) / scale)
    return Aligned(np.where(mask, flat, 0), mask, shift, phase, scale, ramp)


def largest_box(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of the rectangle with the most pixels that lies inside a (H, W) mask.

    Raises:
        PtychoError: when the mask is not 2-D or has no pixel.
    """
    if mask.ndim != 2 or not mask.any():
        raise PtychoError(f"largest_box: a mask of shape {mask.shape} with {int(mask.sum())} pixels; one is needed.")
    width = mask.shape[1]
    columns = np.arange(width)
    height, left, right = np.zeros(width, int), np.zeros(width, int), np.full(width, width)
    best, box = 0, (slice(0), slice(0))
    for row, inside in enumerate(np.asarray(mask, bool)):
        # For every column: the tallest run of rows that ends here, and how far it can be widened.
        height = np.where(inside, height + 1, 0)
        begin = np.maximum.accumulate(np.where(inside, 0, columns + 1))
        end = np.minimum.accumulate(np.where(inside, width, columns)[::-1])[::-1]
        left = np.where(inside, np.maximum(left, begin), 0)
        right = np.where(inside, np.minimum(right, end), width)
        area = height * (right - left)
        at = int(area.argmax())
        if area[at] > best:
            best = int(area[at])
            box = slice(row + 1 - int(height[at]), row + 1), slice(int(left[at]), int(right[at]))
    return box


def check_shapes(name: str, *arrays: NDArray[np.generic]) -> None:
    """Refuse an image, its reference and a mask that are not three equal shapes (H, W); ``name`` begins the error."""
    shapes = [array.shape for array in arrays]
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        given = "image {}, reference {} and mask {}".format(*shapes)
        raise PtychoError(f"{name}: {given}; three equal shapes (H, W) are needed.")


def _check(image: NDArray[np.complexfloating], reference: NDArray[np.complexfloating], mask: Mask) -> None:
    check_shapes("align", image, reference, mask)
    if mask.dtype != bool:
        raise PtychoError(f"align: a mask of type {mask.dtype}; bool is needed.")
    if not mask.any():
        raise PtychoError("align: the mask is empty; at least one pixel that both images cover is needed.")
    for name, values in (("image", image[mask]), ("reference", reference[mask])):
        if not np.isfinite(values).all():
            raise PtychoError(f"align: the {name} has NaN or infinite pixels inside the mask; finite ones are needed.")
        if not values.any():
            raise PtychoError(f"align: the {name} is zero everywhere inside the mask.")


def _pair(values: Real) -> Pair:
    return float(values[0]), float(values[1])


def _plane_wave(shape: tuple[int, ...], ramp: Pair) -> Complex:
    """``exp(i ramp . (pixel - centre))``."""
    rows, columns = (np.arange(size) - size // 2 for size in shape)
    return np.exp(1j * ramp[0] * rows)[:, None] * np.exp(1j * ramp[1] * columns)


def _translate(image: Complex, mask: Mask, shift: Pair) -> Complex:
    """``out(x) = in(x - shift)``; only pixels of :func:`_translate_mask` mean something."""
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    padding = [PADDING + int(np.ceil(abs(step))) for step in shift]
    padded = np.pad(image[tuple(nearest)], [(pad, pad) for pad in padding], mode="symmetric")
    moved = np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(padded), shift))
    return moved[padding[0] : padding[0] + image.shape[0], padding[1] : padding[1] + image.shape[1]]


def _translate_mask(mask: Mask, shift: Pair) -> Mask:
    moved: Mask = ndimage.shift(mask.astype(np.float64), shift, order=1, cval=0.0) > 1 - 1e-9
    if any(step != round(step) for step in shift):
        moved = ndimage.binary_erosion(moved, iterations=REACH)
    return moved


def _find_ramp(image: Complex, reference: Complex) -> Real:
    """(y, x) rad per px of ``image conj(reference)``; both are 0 outside the mask."""
    # A ramp moves the Fourier transform: the peak is found with the images in the place of transforms.
    found, _, _ = phase_cross_correlation(
        reference, image, upsample_factor=UPSAMPLING, space="fourier", normalization=None
    )
    turns = 2 * np.pi * np.asarray(found) / image.shape
    product = image * reference.conj() * _plane_wave(image.shape, _pair(-turns))
    rows, columns = np.nonzero(product)
    if len(rows) < 3:
        return np.zeros(2)
    # The plane through the remaining phases, by least squares.
    root = np.sqrt(abs(product[rows, columns]))
    phases = np.angle(product[rows, columns] * np.exp(-1j * np.angle(product.sum())))
    basis = np.stack([rows, columns, np.ones(len(rows))], axis=1)
    return turns + np.linalg.lstsq(root[:, None] * basis, root * phases, rcond=None)[0][:2]


def _find_shift(image: Complex, reference: Complex, mask: Mask) -> Real:
    """(y, x) px by which the image lies down and right of the reference."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    depth = ndimage.distance_transform_edt(np.pad(mask[box], 1))[1:-1, 1:-1]
    taper = np.sin(np.pi / 2 * np.minimum(1, 2 * depth / depth.max())) ** 2
    left, right = (taper * (part[box] - np.average(part[box], weights=taper)) for part in (image, reference))
    floor = 1e-12 * max(abs(image).max(), abs(reference).max())
    if min(abs(left).max(), abs(right).max()) <= floor:
        return np.zeros(2)
    found, _, _ = phase_cross_correlation(right, left, upsample_factor=UPSAMPLING, normalization=None)
    return -np.asarray(found, np.float64)
