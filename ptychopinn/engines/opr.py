"""A first guess of how the probe changes from frame to frame: principal components of what the frames ask for."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ptychopinn.engines.projections import ANSCOMBE, Estimate, fitted_pixels
from ptychopinn.physics import exit_waves
from ptychopinn.physics.diffraction import project_to_counts
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.scan import Scan

ROUNDS = 2
"""Power iterations; each is two passes over the frames."""

DAMPING = 0.1


def with_opr(
    scan: Scan,
    estimate: Estimate,
    subpixel: exit_waves.SubPixel,
    count: int,
    seed: int = 0,
    hold_out: bool = False,
) -> Estimate:
    """An estimate with ``count`` modes by which the first mode of its probe changes, and their weights.

    The modes are the leading principal components of the probe updates ``dP_j = O_j^* dpsi_j / |O_j|^2`` of all frames,
    orthogonal to the probe (a change along it is one of the flux), found by power iterations that hold no more than
    one chunk of updates.

    Args:
        scan: counts and mask.
        estimate: image, probe, positions and conditions so far.
        subpixel: model between pixels.
        count: K.
        seed: of the first weights.
        hold_out: leave out the pixels of :func:`ptychopinn.engines.projections.held_out_pixels`.
    """
    generator = torch.Generator().manual_seed(seed)
    device = estimate.image.device
    weights = torch.randn(len(scan), count, generator=generator).to(device)
    modes = torch.zeros(count, scan.N, scan.N, dtype=estimate.probe.dtype, device=device)
    updates = partial(_updates, scan, estimate, subpixel, hold_out)
    for _ in range(ROUNDS):
        modes.zero_()
        for rows, update in updates():
            modes += torch.einsum("nk,nyx->kyx", (weights[rows] - weights.mean(dim=0)).to(update.dtype), update)
        modes = _orthogonal(modes, estimate.probe[0])
        weights = torch.cat([torch.einsum("kyx,nyx->nk", modes.conj(), update).real for _, update in updates()])
    power = float(estimate.probe[0].abs().square().sum()) ** 0.5
    conditions = estimate.conditions._replace(opr_modes=modes * power, opr_weights=weights / power)
    return replace(estimate, conditions=conditions)


def _updates(
    scan: Scan, now: Estimate, subpixel: exit_waves.SubPixel, hold_out: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and probe updates (n, N, N) of every chunk."""
    good = None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels).to(now.image.device)
    for rows in torch.arange(len(scan), device=now.image.device).split(exit_waves.frames_per_chunk(now.probe)):
        mask = fitted_pixels(scan.N, rows, good, hold_out)
        views = exit_waves.probe_views(now.conditions.probes(now.probe, rows), now.positions[rows], subpixel)
        patches = extract_patches(now.image, views.places, scan.N)
        counts = scan.frames(rows.cpu().numpy()).to(now.image.device)
        change = project_to_counts(views.probes, patches, counts, mask, ANSCOMBE, now.conditions.background)[:, :1]
        power = patches.abs().square()
        update = exit_waves.waves_to_probes(views, patches, change)[:, 0]
        yield rows, update / (power + DAMPING * power.amax(dim=(1, 2), keepdim=True))


def _orthogonal(modes: Tensor, probe: Tensor) -> Tensor:
    """Modes (K, N, N) of unit power, orthogonal in the real inner product to each other, the probe and i times it."""
    unit = probe / probe.abs().square().sum().sqrt()
    modes = modes - unit * torch.einsum("yx,kyx->k", unit.conj(), modes)[:, None, None]
    found = torch.linalg.qr(torch.view_as_real(modes.contiguous()).flatten(1).T).Q
    return torch.view_as_complex(found.T.reshape(*modes.shape, 2).contiguous())
