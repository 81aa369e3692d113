"""PNG figures of what a fit leaves: on the detector, and of positions that it moved."""

import base64
import io

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychopinn.figures.panels import AMPLITUDE_MAP, DPI, ERROR_MAP, Mask, Real, error_norm, new_figure, panel
from ptychopinn.figures.patterns import counts_norm, photons_panel


def residual_figure(measured: Real, fitted: Real, expected: Real, good: Mask | None = None) -> Figure:
    """Mean measured and fitted frame, their relative difference, and the deviance of every detector pixel.

    Args:
        measured: (N, N) mean photons.
        fitted: (N, N) mean rate.
        expected: (N, N) mean deviance over that of noise.
        good: (N, N) pixels that were fitted; None means all.
    """
    figure = new_figure(19, 4.4)
    left, middle, right, last = figure.subplots(1, 4)
    seen = np.ones(measured.shape, bool) if good is None else good
    top = float(max(measured[seen].max(), fitted[seen].max()))
    norm = counts_norm(top, max(1e-3, 1e-6 * top))
    photons_panel(left, measured, norm, good)
    photons_panel(middle, fitted, norm, good)
    part = np.where(seen, (measured - fitted) / np.maximum(fitted, 1e-3 * fitted.max()), np.nan)
    panel(right, part, "measured / fitted - 1", error_norm(part[seen], 0.01), ERROR_MAP)
    ratio = np.where(seen, expected, np.nan)
    worst = float(np.quantile(ratio[seen], 0.995))
    panel(last, ratio, "deviance / noise alone", Normalize(0, max(2.0, worst)), AMPLITUDE_MAP)
    for axes, title in zip((left, middle, right, last), ("Measured", "Fitted", "Difference", "Deviance"), strict=True):
        axes.set_title(f"{title}, mean of frames")
    return figure


def moves_figure(before: NDArray[np.float64], after: NDArray[np.float64]) -> Figure:
    """Positions (n, 2) before and after a fit, (y, x) pixels: an arrow for every frame, and how far they moved."""
    figure = new_figure(10, 4.6, images_only=False)
    field, histogram = figure.subplots(1, 2)
    moved, distance = after - before, np.linalg.norm(after - before, axis=1)
    arrows = field.quiver(before[:, 1], before[:, 0], moved[:, 1], moved[:, 0], distance, angles="xy", width=0.003)
    top = max(1e-3, float(distance.max()))
    arrows.set_clim(0, top)
    figure.colorbar(arrows, ax=field, label="moved (px)")
    field.set(xlabel="x (px)", ylabel="y (px)", title="Positions moved", aspect="equal", adjustable="datalim")
    field.invert_yaxis()
    histogram.hist(distance, bins=min(50, max(5, len(distance) // 8)), range=(0, top), color="0.35")
    histogram.set(xlabel="distance (px)", ylabel="frames", title="How far")
    return figure


def embedded(figure: Figure) -> str:
    """A figure as the address of a PNG inside a page."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
