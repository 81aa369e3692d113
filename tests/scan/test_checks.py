"""Doubts about a scan: none about a right one, a line for a wrong unit or order."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ptychopinn.scan.checks import doubts, flux_changes
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.summary import summarise
from tests.independent import scan_arrays


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


def raster(image: str = "weak", seed: int = 0) -> tuple[Scan, np.ndarray]:
    """144 frames, and their photons."""
    arrays = scan_arrays(radius=8, image=image, N=32, step=4, seed=seed)
    places = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1)
    scan = Scan(arrays["diffraction"], places, arrays["probeGuess"])
    return scan, np.asarray(scan.totals)


@pytest.mark.parametrize(("last", "told"), [(0.5, True), (1.6, True), (0.95, False)])
def test_a_steady_drift_of_the_flux_is_told(last: float, told: bool) -> None:
    scan, rng = raster()[0], np.random.default_rng(0)
    totals = 1e5 * np.linspace(1, last, 144) * (1 + 0.03 * rng.normal(size=144))
    lines = flux_changes(scan, totals)
    assert [("change steadily" in line) for line in lines] == [True] * told
    assert flux_changes(scan, rng.permutation(totals)) == []


@pytest.mark.parametrize("image", ["vacuum", "weak", "phase", "grating", "grains"])
@pytest.mark.parametrize(("first", "factor"), [(70, 0.4), (40, 2.5), (100, 0.6)])
def test_exposures_that_were_joined_are_told_with_their_first_frame(image: str, first: int, factor: float) -> None:
    scan, totals = raster(image)
    assert flux_changes(scan, totals) == []
    (line,) = flux_changes(scan, totals * np.where(np.arange(144) < first, 1, factor))
    begin, times = line.split()[2], float(line.split(" are ")[1].split()[0])
    assert "are two exposures joined in one file?" in line
    assert abs(int(begin) - first) <= 2
    assert times == pytest.approx(factor, rel=0.3)


def test_a_beam_that_was_off_and_an_edge_of_the_object_are_no_joined_exposures() -> None:
    scan, totals = raster()
    off = np.where((np.arange(144) >= 60) & (np.arange(144) < 75), 0.3, 1)
    edge = 1 - 0.6 / (1 + np.exp(-(scan.positions[:, 0] - scan.positions[:, 0].mean()) / 4))
    for changed in (totals * off, totals * edge):
        assert not any("joined" in line for line in flux_changes(scan, changed))
