"""The search for a probe of which nothing is known, on scans of other code than ours."""

import pytest
import torch

from ptychopinn.engines.probe_search import search_probe, search_size, starts
from ptychopinn.physics.probe import probe_power
from ptychopinn.physics.start_probes import alike
from ptychopinn.scan.beam import mean_root
from tests.blind import SIZE, disc, lens, scan_of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("true", "step"), [(disc(10.0, 2.0), 3.5), (lens(10.0, 0.05, 4.0), 3.5), (lens(9.0, -0.05), 3.0)]
)
def test_the_probe_is_found_up_to_a_shift(true, step):
    scan = scan_of(true, step)
    lines: list[str] = []
    found = search_probe(scan, torch.from_numpy(mean_root(scan)), report=lines.append)
    assert found.probe.shape == (1, SIZE, SIZE)
    assert alike(torch.from_numpy(found.probe), torch.from_numpy(true[None])) > 0.95
    assert found.rival is None
    assert found.trials[0][1] < 0.5 * found.trials[-1][1]
    assert len(lines) == 3


@pytest.mark.slow
def test_the_modes_asked_for_are_made_orthogonal():
    scan = scan_of(disc(10.0, 2.0), 4.0)
    found = search_probe(scan, torch.from_numpy(mean_root(scan)), modes=2)
    modes = torch.from_numpy(found.probe)
    assert modes.shape == (2, SIZE, SIZE)
    assert abs(complex(torch.vdot(modes[0].flatten(), modes[1].flatten()))) < 1e-2 * float(probe_power(modes).sum())


def test_starts_have_both_signs_and_fit_into_the_frame():
    axis = torch.arange(64.0) - 32
    root = (axis[:, None].square() + axis[None].square() < 14**2).double()
    made = dict(starts(root))
    curved = [name for name in made if "curvature" in name]
    assert len(curved) >= 8 and sum("+" in name for name in curved) == len(curved) / 2
    assert len(made) == len(curved) + 1 + sum("disc" in name for name in made)
    for name, probe in made.items():
        light = probe.abs().square()[0]
        assert float(light[8:-8, 8:-8].sum() / light.sum()) > 0.6, name


@pytest.mark.parametrize(("radius", "size"), [(5.0, 48), (30.0, 64), (80.0, 128)])
def test_the_search_takes_the_part_of_the_detector_that_is_lit(radius, size):
    axis = torch.arange(256.0) - 128
    root = (axis[:, None].square() + axis[None].square() < radius**2).double()
    assert search_size(root) == size
