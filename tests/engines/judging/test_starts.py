"""The better start of a fit is told by pixels held out."""

from dataclasses import replace

import numpy as np

from ptychopinn.engines.judging.starts import compared
from ptychopinn.reconstruction import Reconstruction
from tests.blind import disc, scan_of


def test_the_true_image_is_a_better_start_than_vacuum_and_a_wrong_one_a_worse() -> None:
    true = disc(10.0, 2.0)
    scan = scan_of(true, 6.0)
    light = true * np.sqrt(1e6 / (abs(true) ** 2).sum())
    scan = replace(scan, probe=light[None].astype(np.complex64))
    image = Reconstruction(
        object=scan.object, origin=(0, 0), coverage=np.ones(scan.object.shape, np.float32), positions=scan.positions
    )
    right = compared(scan, image, "fourier")
    assert right.image < 0.8 * right.vacuum
    noise = np.random.default_rng(0).uniform(-3, 3, scan.object.shape)
    wrong = compared(scan, replace(image, object=np.exp(1j * noise).astype(np.complex64)), "fourier")
    assert wrong.image > wrong.vacuum == right.vacuum
