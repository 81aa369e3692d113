"""PNG figure of several images of one object, each with its error bars."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ptychopinn.evaluation.registration import phase_and_scale
from ptychopinn.figures import panels
from ptychopinn.figures.panels import Complex, Real
from ptychopinn.text import readable


def beside_figure(images: Mapping[str, tuple[Complex, Real]], truth: Complex, title: str = "") -> Figure:
    """Phase, its error bar and its true error, a row for each image; equal scales in a column.

    Args:
        images: by name, transmission (H, W) and standard deviation of its phase in rad (H, W).
        truth: (H, W) complex transmission.
        title: of the figure.
    """
    view = panels.view_of(np.ones(truth.shape, dtype=bool))
    figure = panels.new_figure(14.5, 3.9 * len(images) + 0.4)
    grid = figure.subplots(len(images), 3, squeeze=False, sharex=True, sharey=True)
    figure.suptitle(title)
    norm = panels.phase_norm(np.angle(truth))
    most = max(float(np.nanpercentile(bars, 99)) for _, bars in images.values())
    for row, (name, (image, bars)) in zip(grid, images.items(), strict=True):
        phase, _ = phase_and_scale(image.ravel(), truth.ravel())
        turned = np.exp(-1j * phase) * image
        error = abs(np.angle(turned * truth.conj()))
        panels.panel(row[0], np.angle(turned), "phase (rad)", norm, panels.phase_map(norm), view.extent)
        for axes, values, label in ((row[1], bars, "error bar (rad)"), (row[2], error, "true error (rad)")):
            panels.panel(axes, values, label, Normalize(0, max(most, 1e-9)), panels.BAR_MAP, view.extent)
        row[0].set_title(name)
        row[1].set_title(f"Error bar: median {readable(float(np.nanmedian(bars)), 2)} rad", fontsize="medium")
        row[2].set_title(f"True error: mean {readable(float(error.mean()), 2)} rad", fontsize="medium")
    for axes in grid.flat:
        axes.set(xlabel="x (px)", ylabel="y (px)")
        axes.label_outer()
    return figure


draw_beside = panels.to_png(beside_figure)
