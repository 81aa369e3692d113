"""Doubts about a scan: none about a right one, a line for a wrong unit or order."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ptychopinn.scan.checks import doubts
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.summary import summarise


def rows_of(scan: Scan) -> dict[str, str]:
    return dict(summarise(scan))


def test_a_right_scan_raises_no_doubts(scan: Scan, tiny_scan: Scan) -> None:
    for right in (scan, tiny_scan, scan.subset(slice(0, 4)), scan.crop(16), replace(scan, probe=1.5 * scan.probe)):
        assert doubts(right) == []
        assert "warning" not in rows_of(right)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            lambda scan: {"probe": scan.probe * np.float32(1000**-0.5)},
            "about 1 is expected of a probe in sqrt(photons)",
        ),
        (lambda scan: {"probe": scan.probe * np.float32(scan.N)}, "times the photons of the brightest frames"),
        (lambda scan: {"positions": scan.positions * 2e-8}, "all positions lie within 5.60e-7 px"),
        (lambda scan: {"positions": scan.positions * 2e-2}, "are these metres or micrometres?"),
        (lambda scan: {"counts": np.fft.fftshift(scan.counts, axes=(1, 2))}, "zero frequency belongs at [16, 16]"),
        (lambda scan: {"probe": np.fft.fftshift(scan.probe, axes=(1, 2))}, "the probe lies in the corners"),
    ],
    ids=["weak probe", "probe of a bare transform", "metres", "micrometres", "shifted frames", "shifted probe"],
)
def test_a_wrong_unit_or_order_is_doubted(scan: Scan, changes: Callable[[Scan], dict[str, Any]], words: str) -> None:
    found = doubts(replace(scan, **changes(scan)))
    assert len(found) == 1
    assert words in found[0]
    assert rows_of(replace(scan, **changes(scan)))["warning"] == found[0]
