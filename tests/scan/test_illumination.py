"""The illumination of a scan."""

import torch

from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.scan import Scan


def test_an_illumination_says_what_the_scan_says(tiny_scan):
    light = Illumination.of(tiny_scan)
    assert torch.equal(light.probe, torch.from_numpy(tiny_scan.probe))
    assert light.support == tiny_scan.support
    assert light.good_pixels is None
    mask = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) > 0.2
    masked = Scan(tiny_scan.counts, tiny_scan.positions, tiny_scan.probe, good_pixels=mask.numpy())
    light = Illumination.of(masked).to("cpu")
    assert torch.equal(light.good_pixels, mask)
