"""Patches of the object from single frames: they need a probe and no position."""

import torch
from torch import Tensor

from ptychopinn.engines.projections import ANSCOMBE, DAMPING
from ptychopinn.physics.diffraction import project_to_counts
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan.scan import Scan


def single_patches(scan: Scan, rows: Tensor, probe: Tensor) -> Tensor:
    """What one projection step from vacuum shows of the object.

    ``1 + sum_m P_m^* dpsi_m / (|P|^2 + damping)``, with the update ``dpsi`` of the exit waves onto the counts. A curved
    probe makes a frame an in-line hologram, and this is its back-propagation: blurred by a twin image, but in place.

    Args:
        scan: counts and mask.
        rows: (k,) frames.
        probe: (m, N, N) complex.

    Returns:
        (k, N, N) complex.
    """
    good = None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels).to(probe.device)
    vacuum = torch.ones(len(rows), scan.N, scan.N, dtype=probe.dtype, device=probe.device)
    counts = scan.frames(rows.cpu().numpy()).to(probe.device)
    change = project_to_counts(probe[None], vacuum, counts, good, ANSCOMBE)
    light = probe_intensity(probe)
    return vacuum + (probe.conj() * change).sum(dim=1) / (light + DAMPING * light.max())
