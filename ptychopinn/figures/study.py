"""Pictures of a study: metrics against dose, and images on common scales, as PNG in memory."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ptychopinn.figures import panels
from ptychopinn.figures.panels import Mask

Curves = Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]
Pixels = NDArray[np.complex64]

SIDE = 2.6
"""Inches along the longer edge of an image."""


def curves_png(curves: Mapping[str, Curves], titles: Mapping[str, str], dpi: int) -> bytes:
    """Draw metrics against dose: a row per metric, a column per view, a line per arm.

    Args:
        curves: points (dose, value) by metric, view and arm.
        titles: of the metrics.
        dpi: dots per inch.
    """
    views = list(dict.fromkeys(view for of_views in curves.values() for view in of_views))
    figure = panels.new_figure(4.6 * max(len(views), 1) + 1, 2.7 * len(curves), images_only=False)
    grid = figure.subplots(len(curves), max(len(views), 1), squeeze=False, sharex=True, sharey="row")
    for row, (metric, of_views) in zip(grid, curves.items(), strict=True):
        for axes, view in zip(row, views, strict=False):
            _draw_lines(axes, of_views.get(view, {}))
            axes.set_title(view)
        row[0].set(ylabel=titles[metric])
        if not any(points for of_arms in of_views.values() for points in of_arms.values()):
            row[0].set(yticks=[])  # of the whole row
    for axes in grid[-1]:
        axes.set(xlabel="photons per frame")
    for axes in grid.flat:
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside right upper", fontsize="small")
            break
    return _png(figure, dpi)


def images_png(
    cells: Sequence[Mapping[str, Pixels]], masks: Sequence[Mask], rows: Sequence[str], dpi: int, phase: bool
) -> bytes:
    """Draw amplitude or phase of all arms, a row per dose, all on the scale of the first column.

    Args:
        cells: of each row, images (H, W) by name, the reference first.
        masks: of each row, where its images are covered.
        rows: titles of the rows.
        dpi: dots per inch.
        phase: draw phases, about that of the reference; amplitudes otherwise.
    """
    names = list(dict.fromkeys(name for images in cells for name in images))
    view = panels.view_of(masks[0])
    height, width = (part.stop - part.start for part in view.window)
    scale = SIDE / max(height, width)
    tall, wide = max(scale * height, 0.9), max(scale * width, 0.9)
    figure = panels.new_figure(len(names) * (wide + 0.2) + 1.2, len(cells) * (tall + 0.2) + 0.4)
    grid = figure.subplots(len(cells), len(names), squeeze=False, sharex=True, sharey=True)
    shown = [
        {name: image * panels.without_phase(next(iter(images.values()))[mask]) for name, image in images.items()}
        for images, mask in zip(cells, masks, strict=True)
    ]
    part = np.angle if phase else np.abs
    first = np.concatenate([part(next(iter(images.values())))[mask] for images, mask in zip(shown, masks, strict=True)])
    norm = panels.phase_norm(first) if phase else panels.amplitude_norm(first)
    colours = panels.phase_map(norm) if phase else panels.AMPLITUDE_MAP
    for axes_of_row, images, mask, title in zip(grid, shown, masks, rows, strict=True):
        own = panels.view_of(mask)
        for axes, name in zip(axes_of_row, names, strict=True):
            if name in images:
                label = None if name != next(reversed(images)) else "rad" if phase else ""
                panels.panel(axes, own.cut(part(images[name])), label, norm, colours)
            else:
                axes.set(facecolor=panels.BLANK)
            axes.set(xticks=[], yticks=[])
        axes_of_row[0].set(ylabel=title)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name)
    return _png(figure, dpi, bbox_inches="tight", pad_inches=0.05)


def _draw_lines(axes: Axes, of_arms: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    for arm, points in of_arms.items():
        doses, values = zip(*points, strict=True) if points else ((), ())
        axes.plot(doses, values, "o-", label=arm, markersize=4)
    axes.set_xscale("log")
    axes.grid(alpha=0.3)
    if not any(of_arms.values()):
        axes.text(0.5, 0.5, "not defined here", ha="center", va="center", transform=axes.transAxes, color="0.4")


def _png(figure: Figure, dpi: int, **more: Any) -> bytes:
    """The figure with a palette of its own, which takes less than half of the bytes of full colours."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, **more)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(packed, format="PNG", optimize=True)
    return packed.getvalue()
