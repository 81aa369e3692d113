"""Position correction: small updates by least squares, and a search for frames that are pixels off."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ptychopinn.model.processes import ALONE, Team
from ptychopinn.physics.conditions import IDEAL, Conditions, expected_counts
from ptychopinn.physics.exit_waves import ProbeViews, SubPixel, frames_per_chunk, position_gradients
from ptychopinn.physics.likelihood import poisson_deviance
from ptychopinn.scan.scan import Scan

LARGEST_UPDATE = 0.5
"""Largest update of a position along each axis, pixels."""

REACH, FAR = 4, 8
"""Search range along each axis, pixels, for the worst frames and for the very worst ones."""

SUSPECT, LOST = 0.25, 0.02
"""Shares of the frames to search: the worst ones, and the very worst ones, which get a wider and a finer search."""


def position_updates(views: ProbeViews, patches: Tensor, change: Tensor) -> Tensor:
    """Position updates: least-squares fit of the position gradients to the exit-wave update.

    Args:
        views: n frames.
        patches: (n, N, N) complex, the object at ``views.places``.
        change: (n, m, N, N) complex update of the exit waves.

    Returns:
        (n, 2) float64 pixels (y, x), at most ``LARGEST_UPDATE`` along each axis.
    """
    gradients = position_gradients(views, patches).flatten(2)
    normal = torch.einsum("nai,nbi->nab", gradients.conj(), gradients).real.double()
    right = (gradients.conj() * change.flatten(1).unsqueeze(1)).real.sum(dim=-1).double()
    ridge = 1e-3 * normal.diagonal(dim1=1, dim2=2).sum(dim=1).clamp_min(1e-12)
    normal = normal + torch.diag_embed(ridge[:, None].expand(-1, 2))
    return torch.linalg.solve(normal, right).clamp(-LARGEST_UPDATE, LARGEST_UPDATE)


def search(
    scan: Scan,
    image: Tensor,
    probe: Tensor,
    positions: Tensor,
    measured: Tensor,
    subpixel: SubPixel,
    team: Team = ALONE,
    conditions: Conditions = IDEAL,
) -> Tensor:
    """Search better positions, pixels away, for the frames that fit worst.

    Small updates end in the nearest minimum, so a frame that is pixels off needs a search (Maiden et al.,
    Ultramicroscopy 120, 2012, search at random). The search is centred on the measured position, not on the present
    one: a frame that a poor image once sent far off comes back. The very worst frames are also searched in steps of
    half a pixel: with many photons, half a pixel beside the true position can fit worse than a wrong position.

    Args:
        scan: counts and mask.
        image: (H, W) complex on the canvas of the scan.
        probe: (m, N, N) complex.
        positions: (n, 2) float64 on that canvas, present.
        measured: (n, 2) float64, as measured.
        subpixel: model between pixels.
        team: processes that share the frames.
        conditions: of the frames.

    Returns:
        (n, 2) float64, each the best of the present position and those within ``REACH`` or ``FAR`` of the measured one.
    """
    every, count = torch.arange(len(scan), device=positions.device), frames_per_chunk(probe)

    def misfit(rows: Tensor) -> Callable[[Tensor], Tensor]:
        counts = scan.frames(rows.cpu().numpy()).to(image.device)
        return partial(_misfit, scan, counts, image, probe, subpixel, conditions.of(rows))

    best, found = torch.zeros(len(scan), device=image.device), positions.clone()
    for rows in every[team.share(slice(0, len(scan)))].split(count):
        best[rows] = misfit(rows)(positions[rows])
    team.total(best)
    centres = positions + (measured - positions).round()
    for share, reach, step in ((SUSPECT, REACH, 1.0), (LOST, FAR, 1.0), (LOST, REACH, 0.5)):
        worst = best.argsort(descending=True)[: max(1, round(share * len(scan)))].sort().values
        steps = torch.arange(-reach, reach + step, step, dtype=torch.float64, device=positions.device)
        before = best.clone(), found.clone()
        for rows in worst[team.share(slice(0, len(worst)))].split(count):
            of_place = misfit(rows)
            for offset in torch.cartesian_prod(steps, steps):
                tried = centres[rows] + offset
                fits = of_place(tried)
                better = fits < best[rows]
                best[rows[better]] = fits[better]
                found[rows[better]] = tried[better]
        for now, then in zip((best, found), before, strict=True):
            now.copy_(then + team.total(now - then))
    return found


def _misfit(
    scan: Scan,
    counts: Tensor,
    image: Tensor,
    probe: Tensor,
    subpixel: SubPixel,
    conditions: Conditions,
    positions: Tensor,
) -> Tensor:
    """Mean Poisson deviance of some frames (n, N, N) at some positions (n, 2): (n,)."""
    rate = expected_counts(image, probe, positions, subpixel, conditions)
    if scan.good_pixels is not None:
        rate = rate * torch.from_numpy(scan.good_pixels).to(image.device)
    return poisson_deviance(rate, counts).mean(dim=(1, 2))
