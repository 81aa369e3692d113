"""A trained probe on another scan: its shape, and the photons of that scan."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.model.bundle import Run, with_trained_probe
from ptychopinn.scan.illumination import Illumination


def test_a_trained_probe_takes_the_flux_of_the_next_scan(tiny_scan, tiny_run):
    probe = torch.from_numpy(tiny_scan.probe).roll(2, -1)
    light = Illumination(probe, None, tiny_scan.support)
    run = Run(tiny_run.model, light, Settings.of({"probe_trainable": True}))
    weak = replace(tiny_scan, probe=(0.6 * tiny_scan.probe).astype(np.complex64))
    found = with_trained_probe(run, weak)
    np.testing.assert_allclose(found.probe, 0.6 * probe.numpy(), rtol=1e-5, atol=1e-5 * np.abs(tiny_scan.probe).max())
    assert with_trained_probe(tiny_run, weak) is weak
    with pytest.raises(PtychoError, match="trained a probe of 32; crop"):
        with_trained_probe(run, tiny_scan.crop(16))
