"""A smooth background, found from the detector pixels that an image does not fit.

An image follows the noise of the pixels it is fitted to, the more the darker they are: with a background free beside
it the likelihood is largest where the image explains half of a weak background. Pixels held out do not know that image.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ptychopinn.engines.projections import ANSCOMBE, LEAST_BACKGROUND, Estimate, held_out_pixels
from ptychopinn.engines.responses import background_basis
from ptychopinn.model.processes import ALONE, Team
from ptychopinn.physics.conditions import expected_counts
from ptychopinn.physics.exit_waves import SubPixel, frames_per_chunk
from ptychopinn.scan.scan import Scan

ROUGH = 0.3
"""Standard deviation of the difference between neighbouring knots, of the mean background: under the beam few counts
tell the background, and it follows its surroundings."""


def with_background(scan: Scan, estimate: Estimate, subpixel: SubPixel, team: Team = ALONE) -> Estimate:
    """An estimate with the smooth background that the pixels held out ask for, all else kept.

    The values c at the knots minimise ``sum w (k - I)^2 + sum (c_p - c_q)^2 / s^2`` over the pixels that are held out
    and over neighbouring knots p, q, with ``w = 1 / (I + 3/8)`` and s = ``ROUGH`` times the mean background; nowhere is
    the background negative.

    Args:
        scan: counts and mask.
        estimate: with a background.
        subpixel: model between pixels.
        team: processes that share the frames.
    """
    background = estimate.conditions.background
    assert background is not None
    excess, weight = _sums(scan, estimate, subpixel, team)
    along = background_basis(excess)
    basis = torch.einsum("yk,xl->yxkl", along, along).reshape(excess.numel(), -1)
    inverse = torch.linalg.pinv(along)
    knots = (inverse @ background.to(excess) @ inverse.T).flatten()
    stiff = _differences(along.shape[1]).to(excess) / (ROUGH * background.mean().to(excess)).square()
    normal = basis.T @ (weight.reshape(-1, 1) * basis) + stiff
    change = torch.linalg.solve(normal, basis.T @ excess.flatten() - stiff @ knots)
    found = (basis @ (knots + change)).reshape(background.shape).to(background).clamp_min(LEAST_BACKGROUND)
    return replace(estimate, conditions=estimate.conditions._replace(background=found))


def _differences(count: int) -> Tensor:
    """Matrix of the summed squared differences between neighbours on a grid of count x count values."""
    step = torch.diff(torch.eye(count, dtype=torch.float64), dim=0)
    line, same = step.T @ step, torch.eye(count, dtype=torch.float64)
    return torch.kron(line, same) + torch.kron(same, line)


def _sums(scan: Scan, now: Estimate, subpixel: SubPixel, team: Team) -> Tensor:
    """``sum w (k - I)`` and ``sum w`` over the frames, on the pixels held out: (2, N, N) float64."""
    device, mine = now.image.device, team.share(slice(0, len(scan)))
    good = None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels).to(device)
    sums = torch.zeros(2, scan.N, scan.N, dtype=torch.float64, device=device)
    for rows in torch.arange(mine.start, mine.stop, device=device).split(frames_per_chunk(now.probe)):
        held = held_out_pixels(scan.N, rows)[:, 0]
        held = held if good is None else held & good
        counts = scan.frames(rows.cpu().numpy()).to(device)
        rate = expected_counts(now.image, now.probe, now.positions[rows], subpixel, now.conditions.of(rows))
        weight = held / (rate + ANSCOMBE)
        sums += torch.stack([(weight * (counts - rate)).sum(dim=0), weight.sum(dim=0)])
    return team.total(sums)
