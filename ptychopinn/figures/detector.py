"""Faults of a detector on the panels of a scan."""

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ptychopinn.figures.panels import Mask, Real
from ptychopinn.scan.scan import Scan

MASKED, DOUBTFUL = "deepskyblue", "lime"

MOST_MARKED: Final = 4000
"""Pixels that are marked one by one."""


def mark_pixels(axes: Axes, scan: Scan) -> None:
    """Marks on a pattern (N, N): pixels masked because of a fault, and those that are probably broken."""
    if scan.health is None:
        return
    kinds = (
        (scan.health.masked, MASKED, "masked: a fault"),
        (scan.health.doubtful, DOUBTFUL, "probably broken"),
    )
    for where, colour, label in kinds:
        rows, columns = np.nonzero(_middle(where, scan.N))
        if len(rows):
            step = -(-len(rows) // MOST_MARKED)
            size = min(30.0, max(3.0, 6000 / len(rows)))
            axes.scatter(
                columns[::step], rows[::step], s=size, marker="s", facecolors="none", edgecolors=colour, label=label
            )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", fontsize="x-small", framealpha=0.8)


def draw_totals(axes: Axes, scan: Scan, totals: Real) -> None:
    """Photons of each frame over its number, frames far from the others and those left out marked.

    Args:
        axes: to draw on.
        scan: of which the frames are.
        totals: (n,) photons of its frames.
    """
    health = scan.health
    numbers, values = scan.numbers, np.asarray(totals, dtype=np.float64)
    axes.plot(numbers, values, ".", color="0.35", markersize=3)
    if health is not None:
        rest = np.flatnonzero(~np.isin(health.numbers, numbers))
        left = rest[np.isin(health.numbers[rest], health.left_out)]
        _ring(axes, health.numbers[left], health.totals[left], MASKED, "left out")
        here = np.isin(numbers, health.odd)
        _ring(axes, numbers[here], values[here], "tab:red", "far from the others")
        values = np.concatenate([values, health.totals[left]])
    lit = values[values > 0]
    if len(lit) and lit.max() > 20 * np.median(lit):
        axes.set_yscale("symlog", linthresh=float(np.median(lit)) / 10)
    else:
        axes.set_ylim(0, 1.1 * max(values.max(initial=0.0), 1.0))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useMathText=True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small")
    axes.set(xlabel="frame", ylabel="photons", title="Photons of each frame", box_aspect=1)


def _ring(axes: Axes, x: NDArray[np.int64], y: Real, colour: str, label: str) -> None:
    if len(x):
        axes.plot(x, y, "o", mfc="none", color=colour, label=label)


def _middle(where: Mask, size: int) -> Mask:
    """The central ``size`` x ``size`` pixels, as a crop keeps them."""
    rows, columns = (slice(edge // 2 - size // 2, edge // 2 + size // 2) for edge in where.shape)
    return where[rows, columns]
