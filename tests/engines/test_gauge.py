"""A phase ramp goes from the image to the probe, and no frame changes."""

import numpy as np
import pytest
import torch

from ptychopinn.engines.gauge import levelled
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import probe_views
from ptychopinn.physics.patches import extract_patches
from ptychopinn.reconstruction import Reconstruction
from tests.blind import SIZE, lens, pattern


def rates(result: Reconstruction) -> torch.Tensor:
    assert result.probe is not None
    views = probe_views(torch.from_numpy(result.probe), torch.from_numpy(result.positions), "fourier")
    return diffract(views.probes, extract_patches(torch.from_numpy(result.object), views.places, SIZE))


def test_the_frames_stay_and_the_slope_goes():
    image, slope = pattern(), (0.011, -0.007)
    rows, columns = (np.arange(size) for size in image.shape)
    ramp = np.exp(1j * (slope[0] * rows[:, None] + slope[1] * columns))
    tilted = Reconstruction(
        object=(image * ramp).astype(np.complex64),
        origin=(0, 0),
        coverage=np.ones(image.shape, np.float32),
        positions=np.array([[40.0, 41.0], [47.3, 50.8]]),
        probe=lens(9.0, 0.04)[None].astype(np.complex64),
    )
    level, found = levelled(tilted)
    alone = levelled(
        Reconstruction(image.astype(np.complex64), (0, 0), tilted.coverage, tilted.positions, probe=level.probe)
    )
    assert found == pytest.approx(tuple(np.add(slope, alone[1])), abs=1e-4)
    assert torch.allclose(rates(level), rates(tilted), atol=2e-3 * float(rates(tilted).max()))
    assert levelled(level)[1] == pytest.approx((0, 0), abs=1e-5)


def test_a_kept_probe_keeps_its_image():
    kept = Reconstruction(np.ones((8, 8), np.complex64), (0, 0), np.ones((8, 8), np.float32), np.zeros((1, 2)))
    assert levelled(kept) == (kept, (0.0, 0.0))
