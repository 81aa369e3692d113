"""Positions and image together: projection epochs between which every frame tries other places."""

import numpy as np
import torch
from torch import Tensor

from ptychopinn.engines.projections import ANSCOMBE, Estimate, Projections, Unknown
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import frames_per_chunk, probe_views
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.scan import Scan

EPOCHS, IMAGE_FIRST = 24, 2
"""Epochs, and the first ones, which update the image alone."""

TRIALS = 6
"""Places that a frame tries before each epoch."""

FIRST, LAST = 1.5, 0.25
"""Standard deviation of the tries about the present position, pixels, in the first and in the last epoch."""

WORST = 0.25
"""Share of the frames that try places about the nominal position instead: those that fit worst for their photons."""

BATCH = 8


def annealed(
    scan: Scan,
    estimate: Estimate,
    error: float,
    unknowns: set[Unknown],
    fixed_map: bool,
    seed: int,
    hold_out: bool,
) -> None:
    """Improve image, probe and positions in place.

    Between epochs every frame tries places about its own, at distances that shrink (Maiden et al., Ultramicroscopy 120,
    2012), and takes the one that fits the roots of its counts best. Frames that fit worst try places in the whole range
    of the nominal errors: a frame that was lost finds home as the image of the others gets sharp.

    Args:
        scan: counts and mask; its positions are nominal.
        estimate: to improve.
        error: standard deviation of a nominal position along each axis, pixels.
        unknowns: object, and probe when it may change.
        fixed_map: keep the mean affine map of the positions, which a probe that is not yet right would bend.
        seed: of the tries and of the order of the frames.
        hold_out: see :class:`Projections`.
    """
    steps = Projections(scan, estimate, "bilinear", {"object"}, seed, hold_out)
    generator = torch.Generator().manual_seed(seed)
    start = estimate.positions.clone()
    batch = min(BATCH, max(1, len(scan) // 8))
    for epoch in range(EPOCHS):
        if epoch >= IMAGE_FIRST:
            steps.unknowns = unknowns | {"positions"} if epoch >= EPOCHS // 2 else unknowns
            radius = FIRST * (LAST / FIRST) ** (epoch / (EPOCHS - 1))
            tried(scan, estimate, start, radius, error, generator)
        steps.epoch(batch)
        if fixed_map:
            estimate.positions = without_map(estimate.positions, start)


def tried(
    scan: Scan, estimate: Estimate, start: Tensor, radius: float, error: float, generator: torch.Generator
) -> None:
    """Move each frame to the best of its own place and ``TRIALS`` others, in place.

    Args:
        scan: counts and mask.
        estimate: image, probe and positions.
        start: (n, 2) about which the frames that fit worst are looked for.
        radius: standard deviation of the tries of the others, pixels.
        error: standard deviation of the tries of the worst, pixels.
        generator: of the tries.
    """
    now, count = estimate.positions, max(1, frames_per_chunk(estimate.probe) // TRIALS)
    every = torch.arange(len(scan), device=now.device)
    here = torch.cat([_misfit(scan, estimate, now[rows], rows) for rows in every.split(count)])
    photons = torch.cat([scan.frames(rows.cpu().numpy()).sum(dim=(1, 2)) for rows in every.split(count)]).to(here)
    lost = torch.zeros(len(scan), dtype=torch.bool, device=now.device)
    lost[(here / photons.clamp_min(1)).argsort(descending=True)[: round(WORST * len(scan))]] = True
    noise = torch.randn(TRIALS, len(scan), 2, generator=generator, dtype=torch.float64).to(now.device)
    places = torch.where(lost[:, None], start + error * noise, now + radius * noise)
    for rows in every.split(count):
        there = places[:, rows].reshape(-1, 2)
        misfit = _misfit(scan, estimate, there, rows.repeat(TRIALS)).view(TRIALS, -1)
        least, which = misfit.min(dim=0)
        better = least < here[rows]
        now[rows[better]] = places[which[better], rows[better]]


def without_map(positions: Tensor, start: Tensor) -> Tensor:
    """Positions less the affine map, by least squares, of their moves from a start: (n, 2)."""
    known = torch.cat([start - start.mean(dim=0), torch.ones_like(start[:, :1])], dim=1)
    found = np.linalg.lstsq(known.cpu().numpy(), (positions - start).cpu().numpy(), rcond=None)[0]
    return positions - known @ torch.from_numpy(found).to(known)


def _misfit(scan: Scan, estimate: Estimate, positions: Tensor, rows: Tensor) -> Tensor:
    """Squared differences of the roots of counts and rates, summed over the pixels of each frame: (n,)."""
    views = probe_views(estimate.probe, positions, "bilinear")
    rate = diffract(views.probes, extract_patches(estimate.image, views.places, scan.N))
    unique, where = rows.unique(return_inverse=True)
    counts = scan.frames(unique.cpu().numpy()).to(rate.device)[where]
    misfit = ((rate + ANSCOMBE).sqrt() - (counts + ANSCOMBE).sqrt()).square()
    if scan.good_pixels is not None:
        misfit = misfit * torch.from_numpy(scan.good_pixels).to(rate.device)
    return misfit.sum(dim=(1, 2))
