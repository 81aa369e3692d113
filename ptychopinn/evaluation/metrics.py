"""Errors of an image against the truth, once the ambiguities of the measurement are removed."""

import math
from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.covered import SSIM_SIDE, Covered, phases_about, range_of, score_covered
from ptychopinn.evaluation.frc import Curve, crossing, frc, half_bit, half_period_nm
from ptychopinn.evaluation.registration import check_shapes, largest_box, phase_and_scale
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan

MS_SSIM_SIDES: Final = (11, 22, 44, 99, 176)
"""Smallest side of an image for MS-SSIM on 1, 2 ... 5 scales, px: that window on the coarsest scale, and no less than
torchmetrics takes, which asks for 99 px in place of 88."""
MS_SSIM_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of Wang et al. (2003), from the finest scale to the coarsest."""

Real = NDArray[np.floating]
Image = NDArray[np.complexfloating]


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
    phase, scale = phase_and_scale(image, truth)
    aligned = np.exp(-1j * phase) / scale * image
    return Score(
        phase_mae=float(abs(np.angle(aligned * truth.conj())).mean()),
        amplitude_mae=float(abs(abs(aligned) - abs(truth)).mean() / abs(truth).mean()),
        complex_error=float(np.linalg.norm(aligned - truth) / np.linalg.norm(truth)),
        removed_phase=phase,
        removed_scale=scale,
    )


@dataclass(frozen=True)
class Errors:
    """Errors of a real image, an amplitude or a phase, against a reference.

    Attributes:
        mae: mean absolute error, in the unit of the images.
        mse: mean squared error, in its square.
        psnr: ``10 log10(data_range^2 / mse)``, dB; infinite without error, None where ``data_range`` is 0.
        ssim: structural similarity, 1 without error; None where ``data_range`` is 0.
        ms_ssim: multi-scale structural similarity, from 0 to 1; None where ``data_range`` is 0.
        data_range: what the three above take as the range of the images, in their unit.
        frc50: frequency at which the Fourier ring correlation falls below 0.5, cycles per pixel.
    """

    mae: float
    mse: float
    psnr: float | None
    ssim: float | None
    ms_ssim: float | None
    data_range: float
    frc50: float


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` finds.

    Attributes:
        box: first row, first column, row and column after the last, of the pixels that were compared.
        amplitude: errors of ``abs(image)``.
        phase: errors of the phase, rad.
        ms_ssim_k: scales of MS-SSIM that fit into the box.
        complex_error: ``norm(image - reference) / norm(reference)``.
        covered: errors over every pixel of the mask, inside and outside the box.
        curve: Fourier ring correlation of the complex images.
        frc50: frequency at which it falls below 0.5, cycles per pixel.
        half_bit: frequency at which it falls below the half-bit threshold, cycles per pixel.
        frc50_half_period_nm: half period of ``frc50``; None without a pixel size.
        half_bit_half_period_nm: half period of ``half_bit``; None without a pixel size.
        notes: what could not be computed and why, one sentence each.
    """

    box: tuple[int, int, int, int]
    amplitude: Errors
    phase: Errors
    ms_ssim_k: int
    complex_error: float
    covered: Covered
    curve: Curve
    frc50: float
    half_bit: float
    frc50_half_period_nm: float | None
    half_bit_half_period_nm: float | None
    notes: tuple[str, ...]


