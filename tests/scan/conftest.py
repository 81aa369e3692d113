"""A scan whose numbers are known."""

import numpy as np
import pytest
import torch

from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import curved_disc, normalise_probe
from ptychopinn.scan.scan import Scan

N, STEP = 32, 4.0


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A raster of 8 x 6 frames, 4 px apart, of a weak phase object; 10,000 photons, two modes 4 : 1."""
    rows, cols = torch.meshgrid(torch.arange(8), torch.arange(6), indexing="ij")
    positions = 20.0 + STEP * torch.stack([rows, cols], dim=-1).reshape(-1, 2).double()
    disc = curved_disc(N, 6.0, 1.0, softness=0.3)
    probe = normalise_probe(torch.cat([disc, 0.5 * disc.roll(2, -1)]), 1e4)
    y, x = torch.meshgrid(torch.arange(70.0), torch.arange(62.0), indexing="ij")
    image = torch.polar(torch.ones(70, 62), 0.3 * torch.sin(y / 5) * torch.cos(x / 4))
    rate = diffract(probe, extract_patches(image, positions, N))
    counts = torch.poisson(rate, torch.Generator().manual_seed(1)).numpy().astype(np.uint16)
    return Scan(counts, positions.numpy(), probe.numpy(), object=image.numpy())
