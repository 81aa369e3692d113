"""How an image explains frames and detector pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.scan.canvas import start_image
from ptychopinn.scan.fits import frame_fits, pixel_fits


@pytest.fixture
def image(tiny_scan):
    """Vacuum under a scan, on its canvas."""
    canvas = tiny_scan.canvas_origin, tiny_scan.canvas_shape
    return torch.from_numpy(start_image(np.ones(canvas[1], np.complex64), canvas[0], *canvas))


def test_pixels_and_frames_share_one_deviance(tiny_scan, image):
    scan = replace(tiny_scan, good_pixels=None)
    frames = frame_fits(image, scan.canvas_origin, scan)
    pixels = pixel_fits(image, scan.canvas_origin, scan)
    assert pixels.deviance.mean() == pytest.approx(frames[0].mean(), rel=1e-4)
    assert pixels.counts.sum() == pytest.approx(frames[2].mean(), rel=1e-6)
    assert pixels.rates.sum() == pytest.approx(frames[3].mean(), rel=1e-4)


def test_a_background_is_the_constant_of_the_regression(tiny_scan, image):
    scan = replace(tiny_scan, good_pixels=None)
    counts = np.asarray(scan.array(slice(None)))
    more = pixel_fits(image, scan.canvas_origin, replace(scan, counts=counts + 5))
    less = pixel_fits(image, scan.canvas_origin, scan)
    inside = less.constant > 0
    assert inside.any()
    np.testing.assert_allclose((more.constant - less.constant)[inside], 5, rtol=1e-4)
    assert (more.regressed <= more.deviance * 1.001).mean() > 0.8
