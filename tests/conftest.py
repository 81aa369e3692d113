"""Shared small data: one simulated scan and one network trained on it, made once per session."""

import pytest
import torch

from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan import Scan
from ptychopinn.simulation import raster, siemens_star, simulate


@pytest.fixture(scope="session")
def tiny_scan() -> Scan:
    """64 frames of 32 x 32 pixels of a star of 80 x 80, a disc probe of radius 7, 1e5 photons per frame."""
    positions = raster((80, 80), 32, step=6.0)
    return simulate(siemens_star(80), curved_disc(32, 7.0, 2.5).numpy(), positions, nphotons=1e5)


@pytest.fixture(scope="session")
def tiny_truth(tiny_scan) -> torch.Tensor:
    """The object of ``tiny_scan`` on the scan's canvas, complex64. Not to be changed."""
    (y, x), (height, width) = tiny_scan.canvas_origin, tiny_scan.canvas_shape
    truth = torch.from_numpy(tiny_scan.object[y : y + height, x : x + width])
    assert truth.shape == tiny_scan.canvas_shape
    return truth


@pytest.fixture(scope="session")
def tiny_run(tiny_scan):
    """A narrow network of two stages, trained on ``tiny_scan`` for a few seconds. Not to be changed."""
    from ptychopinn.config import Settings
    from ptychopinn.training import train

    values = {"n_filters_scale": 0.25, "stages": 2, "nepochs": 6, "batch_size": 8, "learning_rate": 5e-3}
    return train(tiny_scan, Settings.of({**values, "accelerator": "cpu"}))
