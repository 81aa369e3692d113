"""Positions from single frames alone: their patches, the shifts between neighbours, and one solve."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.engines.places.network import place
from ptychopinn.engines.places.pairs import REACH, neighbours, register
from ptychopinn.engines.places.patches import single_patches
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan.scan import Scan


class Registered(NamedTuple):
    """Positions of a scan by its single frames.

    Attributes:
        positions: (n, 2) pixels (y, x).
        agreement: mean weight that the pairs keep, times the trust in them; in [0, 1].
    """

    positions: NDArray[np.float64]
    agreement: float


def registered(scan: Scan, probe: Tensor, error: float, seed: int = 0) -> Registered:
    """Positions from the shifts between single frames.

    Args:
        scan: counts, mask and nominal positions.
        probe: (m, N, N) complex.
        error: standard deviation of a nominal position along each axis, pixels.
        seed: of the choice of pairs.
    """
    light = probe_intensity(probe)
    diameter = 2 * math.sqrt(float(light.sum() ** 2 / light.square().sum()) / math.pi)
    pairs = neighbours(scan.positions, REACH * diameter, seed).to(probe.device)
    nominal = torch.from_numpy(scan.positions).to(probe.device)
    matches = register(lambda rows: single_patches(scan, rows, probe), light, pairs, nominal, error)
    found, kept = place(scan.positions, matches, error)
    return Registered(found, float((kept * matches.trust.cpu().numpy()).mean()))
