"""What refined positions have in common: an affine map of the scan, or frames that belong to the next position."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

LEAST_MOVE = 0.1
"""Pixels rms below which nobody asks what the moves are."""

EXPLAINED, FOLLOWING = 0.65, 0.8
"""Share of the moves that a map must explain to be named, and share of the frames that must follow it."""

LEAST_FRAMES = 12
"""Frames that a map, or a run of moved frames, must have: the affine map has six unknowns."""

HALF = 0.4
"""Share of the moves of a run that the steps to the next frames must explain."""

ROUNDS = 5


@dataclass(frozen=True)
class Affine:
    """A linear map about the middle of a scan, as ``x' = rotation (1 + scale) shear x``.

    Attributes:
        rotation: degrees, from x to y as on a picture whose y goes down: clockwise.
        scale: change of all distances.
        shear: difference of the two principal stretches.
        share: of the squared moves that it explains.
    """

    rotation: float
    scale: float
    shear: float
    share: float


@dataclass(frozen=True)
class Shifted:
    """A run of frames that moved to the measured position of a later (or earlier) frame.

    Attributes:
        first, last: rows of the run.
        step: by how many frames; negative for earlier ones.
        share: of the squared moves of the run that it explains.
    """

    first: int
    last: int
    step: int
    share: float


def affine(measured: Vector, refined: Vector) -> Affine | None:
    """The affine map that explains most moves; None where none does, or nothing moved.

    Least squares of ``refined = M measured + t``, repeated without the frames that are far off it.

    Args:
        measured: (n, 2) pixels (y, x).
        refined: (n, 2).
    """
    moves = refined - measured
    if len(moves) < LEAST_FRAMES or _rms(moves - moves.mean(axis=0)) < LEAST_MOVE:
        return None
    known = np.column_stack([measured - measured.mean(axis=0), np.ones(len(measured))])
    kept = np.ones(len(moves), dtype=bool)
    for _ in range(ROUNDS):
        found, _, rank, _ = np.linalg.lstsq(known[kept], moves[kept], rcond=None)
        if rank < 3:
            return None
        left = np.linalg.norm(moves - known @ found, axis=1)
        kept = left <= max(3 * float(np.median(left)), 1e-9)
    about = moves - moves[kept].mean(axis=0)
    share = 1 - float((left[kept] ** 2).sum() / (about[kept] ** 2).sum())
    if share < EXPLAINED or kept.mean() < FOLLOWING:
        return None
    matrix = np.eye(2) + found[:2].T
    rotation = math.atan2(matrix[0, 1] - matrix[1, 0], matrix[0, 0] + matrix[1, 1])
    stretches = np.linalg.svd(matrix, compute_uv=False)
    return Affine(math.degrees(rotation), float(stretches.mean()) - 1, float(np.ptp(stretches)), share)


def shifted_run(measured: Vector, refined: Vector) -> Shifted | None:
    """The run of frames in scan order that moved to the places of their neighbours in time; None where none did.

    The image of such a run moves too, by the mean step, so only the rest is compared: with the moves m_j and the steps
    ``e_j = r_(j+k) - r_j`` less their medians, ``sum |m_j|^2 - |m_j - e_j|^2`` is largest over the run, for k of -2
    to 2 but 0. A scan without any jitter of its steps shows nothing.

    Args:
        measured: (n, 2) pixels (y, x), in the order of the scan.
        refined: (n, 2).
    """
    moves, best = refined - measured, None
    moves = moves - np.median(moves, axis=0)
    if len(moves) < LEAST_FRAMES or _rms(moves) < LEAST_MOVE:
        return None
    for step in (1, -1, 2, -2):
        to = np.arange(len(moves)) + step
        inside = (to >= 0) & (to < len(moves))
        steps = measured[np.where(inside, to, 0)] - measured
        rest = steps - np.median(steps[inside], axis=0)
        # A frame at the end of a row cannot follow the motor back to the next one.
        follows = inside & (np.linalg.norm(rest, axis=1) < np.median(np.linalg.norm(steps[inside], axis=1)))
        gain = np.where(follows, (moves**2).sum(axis=1) - ((moves - rest) ** 2).sum(axis=1), 0)
        first, last, score = _best_run(gain)
        run = slice(first, last + 1)
        share = score / max(float((moves[run][follows[run]] ** 2).sum()), 1e-12)
        if last - first + 1 >= LEAST_FRAMES and share > HALF and (best is None or score > best[0]):
            best = (score, Shifted(first, last, step, share))
    return None if best is None else best[1]


def moves_in_words(measured: Vector, refined: Vector, numbers: NDArray[np.int64]) -> list[str]:
    """Lines about what the moves of the frames, which have these ``numbers``, have in common."""
    run = shifted_run(measured, refined)
    if run is not None:
        step = {1: "the next", -1: "the last", 2: "the next but one", -2: "the last but one"}[run.step]
        return [
            f"frames {numbers[run.first]} to {numbers[run.last]} moved together to the position of {step} frame "
            f"({run.share:.0%} of the moves): do frames and positions pair? A lost frame, or one too many, moves all "
            "that follow"
        ]
    found = affine(measured, refined)
    if found is None:
        return []
    kinds = [
        (abs(found.rotation) / 57.3, f"a rotation by {found.rotation:.1f} degrees (from x to y)"),
        (abs(found.scale), f"a scale of {1 + found.scale:.3f}"),
        (abs(found.shear), f"a shear of {found.shear:.1%}"),
    ]
    largest = max(size for size, _ in kinds)
    words = " and ".join(text for size, text in sorted(kinds, reverse=True) if size >= 0.3 * largest)
    return [
        f"the moves are {words} of the whole scan ({found.share:.0%} of the moves; the image takes up a part of such "
        "a map): check the axes of the motors and the pixel size, and correct the positions in the file"
    ]


def _best_run(gain: Vector) -> tuple[int, int, float]:
    """First and last row of the run with the largest sum, and the sum (Kadane)."""
    best, here, start, run = 0.0, 0.0, 0, (0, 0)
    for row, value in enumerate(gain.tolist()):
        if here <= 0:
            here, start = 0.0, row
        here += value
        if here > best:
            best, run = here, (start, row)
    return *run, best


def _rms(moves: Vector) -> float:
    return float(np.sqrt((moves**2).sum(axis=1).mean()))
