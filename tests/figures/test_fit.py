"""Figures of what a fit leaves."""

import base64

import numpy as np

from ptychopinn.figures.fit import embedded, moves_figure, residual_figure


def test_the_residual_blanks_bad_pixels_and_keeps_a_scale_for_a_perfect_fit() -> None:
    axis = np.arange(32) - 16
    fitted = 1e4 * np.exp(-(axis[:, None] ** 2 + axis**2) / 40.0)
    measured, good = fitted * 1.001, np.ones((32, 32), bool)
    good[3, 4] = False
    measured[3, 4] = 1e9
    figure = residual_figure(measured, fitted, np.ones((32, 32)), good)
    difference = figure.axes[2].images[0]
    assert difference.get_array().mask[3, 4]
    low, high = difference.get_clim()
    assert low == -high
    assert figure.axes[0].images[0].get_clim()[1] < 2e4
    assert high >= 0.01
    assert [axes.get_title() for axes in figure.axes[:4]][3] == "Deviance, mean of frames"


def test_moves_are_arrows_and_their_lengths() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0, 100, (40, 2))
    after = before + np.array([0.3, -0.4])
    figure = moves_figure(before, after)
    arrows = figure.axes[0].collections[0]
    np.testing.assert_allclose(arrows.U, -0.4)
    np.testing.assert_allclose(arrows.V, 0.3)
    picture = embedded(figure)
    assert base64.b64decode(picture.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
