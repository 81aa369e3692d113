"""What was found wrong with a detector, what was done about it, and what was left."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ptychopinn.scan.detector import wording
from ptychopinn.scan.detector.survey import Image, Mask

MOST_MASKED: Final = 0.5
"""Share of the detector, or of its light, that a mask may cover before it is doubted."""


@dataclass(frozen=True, eq=False)
class Health:
    """Of the pixels and frames of a scan.

    Attributes:
        summary: one line.
        doubts: faults that are still in the scan: what, where, and what to type.
        masked: (N, N) pixels that were masked because of a fault.
        doubtful: (N, N) pixels that are probably broken and were not.
        numbers: (k,) frames that were looked at.
        totals: (k,) what their good pixels hold.
        left_out: frames that were left out.
        odd: frames far from the others that were not.
    """

    summary: str
    doubts: tuple[str, ...]
    masked: Mask
    doubtful: Mask
    numbers: NDArray[np.int64]
    totals: Image
    left_out: NDArray[np.int64]
    odd: NDArray[np.int64]


SYMMETRIES: Final = (
    ("transposed", lambda mask: mask.T),
    ("upside down", lambda mask: mask[::-1]),
    ("mirrored", lambda mask: mask[:, ::-1]),
    ("turned by 180 degrees", lambda mask: mask[::-1, ::-1]),
    ("turned by 90 degrees", lambda mask: np.rot90(mask)),
    ("turned by 90 degrees", lambda mask: np.rot90(mask, -1)),
    ("transposed along the other diagonal", lambda mask: mask[::-1, ::-1].T),
)


def mask_doubts(bad: Mask, mean: Image, broken: Mask, name: str, turn: str) -> list[str]:
    """Why a mask is probably not that of these frames.

    Args:
        bad: (N, N) what it marks.
        mean: (N, N) the mean pattern of all pixels; what is no count as 0.
        broken: (N, N) pixels that hold no counts, marked or not.
        name: of the mask.
        turn: what to type when it is the other way round.
    """
    if not bad.any() or bad.all():
        return []
    # Without single pixels: a hot one that is masked may hold more than all light.
    light = ndimage.median_filter(mean, 3)
    share, part = float(light[bad].sum() / max(light.sum(), 1e-300)), float(bad.mean())
    if share > MOST_MASKED or part > MOST_MASKED:
        return [
            f"{name} marks {100 * part:.0f} % of the pixels as bad, and {100 * share:.0f} % of the light falls on "
            f"them; is it the other way round? {turn} turns it, --mask none ignores it."
        ]
    missed = broken & ~bad
    if missed.sum() < 4 or not (mean[bad] > 0).mean() > MOST_MASKED:
        return []
    for how, turned in SYMMETRIES:
        if bad.shape[0] == bad.shape[1] and missed[turned(bad)].sum() >= 0.9 * missed.sum():
            return [
                f"{name} marks pixels that hold counts, and not {wording.pixels(missed)}, which hold none; {how} it "
                "would: give it so by --mask FILE."
            ]
    return []
