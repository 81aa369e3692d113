"""Grouping of 100,000 positions: alone, in fours, and the choice of how many neighbours to draw from."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from benchmarks.floors import Work, best_seconds
from ptychopinn.scan.grouping import form_groups
from ptychopinn.scan.simulation import raster

STEP, NEIGHBOURS = 5.0, 7


@pytest.fixture(scope="module")
def positions(tiny: bool) -> np.ndarray:
    edge = (30 if tiny else 316) * STEP
    return raster((int(edge + 70), int(edge + 70)), 64, STEP)


@pytest.mark.parametrize("gridsize", [1, 2])
def test_form_groups(measure, positions: np.ndarray, gridsize: int) -> None:
    count, channels = len(positions), gridsize**2

    def tree() -> None:
        cKDTree(positions).query(positions, k=NEIGHBOURS + 1)

    formula = f"{16 + 8 * channels} bytes a group: positions read, numbers written"
    work = Work(count, "groups", formula, bytes=(16 + 8 * channels) * count)
    if gridsize > 1:
        formula = f"a tree of scipy and its {NEIGHBOURS + 1} nearest, in the same run"
        work = replace(work, formula=formula, seconds=best_seconds(tree, "cpu", rounds=2))
    groups = measure(form_groups, positions, gridsize, NEIGHBOURS, work=work, rounds=5)
    assert groups.shape == (count, channels)
    assert np.array_equal(np.unique(groups), np.arange(count))
    assert all(len(set(group)) == channels for group in groups[:100].tolist())
    # Of 7 neighbours on a jittered raster none is farther than three steps.
    assert np.ptp(positions[groups], axis=1).max() < 6 * STEP
