"""How an image explains a scan: frame by frame, and detector pixel by detector pixel."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.physics.conditions import IDEAL, Conditions, expected_counts
from ptychopinn.physics.exit_waves import SubPixel, frames_per_chunk
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


@dataclass(frozen=True)
class PixelFits:
    """How an image explains every detector pixel: means over the frames, (N, N) float64 each.

    Attributes:
        counts: measured photons.
        rates: photons that the image predicts.
        deviance: of the counts.
        expected: what noise alone leaves of it.
        constant: light that is the same in every frame, by regression ``counts ~ factor * rates + constant``.
        regressed: deviance that this factor and this constant leave.
    """

    counts: NDArray[np.float64]
    rates: NDArray[np.float64]
    deviance: NDArray[np.float64]
    expected: NDArray[np.float64]
    constant: NDArray[np.float64]
    regressed: NDArray[np.float64]


def pixel_fits(
    image: Tensor,
    origin: tuple[int, int],
    scan: Scan,
    subpixel: SubPixel = "bilinear",
    conditions: Conditions = IDEAL,
) -> PixelFits:
    """How an image explains every detector pixel over all frames; arguments as of :func:`frame_fits`."""
    frames = partial(_counts_and_rates, image, origin, scan, subpixel, conditions)
    sums = torch.zeros(6, scan.N, scan.N, dtype=torch.float64)
    for counts, rate in frames():
        deviance, expected = poisson_deviance(rate, counts), expected_deviance(rate)
        sums += torch.stack([x.sum(dim=0) for x in (counts, rate, deviance, expected, rate * rate, counts * rate)])
    mean, rates, deviance, expected, square, both = sums / len(scan)
    factor = ((both - mean * rates) / (square - rates * rates).clamp_min(1e-12)).clamp(0, 3)
    constant = (mean - factor * rates).clamp_min(0)
    regressed = torch.zeros(scan.N, scan.N, dtype=torch.float64)
    for counts, rate in frames():
        regressed += poisson_deviance(factor * rate + constant, counts).sum(dim=0)
    parts = (mean, rates, deviance, expected, constant, regressed / len(scan))
    return PixelFits(*(part.numpy() for part in parts))


def _counts_and_rates(
    image: Tensor, origin: tuple[int, int], scan: Scan, subpixel: SubPixel, conditions: Conditions
) -> Iterator[tuple[Tensor, Tensor]]:
    """Counts and rates of all frames, some at a time, float64 on the CPU: (k, N, N) each."""
    probe = torch.from_numpy(scan.probe).to(image.device)
    places = torch.from_numpy(scan.positions - np.array(origin)).to(image.device)
    for rows in torch.arange(len(scan)).split(frames_per_chunk(probe)):
        here = conditions.of(rows).to(image.device)
        rate = expected_counts(image, probe, places[rows.to(image.device)], subpixel, here)
        yield scan.frames(rows.numpy()).double(), rate.double().cpu().clamp_min(1e-6)


def common_phase(image: Tensor, coverage: Tensor) -> Tensor:
    """Remove the free global phase: the coverage-weighted mean of the object becomes real and positive."""
    mean = (image * coverage).sum()
    return image * torch.polar(torch.ones_like(mean.real), -mean.angle())
