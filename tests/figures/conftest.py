"""A scan with its truth and coverage, to be drawn."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import curved_disc, normalise_probe, probe_intensity
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.coverage import light_on_canvas
from ptychopinn.scan.scan import Scan
from tests.figures.drawn import N


@pytest.fixture(scope="module")
def scan() -> Scan:
    """7 x 9 frames of an absorbing phase object, 1e5 photons, two modes."""
    rows, cols = torch.meshgrid(torch.arange(7), torch.arange(9), indexing="ij")
    positions = 20.3 + 4.0 * torch.stack([rows, cols], dim=-1).reshape(-1, 2).double()
    disc = curved_disc(N, 6.0, 1.0)
    probe = normalise_probe(torch.cat([disc, 0.5 * disc.roll(2, -1)]), 1e5)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(72.0), indexing="ij")
    wave = torch.sin(y / 5) * torch.cos(x / 4)
    image = torch.polar(0.9 + 0.05 * torch.cos(x / 3), 0.4 + 0.5 * wave)
    rate = diffract(probe, extract_patches(image, positions, N))
    counts = torch.poisson(rate, torch.Generator().manual_seed(1)).numpy().astype(np.uint16)
    return Scan(counts, positions.numpy(), probe.numpy(), object=image.numpy())


@pytest.fixture(scope="module")
def truth(scan: Scan) -> NDArray[np.complex64]:
    assert scan.object is not None
    return scan.object


@pytest.fixture(scope="module")
def coverage(scan: Scan, truth: NDArray[np.complex64]) -> NDArray[np.float64]:
    light = light_on_canvas(scan, probe_intensity(torch.from_numpy(scan.probe))).numpy()
    return reframe(light, scan.canvas_origin, (0, 0), truth.shape).real.astype(np.float64)
