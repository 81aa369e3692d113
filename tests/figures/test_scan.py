"""The figure of a scan, or of the parts of a scan that a file holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import LogNorm

from ptychopinn.figures.scan import draw_scan, parts_figure, scan_figure
from ptychopinn.scan.scan import Scan
from tests.figures.drawn import N, check_png, data, limits, panels


def test_scan_figure_holds_all_panels(scan: Scan) -> None:
    shown = panels(scan_figure(scan))
    mean, typical, places, histogram, frames, *modes = shown
    assert mean == "Mean of 63 frames" and histogram == "Photons per frame" and places == "63 positions on coverage"
    assert frames == "Photons of each frame"
    assert modes == ["Mode 1: 80.0 % of power", "Phase of mode 1", "Mode 2: 20.0 % of power", "Phase of mode 2"]
    np.testing.assert_allclose(data(shown[mean]), np.maximum(scan.counts.mean(axis=0), limits(shown[mean])[0]))
    assert isinstance(shown[mean].images[0].norm, LogNorm) and isinstance(shown[typical].images[0].norm, LogNorm)
    number = int(typical.split()[1].rstrip(":"))
    np.testing.assert_allclose(data(shown[typical]), np.maximum(scan.counts[number], 0.5))
    np.testing.assert_allclose(shown[places].collections[0].get_offsets(), scan.positions[:, ::-1])
    assert sum(bar.get_height() for bar in shown[histogram].patches) == len(scan)  # type: ignore[attr-defined]


def test_positions_lie_where_the_coverage_is(scan: Scan) -> None:
    axes = panels(scan_figure(scan))["63 positions on coverage"]
    left, right, bottom, top = axes.images[0].get_extent()
    light = data(axes)
    rows, cols = np.indices(light.shape)
    middle = (rows * light).sum() / light.sum() + top + 0.5, (cols * light).sum() / light.sum() + left + 0.5
    np.testing.assert_allclose(middle, scan.positions.mean(axis=0), atol=0.5)
    assert bottom > top and right > left


def test_scan_with_bad_pixels_many_modes_and_wrong_units(tmp_path: Path, scan: Scan) -> None:
    good = np.ones((N, N), dtype=bool)
    good[16] = False
    probe = np.concatenate([scan.probe, 0.1 * scan.probe])
    odd = replace(scan, good_pixels=good, probe=probe, positions=scan.positions * 1e7, object=None)
    figure = scan_figure(odd)
    shown = panels(figure)
    assert data(shown["Mean of 63 frames"]).mask.sum() == N
    assert not shown["63 positions"].images and shown["63 positions"].yaxis_inverted()
    assert sum(title.startswith("Mode") for title in shown) == 3
    assert any("1 more mode" in part.get_suptitle() for part in figure.subfigs)
    draw_scan(tmp_path / "scan.png", odd)
    check_png(tmp_path / "scan.png")


def test_one_dark_frame_can_be_drawn(tmp_path: Path, scan: Scan) -> None:
    one = replace(scan.subset(slice(0, 1)), counts=np.zeros((1, N, N), dtype=np.uint16))
    draw_scan(tmp_path / "scan.png", one)
    check_png(tmp_path / "scan.png")


@pytest.mark.parametrize("missing", ["frames", "positions", "image", "probe", "nothing"])
def test_parts_of_a_scan_are_drawn_without_the_rest(scan: Scan, missing: str) -> None:
    parts = {"frames": scan.counts, "positions": scan.positions, "image": scan.object, "probe": scan.probe}
    titles = {
        "frames": {"Mean of 63 frames"},
        "positions": {"63 positions"},
        "image": {"Object: amplitude", "Object: phase"},
        "probe": {"Mode 1: 80.0 % of power", "Phase of mode 1", "Mode 2: 20.0 % of power", "Phase of mode 2"},
    }
    shown = panels(parts_figure(*(None if name == missing else part for name, part in parts.items())))
    assert set(shown) == set().union(*(words for name, words in titles.items() if name != missing))
    if missing != "image":
        np.testing.assert_allclose(data(shown["Object: amplitude"]), abs(scan.object))
    if missing != "positions":
        np.testing.assert_array_equal(shown["63 positions"].collections[0].get_offsets(), scan.positions[:, ::-1])
        assert shown["63 positions"].yaxis_inverted()