def evaluate(
    image: Image,
    reference: Image,
    mask: NDArray[np.bool_],
    *,
    pixel_size_m: float | None = None,
    sigma: float = 0.0,
) -> Evaluation:
    """Compare an image with a reference in the largest rectangle inside a mask; nothing is removed here.

    Bring the two together with :func:`ptychopinn.evaluation.registration.align` first. Phases are taken about the mean
    phase of the reference: ``p = angle(reference conj(sum reference))``, and ``p + angle(image conj(reference))`` for
    the image, so that their difference lies within pi of 0. The data range of PSNR, SSIM and MS-SSIM is the range of
    the reference's amplitude, or of ``p``, inside the rectangle.

    Args:
        image: (H, W) complex.
        reference: (H, W) complex, the same pixels.
        mask: (H, W) bool, where both are known.
        pixel_size_m: pixel size of both, m, for resolutions in nm.
        sigma: both images are smoothed by a Gaussian of so many px before MS-SSIM, and only there.

    Raises:
        PtychoError: when the arrays do not fit each other, the mask holds no rectangle of 11 x 11 px, values in it are
            not finite, or the reference is zero everywhere there.
    """
    rows, columns = _box(image, reference, mask)
    found, truth = (part[rows, columns].astype(np.complex128) for part in (image, reference))
    if not (np.isfinite(found).all() and np.isfinite(truth).all()):
        raise PtychoError("evaluate: NaN or infinite pixels inside the mask; finite ones are needed.")
    if not truth.any():
        raise PtychoError("evaluate: the reference is zero everywhere inside the mask.")
    phase, error = phases_about(found, truth, truth.sum())
    curve = frc(found, truth)
    half, bit = crossing(curve, 0.5), crossing(curve, half_bit(curve))
    amplitudes, amplitude_notes = _errors(abs(found), abs(truth), sigma, "amplitude")
    phases, phase_notes = _errors(phase + error, phase, sigma, "phase")
    return Evaluation(
        box=(rows.start, columns.start, rows.stop, columns.stop),
        amplitude=amplitudes,
        phase=phases,
        ms_ssim_k=scales_of(found.shape),
        complex_error=float(np.linalg.norm(found - truth) / np.linalg.norm(truth)),
        covered=score_covered(image, reference, mask),
        curve=curve,
        frc50=half,
        half_bit=bit,
        frc50_half_period_nm=None if pixel_size_m is None else half_period_nm(half, pixel_size_m),
        half_bit_half_period_nm=None if pixel_size_m is None else half_period_nm(bit, pixel_size_m),
        notes=tuple(dict.fromkeys(amplitude_notes + phase_notes + _limits(curve, half))),
    )


def psnr(image: Real, reference: Real, data_range: float) -> float:
    """``10 log10(data_range^2 / mean((image - reference)^2))``, dB; infinite for equal images.

    Args:
        image: (H, W) real.
        reference: (H, W) real.
        data_range: peak to peak, in the unit of the images.

    Raises:
        PtychoError: when ``data_range`` is not above 0.
    """
    _positive("psnr", data_range)
    mse = float(np.mean((np.asarray(image, np.float64) - reference) ** 2))
    return 10 * math.log10(data_range**2 / mse) if mse > 0 else math.inf


def ssim(
    image: Real, reference: Real, data_range: float, *, window: Literal["gaussian", "uniform"] = "gaussian"
) -> float:
    """Mean structural similarity of Wang et al. (2004), 1 for equal images, of all windows that lie inside.

    Args:
        image: (H, W) real.
        reference: (H, W) real.
        data_range: peak to peak, in the unit of the images; sets the constants (0.01 range)^2 and (0.03 range)^2.
        window: ``gaussian`` of 1.5 px on 11 x 11 px; ``uniform`` 7 x 7 px with sample variances.

    Raises:
        PtychoError: when ``data_range`` is not above 0 or a side is shorter than the window.
    """
    _positive("ssim", data_range)
    gaussian = window == "gaussian"
    _large_enough("ssim", image, SSIM_SIDE if gaussian else 7)
    similarity = structural_similarity(
        np.asarray(image, np.float64),
        np.asarray(reference, np.float64),
        data_range=data_range,
        gaussian_weights=gaussian,
        use_sample_covariance=not gaussian,
    )
    return float(similarity)


def scales_of(shape: tuple[int, ...]) -> int:
    """Scales of MS-SSIM, at most five, that fit into an image: one from 11 px on, five from 176 px on."""
    return sum(min(shape) >= side for side in MS_SSIM_SIDES)


