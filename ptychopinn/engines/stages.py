"""Stages of the projections: frames of a batch, and epochs."""

import math
from collections.abc import Set

import torch
from torch import Tensor

from ptychopinn.engines.projections import Unknown
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan.coverage import mean_overlap
from ptychopinn.scan.scan import Scan

FROM_VACUUM = ((1, 6), (4, 1), (16, 2))
FROM_IMAGE = ((1, 2), (4, 1), (16, 1))
"""Stages of projection steps: frames of a batch that overlap on a pixel, and epochs.

Single frames converge the lowest frequencies, to which the likelihood is hardly sensitive; then larger batches average
their noise."""

LEAST_PHOTONS = 3.0
"""Photons per lit pixel in a batch: it takes several dim frames, so that an epoch has fewer steps."""

PROBE_EPOCHS, POSITION_EPOCHS = 4, 2
"""Epoch multipliers of the projections for an unknown probe, and for unknown positions, which scoring fits better."""

AFFINE_EPOCHS = 5
"""Epoch multiplier of the first stage for an unknown map of the positions, which must end in the right minimum."""

DIM_EPOCHS = 4
"""Largest epoch multiplier for dim frames."""


def stages_of(scan: Scan, unknowns: Set[Unknown], blank: bool) -> list[tuple[int, int]]:
    """Frames of a batch, and epochs, of each stage of the projections."""
    probe = torch.from_numpy(scan.probe)
    dim = max(1.0, LEAST_PHOTONS / photons_per_pixel(scan, probe))
    alone = dim * len(scan) / mean_overlap(scan, probe)
    found = []
    for lighting, count in FROM_VACUUM if blank else FROM_IMAGE:
        longer = PROBE_EPOCHS if "probe" in unknowns else POSITION_EPOCHS if "positions" in unknowns else 1
        if "affine" in unknowns and lighting == 1:
            longer = AFFINE_EPOCHS
        if longer == 1 and lighting == 1:
            longer = min(DIM_EPOCHS, round(dim))
        found.append((min(len(scan), math.ceil(lighting * alone)), longer * count))
    return found


def photons_per_pixel(scan: Scan, probe: Tensor) -> float:
    """Photons of a frame on a typical lit pixel, ``sum I^2 / sum I``."""
    intensity = probe_intensity(probe).double()
    return float(intensity.square().sum() / intensity.sum())
