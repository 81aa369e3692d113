"""Errors over every pixel of a mask of any shape, also where it holds hardly a rectangle."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter
from skimage.metrics import structural_similarity

from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.registration import check_shapes

SSIM_SIDE = 11
"""Smallest side of an image for SSIM, px: its Gaussian window, cut at 3.5 times 1.5 px."""

Real = NDArray[np.floating]
Image = NDArray[np.complexfloating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Covered:
    """Errors over every pixel of a mask, whatever its shape.

    Attributes:
        pixels: of the mask.
        windows: 11 x 11 windows that lie inside, over which SSIM is averaged.
        phase_mae: mean absolute phase error, rad.
        amplitude_mae: mean absolute amplitude error.
        phase_ssim: structural similarity of the phases; None without a window, or where the reference is constant.
        amplitude_ssim: the same of the amplitudes.
        error: ``norm(image - reference) / norm(reference)``.
    """

    pixels: int
    windows: int
    phase_mae: float
    amplitude_mae: float
    phase_ssim: float | None
    amplitude_ssim: float | None
    error: float


def score_covered(image: Image, reference: Image, mask: Mask) -> Covered:
    """Compare an image with a reference over every pixel of a mask of any shape; nothing is removed here.

    Phases are those of :func:`evaluate`, about the mean phase of the reference inside the mask. SSIM is the mean of its
    map over the windows that lie inside the mask; the data range is that of the reference inside the mask.

    Args:
        image: (H, W) complex.
        reference: (H, W) complex, the same pixels.
        mask: (H, W) bool, where both are known.

    Raises:
        PtychoError: when the shapes differ, the mask is empty, or values in it are not finite or all 0.
    """
    check_shapes("score_covered", image, reference, mask)
    left, right = (part[mask].astype(np.complex128) for part in (image, reference))
    if not (np.isfinite(left).all() and np.isfinite(right).all()) or not right.any():
        raise PtychoError("score_covered: finite pixels inside the mask, not all of them 0, are needed.")
    found, truth = np.zeros((2, *mask.shape), np.complex128)
    found[mask], truth[mask] = left, right
    phase, error = phases_about(found, truth, right.sum())
    # A window is known by its middle pixel: inside where the smallest value of the mask in it is 1.
    inside = minimum_filter(mask.astype(np.uint8), SSIM_SIDE, mode="constant", cval=0) > 0
    return Covered(
        pixels=int(mask.sum()),
        windows=int(inside.sum()),
        phase_mae=float(abs(error[mask]).mean()),
        amplitude_mae=float(abs(abs(left) - abs(right)).mean()),
        phase_ssim=_ssim_inside(phase + error, phase, mask, inside),
        amplitude_ssim=_ssim_inside(abs(found), abs(truth), mask, inside),
        error=float(np.linalg.norm(left - right) / np.linalg.norm(right)),
    )


def phases_about(image: Image, reference: Image, mean: complex) -> tuple[Real, Real]:
    """Phase of the reference about that of ``mean``, and how far that of the image is from it, within pi of 0."""
    # As a difference of angles it is exactly 0 for equal pixels.
    error = np.angle(image) - np.angle(reference)
    return np.angle(reference * np.conj(mean)), error - 2 * np.pi * np.rint(error / (2 * np.pi))


def _ssim_inside(image: Real, reference: Real, mask: Mask, inside: Mask) -> float | None:
    """Mean of the SSIM map where ``inside``; None where nothing is, or where the reference is constant in the mask."""
    data_range = range_of(reference[mask])
    if not inside.any() or not data_range:
        return None
    return float(_ssim_map(image, reference, data_range)[inside].mean())


def _ssim_map(image: Real, reference: Real, data_range: float) -> Real:
    """SSIM of the window around every pixel."""
    _, similarity = structural_similarity(
        image, reference, data_range=data_range, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    return np.asarray(similarity)


def range_of(reference: Real) -> float:
    """Largest less smallest value; 0 for a constant, which varies by rounding only."""
    data_range = float(reference.max() - reference.min())
    return 0.0 if data_range <= 1e-6 * max(1.0, float(abs(reference).max())) else data_range