def ms_ssim(image: Real, reference: Real, data_range: float, *, sigma: float = 0.0) -> float:
    """Multi-scale structural similarity of Wang et al. (2003), from 0 to 1, on the :func:`scales_of` the images.

    With k of the five scales the exponents are the first k, divided by their sum; with one scale it is SSIM, and
    no less than 0.

    Args:
        image: (H, W) real.
        reference: (H, W) real.
        data_range: peak to peak, in the unit of the images.
        sigma: Gaussian smoothing of both images before, px.

    Raises:
        PtychoError: when ``data_range`` is not above 0, a side is shorter than 11 px, or ``sigma`` is below 0.
    """
    # Torch and torchmetrics take seconds to import.
    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    _positive("ms_ssim", data_range)
    _large_enough("ms_ssim", image, MS_SSIM_SIDES[0])
    if not (sigma >= 0 and math.isfinite(sigma)):
        raise PtychoError(f"ms_ssim: smoothing by {sigma} px; a finite number of at least 0 is needed.")
    pair = [gaussian_filter(np.asarray(part, np.float64), sigma) if sigma else part for part in (image, reference)]
    # Variances are small differences of squares: in single precision weak contrast on a bright image scores 0.
    first, second = (torch.from_numpy(np.array(part, np.float64))[None, None] for part in pair)
    weights = MS_SSIM_WEIGHTS[: scales_of(np.shape(image))]
    # The five of the paper add up to 1.0001 and stay as they are.
    total = sum(weights) if len(weights) < len(MS_SSIM_WEIGHTS) else 1.0
    betas = tuple(weight / total for weight in weights)
    found = multiscale_structural_similarity_index_measure(first, second, data_range=float(data_range), betas=betas)
    return float(found)


def _errors(image: Real, reference: Real, sigma: float, name: str) -> tuple[Errors, list[str]]:
    data_range, scales = range_of(reference), scales_of(image.shape)
    flat = not data_range
    notes = []
    if flat:
        notes.append(f"The {name} of the reference is constant: no PSNR, SSIM and MS-SSIM.")
    elif scales < len(MS_SSIM_SIDES):
        notes.append(f"MS-SSIM on {scales} of {len(MS_SSIM_SIDES)} scales: the box has {_size(image)}.")
    difference = image - reference
    errors = Errors(
        mae=float(abs(difference).mean()),
        mse=float((difference**2).mean()),
        psnr=None if flat else psnr(image, reference, data_range),
        ssim=None if flat else ssim(image, reference, data_range),
        ms_ssim=None if flat else ms_ssim(image, reference, data_range, sigma=sigma),
        data_range=data_range,
        frc50=crossing(frc(image, reference)),
    )
    return errors, notes


def _limits(curve: Curve, frequency: float) -> list[str]:
    if frequency >= curve.frequencies[-1]:
        return ["The Fourier ring correlation stays above 0.5 up to Nyquist: the pixels limit the resolution."]
    if frequency == 0:
        return ["The Fourier ring correlation is below 0.5 from the first ring on: the images do not agree."]
    return []


def _box(
    image: NDArray[np.complexfloating], reference: NDArray[np.complexfloating], mask: NDArray[np.bool_]
) -> tuple[slice, slice]:
    check_shapes("evaluate", image, reference, mask)
    rows, columns = largest_box(mask)
    if min(rows.stop - rows.start, columns.stop - columns.start) < SSIM_SIDE:
        size = _size(mask[rows, columns])
        raise PtychoError(
            f"evaluate: the largest rectangle inside the mask has {size}; {SSIM_SIDE} x {SSIM_SIDE} are needed."
        )
    return rows, columns


def _size(image: NDArray[np.generic]) -> str:
    return f"{image.shape[0]} x {image.shape[1]} px"


def _positive(name: str, data_range: float) -> None:
    if not (data_range > 0 and math.isfinite(data_range)):
        raise PtychoError(f"{name}: a data range of {data_range}; a finite one above 0 is needed.")


def _large_enough(name: str, image: Real, side: int) -> None:
    if min(image.shape) < side:
        raise PtychoError(f"{name}: images of {_size(image)}; at least {side} px on each side are needed.")


def score_in_box(result: Reconstruction, scan: Scan) -> dict[str, float]:
    """Scores of an image against the scan's object, between the outermost positions."""
    assert scan.object is not None
    box = scan.scan_box
    return asdict(score(result.window(scan.object.shape)[box], scan.object[box]))
