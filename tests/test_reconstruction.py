"""A reconstruction: its window on an object, and the deviance of what it predicts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.fits import deviances
from tests.helpers import at_dose


@pytest.mark.parametrize("origin", [(0, 0), (3, 5), (-2, 4), (-6, -9), (20, 1), (-40, -40)])
def test_a_window_puts_the_image_at_its_origin(origin):
    rng = np.random.default_rng(0)
    image = (1 + rng.random((9, 12))).astype(np.complex64)
    window = Reconstruction(image, origin, abs(image), np.zeros((1, 2))).window((15, 11))
    assert (window.shape, window.dtype) == ((15, 11), np.complex64)
    for y, x in np.ndindex(window.shape):
        row, col = y - origin[0], x - origin[1]
        inside = 0 <= row < 9 and 0 <= col < 12
        assert window[y, x] == (image[row, col] if inside else 0)


def test_the_window_of_an_image_lies_on_the_object(tiny_scan, tiny_truth):
    truth = Reconstruction(tiny_truth.numpy(), tiny_scan.canvas_origin, tiny_truth.abs().numpy(), tiny_scan.positions)
    window = truth.window(tiny_scan.object.shape)
    assert np.array_equal(window[tiny_scan.scan_box], tiny_scan.object[tiny_scan.scan_box])


@pytest.mark.parametrize("masked", [False, True])
def test_the_true_object_has_a_deviance_of_one(tiny_scan, masked):
    # So many photons that hardly a pixel expects less than one.
    scan = at_dose(tiny_scan, 1e9)
    if masked:
        scan = replace(scan, good_pixels=np.random.default_rng(0).random((32, 32)) > 0.1)
    image = torch.from_numpy(scan.object)
    assert deviances(image, (0, 0), scan)[0] == pytest.approx(1, rel=0.03)
    assert deviances(1.01 * image, (0, 0), scan)[0] > 10


@pytest.mark.parametrize("nphotons", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("masked", [False, True])
def test_the_true_object_has_the_deviance_that_is_expected_of_it_at_any_dose(tiny_scan, nphotons, masked):
    scan = at_dose(tiny_scan, nphotons)
    if masked:
        scan = replace(scan, good_pixels=np.random.default_rng(0).random((32, 32)) > 0.3)
    image = torch.from_numpy(scan.object)
    measured, expected = deviances(image, (0, 0), scan)
    assert expected == pytest.approx(measured, rel=0.03)
    assert expected == pytest.approx(deviances(image, (0, 0), scan, chunk=5)[1], rel=0.01)


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_the_deviance_knows_the_origin_and_no_chunks(tiny_scan, tiny_truth, chunk):
    expected = deviances(torch.from_numpy(tiny_scan.object), (0, 0), tiny_scan)[0]
    found = deviances(tiny_truth, tiny_scan.canvas_origin, tiny_scan, chunk=chunk)[0]
    assert found == pytest.approx(expected, rel=1e-4)
