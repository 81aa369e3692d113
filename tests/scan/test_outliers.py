"""Positions far from all others are named; those of usual scans are not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptychopinn.errors import PtychoError
from ptychopinn.scan.checks import check_scan
from ptychopinn.scan.outliers import wild
from ptychopinn.scan.scan import Scan

SPIRAL = np.sqrt(np.arange(300))[:, None] * 4 * np.stack([f(2.39996 * np.arange(300)) for f in (np.sin, np.cos)], -1)
GRID = np.stack(np.meshgrid(6.0 * np.arange(12), 6.0 * np.arange(15)), -1).reshape(-1, 2)
USUAL = {
    "spiral": SPIRAL,
    "grid": GRID,
    "line": np.stack([np.zeros(50), 5.0 * np.arange(50)], -1),
    "two regions": np.concatenate([GRID, GRID + 5000]),
    "few frames far apart": 100.0 * np.arange(14).reshape(7, 2),
    "a motor that rested": np.concatenate([np.zeros((500, 2)), GRID]),
    "dense middle": np.random.default_rng(0).normal(0, 30, (400, 2)),
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_scans_have_none(name: str) -> None:
    assert not len(wild(USUAL[name], 64))


@given(
    st.sampled_from(["spiral", "grid", "line"]),
    st.lists(st.integers(0, 49), min_size=1, max_size=2, unique=True),
    st.floats(1e3, 1e12),
    st.sampled_from([(0, 1), (1, 0), (-1, 0), (0, -1), (1, -1)]),
    st.floats(-1e6, 1e6),
)
def test_a_glitch_is_found(name: str, frames: list[int], far: float, way: tuple[int, int], start: float) -> None:
    positions = USUAL[name] + start
    positions[frames] += far * np.array(way)
    assert wild(positions, 64).tolist() == sorted(frames)


def test_an_encoder_that_often_reads_zero() -> None:
    positions = GRID + 7000
    positions[::4] = 0
    assert wild(positions, 64).tolist() == list(range(0, len(GRID), 4))


def test_the_frame_and_the_rest_are_named(tiny_scan: Scan) -> None:
    positions = tiny_scan.positions.copy()
    positions[17, 1] += 1e6
    scan = replace(tiny_scan, positions=positions).subset(slice(2, None))
    with pytest.raises(
        PtychoError, match=r"frame 17 lies 1.00e6 px away from the other 61 .* 4\d.\d x 4\d.\d px; .*--drop-frames"
    ):
        check_scan(scan)


def test_a_glitch_that_moves_the_corner_is_named(tiny_scan: Scan) -> None:
    """Pixels start at the lowest position: one at -1e12 px would make all others look wrong."""
    positions = tiny_scan.positions + 1e12
    positions[5] = 0
    with pytest.raises(PtychoError, match="positions: frame 5 lies 1.00e12 px away"):
        replace(tiny_scan, positions=positions)


def test_positions_in_another_unit_are_no_glitch(tiny_scan: Scan) -> None:
    with pytest.raises(PtychoError, match="frame 0 lies at .*check the unit"):
        replace(tiny_scan, positions=tiny_scan.positions * 1e12)
