"""How far an image is from the truth, once what no measurement knows is removed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError


@dataclass(frozen=True)
class Score:
    """Errors of an image against the truth.

    Attributes:
        phase_mae: mean absolute phase error, rad.
        amplitude_mae: mean absolute amplitude error over the mean true amplitude.
        complex_error: root of the summed squared complex error over that of the truth.
        removed_phase: global phase that was removed, rad.
        removed_scale: factor on the amplitude that was removed.
    """

    phase_mae: float
    amplitude_mae: float
    complex_error: float
    removed_phase: float
    removed_scale: float


def score(image: NDArray[np.complex64], truth: NDArray[np.complex64]) -> Score:
    """Compare after removing the best global phase and one amplitude factor, nothing else.

    Args:
        image: (H, W) complex.
        truth: (H, W) complex, the same pixels.

    Raises:
        PtychoError: when the shapes differ or one of the two is zero everywhere.
    """
    if image.shape != truth.shape:
        raise PtychoError(f"score: image {image.shape} and truth {truth.shape}; equal shapes are needed.")
    image, truth = image.astype(np.complex128), truth.astype(np.complex128)
    if not image.any() or not truth.any():
        raise PtychoError("score: the image or the truth is zero everywhere.")
    phase = float(np.angle(np.vdot(truth, image)))
    factor = float((abs(image) * abs(truth)).sum() / (abs(image) ** 2).sum())
    aligned = factor * np.exp(-1j * phase) * image
    return Score(
        phase_mae=float(abs(np.angle(aligned * truth.conj())).mean()),
        amplitude_mae=float(abs(abs(aligned) - abs(truth)).mean() / abs(truth).mean()),
        complex_error=float(np.linalg.norm(aligned - truth) / np.linalg.norm(truth)),
        removed_phase=phase,
        removed_scale=1 / factor,
    )
