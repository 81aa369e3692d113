"""Several reconstructions of one scan, side by side: one frame, one mask, one alignment, the same metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.frc import Curve, frc
from ptychopinn.evaluation.metrics import Evaluation, evaluate
from ptychopinn.evaluation.registration import Aligned, align
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.canvas import covered, reframe

SMALLEST_COMMON = 16
"""Pixels along both axes that all images must share to be compared."""

Image = NDArray[np.complex64]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Arm:
    """One reconstruction of a comparison.

    Attributes:
        name: of the row and the panel.
        result: the image.
        halves: images of the even and of the odd frames alone, where they were made.
        seconds: wall time of load, infer, stitch and total, where it was measured.
        peak_bytes: peak resident memory while it was made, where it was measured.
    """

    name: str
    result: Reconstruction
    halves: tuple[Reconstruction, Reconstruction] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: int | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of :func:`compare`.

    Attributes:
        origin: object-frame (y, x) of pixel [0, 0] of all images.
        mask: (H, W) where all images, and the truth, cover.
        images: by name, before the alignment, (H, W) complex64.
        aligned: by name, after the removals of ``removed``; the reference is among them.
        reference: name of the image that the others were aligned to: "truth", or the first arm.
        removed: by name, what the alignment removed.
        scores: by name, against the truth; empty without one.
        agreement: by pair of names, one image against the other.
        curves: Fourier ring correlation by label.
    """

    origin: tuple[int, int]
    mask: Mask
    images: Mapping[str, Image]
    aligned: Mapping[str, Image]
    reference: str
    removed: Mapping[str, Aligned]
    scores: Mapping[str, Evaluation]
    agreement: Mapping[tuple[str, str], Evaluation]
    curves: Mapping[str, Curve]


def compare(
    arms: Sequence[Arm],
    truth: Reconstruction | None = None,
    box: Box | None = None,
    *,
    register: bool = True,
    scale: bool = False,
    ramp: bool = False,
    sigma: float = 0.0,
) -> Comparison:
    """Bring images to one frame, align them, and score them where all cover.

    With a truth every arm is aligned to it and scored against it. Without one the first arm is the reference of the
    alignment, the arms are scored against one another, and the Fourier ring correlation of independent halves of a
    scan says how far an image can be trusted.

    Args:
        arms: at least one with a truth, at least two without.
        truth: the known object; light in its ``coverage`` where it is known.
        box: object-frame rows and columns to score in, such as ``Scan.scan_box``.
        register: remove sub-pixel shifts.
        scale: remove amplitude factors too.
        ramp: remove phase ramps too.
        sigma: pixels; smoothing before MS-SSIM.

    Raises:
        PtychoError: for too few images, names that repeat, or images that hardly overlap.
    """
    names = _names(arms, truth is not None)
    results = {**({"truth": truth} if truth is not None else {}), **{arm.name: arm.result for arm in arms}}
    origin, shape = _common_frame(results, box)
    images = {name: reframe(each.object, each.origin, origin, shape) for name, each in results.items()}
    lit = (reframe(_covered(each), each.origin, origin, shape) for each in results.values())
    mask = np.logical_and.reduce([each.real > 0 for each in lit])
    reference = next(iter(results))
    removed = {
        name: align(image, images[reference], mask, shift=register, scale=scale, ramp=ramp)
        for name, image in images.items()
        if name != reference
    }
    mask = np.logical_and.reduce([mask, *(each.mask for each in removed.values())])
    aligned: dict[str, Image] = {reference: images[reference]}
    aligned |= {name: each.image.astype(np.complex64) for name, each in removed.items()}
    pixel_size = next((arm.result.pixel_size_m for arm in arms if arm.result.pixel_size_m), None)

    def against(a: str, b: str) -> Evaluation:
        return evaluate(aligned[a], aligned[b], mask, pixel_size_m=pixel_size, sigma=sigma)

    scores = {} if truth is None else {name: against(name, "truth") for name in names}
    curves = {f"{name} vs truth": each.curve for name, each in scores.items()}
    for arm in arms:
        if arm.halves is not None:
            even, odd = (reframe(half.object, half.origin, origin, shape) for half in arm.halves)
            curves[f"{arm.name}, half-scans"] = frc(even, odd, mask)
    agreement = {(a, b): against(a, b) for a, b in combinations(names, 2)}
    return Comparison(origin, mask, images, aligned, reference, removed, scores, agreement, curves)


def _names(arms: Sequence[Arm], known: bool) -> list[str]:
    """Names of the arms, if these can be compared."""
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names) or "truth" in names:
        raise PtychoError(f"compare: names {', '.join(names)}; each image needs a name of its own.")
    if len(arms) + known < 2:
        raise PtychoError("compare: one image alone; give another one, or a truth.")
    return names


def flat(values: Evaluation) -> dict[str, float | str | None]:
    """An evaluation as one level of names: ``phase_mae``, ``amplitude_ssim``, ``complex_error``, ``frc50`` ..."""
    found: dict[str, float | str | None] = {}
    for kind in ("phase", "amplitude"):
        found |= {f"{kind}_{name}": value for name, value in asdict(getattr(values, kind)).items()}
    names = ("ms_ssim_k", "complex_error", "frc50", "half_bit", "frc50_half_period_nm", "half_bit_half_period_nm")
    found |= {name: getattr(values, name) for name in names}
    found |= {f"covered_{name}": value for name, value in asdict(values.covered).items()}
    return found | {"notes": " ".join(values.notes)}


def _common_frame(results: Mapping[str, Reconstruction], box: Box | None) -> tuple[tuple[int, int], tuple[int, int]]:
    """Origin and shape of the pixels that all images, and the box, share."""
    starts = [each.origin for each in results.values()]
    stops = [np.add(each.origin, each.object.shape) for each in results.values()]
    if box is not None:
        starts.append((box[0].start, box[1].start))
        stops.append(np.array([box[0].stop, box[1].stop]))
    start, stop = np.max(starts, axis=0), np.min(stops, axis=0)
    height, width = (int(extent) for extent in stop - start)
    if min(height, width) < SMALLEST_COMMON:
        raise PtychoError(
            f"compare: {', '.join(results)} share {max(height, 0)} x {max(width, 0)} object pixels; at least "
            f"{SMALLEST_COMMON} x {SMALLEST_COMMON} are needed; are they images of one scan, read in one way?"
        )
    return (int(start[0]), int(start[1])), (height, width)


def _covered(result: Reconstruction) -> Image:
    """1 where enough light fell, as an image."""
    return covered(np.where(np.isfinite(result.object), result.coverage, 0)).astype(np.complex64)
