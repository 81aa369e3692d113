"""The figure of measured and predicted patterns."""

import numpy as np
import pytest
import torch
from matplotlib.colors import LogNorm
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.figures.patterns import patterns_figure
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.scan import Scan
from tests.figures.drawn import N, data, limits


def test_patterns_share_one_scale_and_residuals_are_normalised(scan: Scan, truth: NDArray[np.complex64]) -> None:
    places = torch.from_numpy(scan.positions[:6])
    rate = diffract(torch.from_numpy(scan.probe), extract_patches(torch.from_numpy(truth), places, N)).numpy()
    measured = scan.counts[:6].astype(np.float64)
    measured[:, 3, 3] = np.nan
    grid = np.array(patterns_figure(measured, rate).axes).reshape(3, 4)
    assert len({limits(axes) for axes in grid[:2].flat}) == 1
    assert isinstance(grid[0, 0].images[0].norm, LogNorm)
    for axes, k, expected in zip(grid[2], measured, rate, strict=False):
        error = data(axes)
        np.testing.assert_allclose(error.filled(0), np.nan_to_num((k - expected) / np.sqrt(expected + 1)), rtol=1e-5)
        assert error.mask[3, 3] and error.mask.sum() == 1
        noise = np.sqrt((expected / (expected + 1)).mean())
        assert float(axes.get_title().split()[-1]) == pytest.approx(noise, rel=0.1), "only photon noise is left"
        assert limits(axes)[0] == -limits(axes)[1] <= -3


def test_patterns_of_different_shapes_are_refused(scan: Scan) -> None:
    with pytest.raises(PtychoError, match="equal"):
        patterns_figure(scan.counts[:2], scan.counts[:3])
