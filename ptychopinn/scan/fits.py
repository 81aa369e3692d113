"""How an image explains the frames of a scan."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.physics.conditions import IDEAL, Conditions, expected_counts
from ptychopinn.physics.exit_waves import SubPixel
from ptychopinn.physics.likelihood import expected_deviance, poisson_deviance
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.scan import Scan

THINNED = 7
"""The expected deviance, which has no noise, is computed from one in ``THINNED`` detector pixels; an odd number
reaches all columns of a frame."""


def deviances(
    image: Tensor,
    origin: tuple[int, int],
    scan: Scan,
    subpixel: SubPixel = "bilinear",
    frames: NDArray[np.int64] | None = None,
    chunk: int = 64,
) -> tuple[float, float]:
    """Means of :func:`frame_fits`: deviance per good detector pixel, measured and expected from noise alone."""
    measured, expected = frame_fits(image, origin, scan, subpixel, frames, chunk)[:2].mean(axis=1).tolist()
    return measured, expected


def frame_fits(
    image: Tensor,
    origin: tuple[int, int],
    scan: Scan,
    subpixel: SubPixel = "bilinear",
    frames: NDArray[np.int64] | None = None,
    chunk: int = 64,
    conditions: Conditions = IDEAL,
) -> NDArray[np.float64]:
    """How an image explains every frame, over its good detector pixels.

    Args:
        image: (H, W) complex.
        origin: object-frame (y, x) of its pixel [0, 0].
        scan: counts, positions, probe and mask.
        subpixel: model between pixels.
        frames: their numbers in the scan; all when None.
        chunk: frames at once.
        conditions: of all frames of the scan.

    Returns:
        (4, n): mean Poisson deviance per pixel, its expectation from noise alone at the rates of the image, and the
        photons of the frame, measured and predicted.
    """
    probe, good, _ = Illumination.of(scan).to(image.device)
    positions = torch.from_numpy(scan.positions - np.array(origin))
    chosen = torch.arange(len(scan)) if frames is None else torch.from_numpy(frames)
    found = []
    for rows in chosen.split(chunk):
        counts = scan.frames(rows.numpy()).to(image.device).double()
        here = conditions.of(rows).to(image.device)
        rate = expected_counts(image, probe, positions[rows].to(image.device), subpixel, here)
        deviance = poisson_deviance(rate.double(), counts)
        kept, rate, counts = (x.flatten(1) if good is None else x[:, good] for x in (deviance, rate, counts))
        some = torch.arange(0, rate.shape[1] - THINNED + 1, THINNED)[None, :] + rows[:, None] % THINNED
        thinned = expected_deviance(rate.gather(1, some.to(rate.device))).double()
        parts = (kept.mean(dim=1), thinned.mean(dim=1), counts.sum(dim=1), rate.double().sum(dim=1))
        found.append(torch.stack(parts).cpu().numpy())
    return np.concatenate(found, axis=1)


def common_phase(image: Tensor, coverage: Tensor) -> Tensor:
    """Remove the free global phase: the coverage-weighted mean of the object becomes real and positive."""
    mean = (image * coverage).sum()
    return image * torch.polar(torch.ones_like(mean.real), -mean.angle())
