"""Where frames lie: small moves by least squares, and a search for frames that lie far off."""

import torch
from torch import Tensor

from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import SubPixel, Views, look, views_together, waves_per_pixel
from ptychopinn.physics.likelihood import poisson_deviance
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.scan import Scan

LONGEST_MOVE = 0.5
"""Pixels that a position may move in one step."""

REACH, FAR = 4, 8
"""Pixels along each axis that a search goes out, and farther out for the very worst frames."""

SUSPECT, LOST = 0.25, 0.02
"""Shares of the frames that are searched for, and searched for farther out and more finely: those that fit worst."""


def moves(views: Views, patches: Tensor, change: Tensor) -> Tensor:
    """Where frames had better lie: the least-squares fit of their slopes to the change asked of their waves.

    Args:
        views: of n frames.
        patches: (n, N, N) complex, the object at ``views.places``.
        change: (n, m, N, N) complex change of the exit waves.

    Returns:
        (n, 2) float64 pixels (y, x), at most ``LONGEST_MOVE`` along each axis.
    """
    slopes = waves_per_pixel(views, patches).flatten(2)
    wanted = change.flatten(1).unsqueeze(1)
    normal = torch.einsum("nai,nbi->nab", slopes.conj(), slopes).real.double()
    right = (slopes.conj() * wanted).real.sum(dim=-1).double()
    ridge = 1e-3 * normal.diagonal(dim1=1, dim2=2).sum(dim=1).clamp_min(1e-12)
    normal = normal + torch.diag_embed(ridge[:, None].expand(-1, 2))
    return torch.linalg.solve(normal, right).clamp(-LONGEST_MOVE, LONGEST_MOVE)


def search(scan: Scan, image: Tensor, probe: Tensor, positions: Tensor, measured: Tensor, subpixel: SubPixel) -> Tensor:
    """Look for better places of the frames that fit worst, pixels away.

    Small moves end in the next minimum; a frame that lies pixels off needs a look around (Maiden et al.,
    Ultramicroscopy 120, 2012, do it at random). The look is around the measured place, not the present one: a frame
    that a poor image once sent far off comes back. The very worst are also looked for in half pixels: where there is
    much light half a pixel beside the right place can fit worse than a wrong place at its best.

    Args:
        scan: counts and mask.
        image: (H, W) complex on the canvas of the scan.
        probe: (m, N, N) complex.
        positions: (n, 2) float64 on that canvas, where the frames lie now.
        measured: (n, 2) float64, where they were said to lie.
        subpixel: model between pixels.

    Returns:
        (n, 2) float64, each the best of the present place and those within ``REACH`` or ``FAR`` of the measured one.
    """
    every, count = torch.arange(len(scan), device=positions.device), views_together(probe)
    best = torch.cat([_misfit(scan, image, probe, positions[rows], rows, subpixel) for rows in every.split(count)])
    found = positions.clone()
    middles = positions + (measured - positions).round()
    for share, reach, step in ((SUSPECT, REACH, 1.0), (LOST, FAR, 1.0), (LOST, REACH, 0.5)):
        worst = best.argsort(descending=True)[: max(1, round(share * len(scan)))]
        steps = torch.arange(-reach, reach + step, step, dtype=torch.float64, device=positions.device)
        for rows in worst.split(count):
            for offset in torch.cartesian_prod(steps, steps):
                places = middles[rows] + offset
                there = _misfit(scan, image, probe, places, rows, subpixel)
                better = there < best[rows]
                best[rows[better]] = there[better]
                found[rows[better]] = places[better]
    return found


def _misfit(scan: Scan, image: Tensor, probe: Tensor, positions: Tensor, rows: Tensor, subpixel: SubPixel) -> Tensor:
    """Mean Poisson deviance of some frames at some positions: (n,)."""
    views = look(probe, positions, subpixel)
    rate = diffract(views.probes, extract_patches(image, views.places, scan.N))
    counts = scan.frames(rows.cpu().numpy()).to(image.device)
    if scan.good_pixels is not None:
        rate = rate * torch.from_numpy(scan.good_pixels).to(image.device)
    return poisson_deviance(rate, counts).mean(dim=(1, 2))
