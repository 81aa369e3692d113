"""PNG figures of measured and predicted patterns."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ptychopinn.errors import PtychoError
from ptychopinn.figures.panels import COUNTS_MAP, ERROR_MAP, Mask, Real, error_norm, new_figure, panel, to_png
from ptychopinn.text import readable

MAX_FRAMES = 4


def counts_norm(brightest: float, faintest: float) -> LogNorm:
    """A logarithmic scale of photons, over seven decades at most."""
    top = max(brightest, 2 * faintest)
    return LogNorm(max(faintest, 1e-7 * top), top)


def photons_panel(axes: Axes, photons: Real, norm: LogNorm, good: Mask | None = None) -> None:
    """A diffraction pattern (N, N) on a logarithmic scale; zero takes the darkest colour, bad pixels are blank."""
    shown = np.maximum(photons, norm.vmin or 0.0)  # keeps NaN
    panel(axes, shown if good is None else np.where(good, shown, np.nan), "photons", norm, COUNTS_MAP)


def patterns_figure(measured: Real, predicted: Real) -> Figure:
    """Measured and predicted patterns on one logarithmic scale, and ``(k - I) / sqrt(I + 1)``.

    Args:
        measured: (f, N, N) photons k; NaN at bad pixels. The first four are drawn.
        predicted: (f, N, N) expected photons I.

    Raises:
        PtychoError: when the shapes differ, or there is no pattern.
    """
    if measured.shape != predicted.shape or measured.ndim != 3 or not len(measured):
        raise PtychoError(f"measured {measured.shape}, predicted {predicted.shape}: equal (f, N, N) are needed, f > 0.")
    measured, predicted = measured[:MAX_FRAMES].astype(np.float64), predicted[:MAX_FRAMES].astype(np.float64)
    residual = (measured - predicted) / np.sqrt(predicted.clip(min=0) + 1)
    believed = residual[np.isfinite(residual)]
    norm = counts_norm(float(np.nanmax([measured, predicted])), 0.5)
    figure = new_figure(1.2 + 3.9 * len(measured), 10.5)
    grid = figure.subplots(3, len(measured), squeeze=False)
    for column, k, rate, error in zip(grid.T, measured, predicted, residual, strict=True):
        photons_panel(column[0], k, norm)
        photons_panel(column[1], rate, norm)
        panel(column[2], error, "(k - I) / √(I + 1)", error_norm(believed, 3.0), ERROR_MAP)
        column[0].set_title(f"Measured k: {readable(np.nansum(k))} photons")
        column[1].set_title(f"Predicted I: {readable(np.nansum(rate))} photons")
        column[2].set_title(f"Residual, RMS {readable(float(np.sqrt(np.nanmean(error**2))))}")
    return figure


draw_patterns = to_png(patterns_figure)
