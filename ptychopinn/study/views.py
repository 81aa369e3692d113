"""Scores of all views on the same pixels: those that every finished comparison of a dose and split covers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ptychopinn.evaluation.covered import score_covered
from ptychopinn.evaluation.registration import phase_and_scale
from ptychopinn.scan.canvas import reframe
from ptychopinn.study.jobs import Job

SHARED: Final = "shared_"
"""Beginning of the names of these scores."""

ALIGNED: Final = "reconstructions_aligned.npz"

Image = NDArray[np.complex64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Compared:
    """Aligned images of a comparison.

    Attributes:
        images: by arm, the truth first, (H, W).
        mask: (H, W) where all of them cover.
        origin: object-frame (y, x) of pixel [0, 0].
    """

    images: Mapping[str, Image]
    mask: Mask
    origin: tuple[int, int]


def compared_in(folder: Path, job: Job) -> Compared:
    """The images of a finished comparison."""
    with np.load(folder / job.out / ALIGNED) as file:
        images = {name: file[name] for name in file.files if name not in ("mask", "origin")}
        row, column = (int(value) for value in file["origin"])
        return Compared(images, file["mask"], (row, column))


def shared_scores(folder: Path, jobs: Sequence[Job]) -> dict[tuple[str, str], dict[str, Any]]:
    """Scores by name of the job and arm, on the pixels that all views of a dose and split have in common.

    Empty for a dose and split of which fewer than two views are finished.

    Args:
        folder: of the study.
        jobs: finished comparisons.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for dose, split in dict.fromkeys((job.dose, job.split) for job in jobs):
        of_views = [job for job in jobs if (job.dose, job.split) == (dose, split)]
        if len(of_views) > 1:
            views = {job.name: compared_in(folder, job) for job in of_views}
            names = ", ".join(str(job.view) for job in of_views)
            for key, scores in on_shared_pixels(views).items():
                found[key] = {f"{SHARED}views": names, **{f"{SHARED}{name}": value for name, value in scores.items()}}
    return found


def on_shared_pixels(views: Mapping[str, Compared]) -> dict[tuple[str, str], dict[str, Any]]:
    """Scores of every image of every view where all views cover, by view and arm; empty where nothing is shared.

    The global phase, which was removed over the pixels of a view of its own, is removed once more over the shared ones.
    """
    start = np.max([each.origin for each in views.values()], axis=0)
    stop = np.min([np.add(each.origin, each.mask.shape) for each in views.values()], axis=0)
    if (stop <= start).any():
        return {}
    origin, shape = (int(start[0]), int(start[1])), (int(stop[0] - start[0]), int(stop[1] - start[1]))

    def moved(values: NDArray[Any], each: Compared) -> Image:
        return reframe(values.astype(np.complex64), each.origin, origin, shape)

    mask = np.logical_and.reduce([moved(each.mask, each).real > 0 for each in views.values()])
    if not mask.any():
        return {}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for view, each in views.items():
        first, *others = each.images
        truth = moved(each.images[first], each)
        for name in others:
            image = moved(each.images[name], each)
            phase, _ = phase_and_scale(image[mask], truth[mask])
            found[view, name] = asdict(score_covered(image * np.exp(-1j * phase), truth, mask))
    return found
