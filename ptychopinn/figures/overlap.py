"""The picture of a view: which frames of a scan it keeps, and how their probes overlap."""

import numpy as np
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychopinn.figures.panels import new_figure, to_png
from ptychopinn.text import readable

KEPT, LEFT = "tab:red", "0.55"


def view_figure(
    positions: NDArray[np.float64], kept: NDArray[np.int64], diameter: float, spacing: float | None = None
) -> Figure:
    """The positions of a view over all positions, with discs in place of probes.

    Args:
        positions: (n, 2) pixels (y, x) of all frames.
        kept: frames of the view.
        diameter: of the discs, pixels.
        spacing: minimum distance between frames of the view, pixels; None when none was asked.
    """
    low, high = positions.min(axis=0) - 0.55 * diameter, positions.max(axis=0) + 0.55 * diameter
    height, width = high - low
    tall = 7 * float(np.clip(height / width, 0.2, 2))
    figure = new_figure(7.8, tall + 1.2)
    axes = figure.subplots()
    axes.set(xlim=(low[1], high[1]), ylim=(high[0], low[0]), aspect="equal", xlabel="x (px)", ylabel="y (px)")
    view = positions[kept]
    # Many discs on top of one another must stay transparent.
    face = min(0.25, 25 / len(view))
    discs = EllipseCollection(
        *np.broadcast_arrays(diameter, diameter, np.zeros(len(view))),
        units="xy",
        offsets=view[:, ::-1],
        offset_transform=axes.transData,
        facecolors=[(0.12, 0.47, 0.71, face)],
        edgecolors=[(0.12, 0.47, 0.71, max(0.12, 3 * face))],
        linewidths=0.6,
    )
    axes.add_collection(discs)
    small = min(9.0, max(0.8, 4000 / len(positions)))
    if len(kept) < len(positions):
        rest = np.delete(positions, kept, axis=0)
        axes.scatter(rest[:, 1], rest[:, 0], s=small, color=LEFT, linewidths=0, label=f"{len(rest)} not in the view")
    size = min(22.0, max(small, 4000 / len(view)))
    axes.scatter(view[:, 1], view[:, 0], s=size, color=KEPT, linewidths=0, label=f"{len(view)} in the view")
    apart = "" if spacing is None else f", at least {readable(spacing)} px apart"
    axes.set_title(f"{len(view)} of {len(positions)} frames{apart}; discs of {readable(diameter)} px")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


draw_view = to_png(view_figure)
