"""The picture of a view: every frame once, discs of the right size, y downwards."""

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection, PathCollection
from matplotlib.image import imread

from ptychopinn.figures.overlap import draw_view, view_figure

POSITIONS = np.random.default_rng(2).uniform([0, 50], [90, 110], (30, 2))


@pytest.mark.parametrize("kept", [np.array([3, 7, 21]), np.arange(30)])
def test_the_view_lies_over_all_positions(kept):
    axes = view_figure(POSITIONS, kept, 12.0, 8.0).axes[0]
    (discs,) = [each for each in axes.collections if isinstance(each, EllipseCollection)]
    np.testing.assert_allclose(discs.get_offsets(), POSITIONS[kept, ::-1])
    assert set(discs.get_widths()) == set(discs.get_heights()) == {12.0}
    dots = {each.get_label(): each.get_offsets() for each in axes.collections if isinstance(each, PathCollection)}
    np.testing.assert_allclose(dots.pop(f"{len(kept)} in the view"), POSITIONS[kept, ::-1])
    left = np.delete(POSITIONS, kept, axis=0)
    if len(left):
        np.testing.assert_allclose(dots.pop("27 not in the view"), left[:, ::-1])
    assert not dots
    assert axes.yaxis_inverted()
    low, high = POSITIONS[kept].min(axis=0) - 6, POSITIONS[kept].max(axis=0) + 6
    assert axes.get_xlim()[0] <= low[1] and axes.get_xlim()[1] >= high[1]
    assert axes.get_ylim()[1] <= low[0] and axes.get_ylim()[0] >= high[0]
    assert axes.get_title() == f"{len(kept)} of 30 frames, at least 8.00 px apart; discs of 12.0 px"


@pytest.mark.parametrize("stretch", [[1, 1], [1e-3, 40], [1e6, 1e-3]])
def test_scans_of_any_shape_are_drawn(tmp_path, stretch):
    draw_view(tmp_path / "view.png", POSITIONS * stretch, np.array([0, 5]), 12.0)
    assert imread(tmp_path / "view.png").std() > 0.02
