"""One picture of several reconstructions: common scales, errors, ring correlation and a line profile."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychopinn.evaluation.comparison import Comparison
from ptychopinn.evaluation.frc import half_bit
from ptychopinn.figures import panels

SIDE = 3.4
"""Inches along the edge of a panel."""


def comparison_figure(result: Comparison, pixel_size_m: float | None = None) -> Figure:
    """Amplitude and phase of every image on common scales, their errors, and below them FRC and a profile.

    Errors are against the reference of the comparison: the truth, or the first image.

    Args:
        result: of :func:`ptychopinn.evaluation.comparison.compare`.
        pixel_size_m: edge of an object pixel in metres; gives a scale bar.
    """
    names = [result.reference, *(name for name in result.aligned if name != result.reference)]
    view = panels.view_of(result.mask)
    turn = panels.without_phase(result.aligned[result.reference][result.mask])
    images = {name: turn * result.aligned[name] for name in names}
    reference = images[result.reference]

    left, right, bottom, top = view.extent
    extent = (left + result.origin[1], right + result.origin[1], bottom + result.origin[0], top + result.origin[0])
    height, width = (part.stop - part.start for part in view.window)
    tall = SIDE * min(max(height / width, 0.3), 1.6)
    figure = panels.new_figure(len(names) * (SIDE + 1.1), 4 * (tall + 0.5) + 4.2, images_only=False)
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=(4 * (tall + 0.5), 4.2)))
    grid = above.subplots(4, len(names), squeeze=False, sharex=True, sharey=True)
    scales = panels.object_norms(reference[view.mask])
    errors = {
        name: (abs(images[name]) - abs(reference), np.angle(images[name] * reference.conj())) for name in names[1:]
    }
    shown = [np.concatenate([each[kind][view.mask] for each in errors.values()]) for kind in (0, 1)]
    norms = [panels.error_norm(values, 1e-3) for values in shown]
    for column, name in zip(grid.T, names, strict=True):
        panels.object_panels(column, view.cut(images[name]), scales, extent)
        column[0].set_title(name)
        column[3].set(xlabel="x (px)")
        if name == result.reference:
            column[2].remove()
            column[3].remove()
            continue
        for axes, error, norm, label in zip(
            column[2:], errors[name], norms, ("amplitude error", "phase error (rad)"), strict=True
        ):
            panels.panel(axes, view.cut(error), label, norm, panels.ERROR_MAP, extent)
            axes.set_title(f"RMS {np.sqrt(np.square(error[view.mask]).mean()):.3g}")
    for row in grid:
        row[0].set(ylabel="y (px)")
    if pixel_size_m is not None:
        panels.scale_bar(grid[0, 0], width, pixel_size_m)
    curves, profile = below.subplots(1, 2)
    _draw_curves(curves, result)
    _draw_profile(profile, images, result)
    return figure


def _draw_curves(axes: Axes, result: Comparison) -> None:
    """Ring correlations and the half-bit threshold of the first."""
    for label, curve in result.curves.items():
        axes.plot(curve.frequencies, curve.correlation, label=label)
    for curve in list(result.curves.values())[:1]:
        axes.plot(curve.frequencies, half_bit(curve), "--", color="0.5", label="1/2 bit")
    axes.axhline(0.5, color="0.8", linewidth=0.8)
    axes.set(xlabel="spatial frequency (cycles / px)", ylabel="Fourier ring correlation", ylim=(-0.1, 1.05))
    if result.curves:
        axes.legend(fontsize="small")
    else:
        axes.set_title("no truth and no half-scans: nothing to correlate")


def _draw_profile(axes: Axes, images: Mapping[str, NDArray[np.complex64]], result: Comparison) -> None:
    """Phase along the row that has most pixels in common, next to the middle."""
    counts = result.mask.sum(axis=1)
    rows = np.flatnonzero(counts >= 0.9 * counts.max())
    row = int(rows[np.abs(rows - len(counts) / 2).argmin()])
    cols = np.flatnonzero(result.mask[row])
    for name, image in images.items():
        style = {"color": "black", "linewidth": 1.0} if name == "truth" else {"linewidth": 1.2}
        axes.plot(cols + result.origin[1], np.unwrap(np.angle(image[row, cols])), label=name, **style)
    axes.set(xlabel="x (px)", ylabel="phase (rad)", title=f"Along y = {row + result.origin[0]}")
    axes.legend(fontsize="small")


draw_comparison = panels.to_png(comparison_figure)
