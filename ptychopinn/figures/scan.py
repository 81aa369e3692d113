"""PNG figures of a scan, or of the parts of one."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychopinn.figures import panels
from ptychopinn.figures.detector import draw_totals, mark_pixels
from ptychopinn.figures.panels import Complex, Real
from ptychopinn.figures.patterns import counts_norm, photons_panel
from ptychopinn.figures.probe import MAX_MODES, draw_modes, probe_title
from ptychopinn.scan.probe.light import spread_light
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.summary import frame_statistics
from ptychopinn.text import readable

MAX_CANVAS = 50_000_000
"""Pixels of the largest coverage that is drawn; positions in a wrong unit ask for more."""


def scan_figure(scan: Scan) -> Figure:
    """What a scan holds: mean and typical pattern, positions on coverage, photons of the frames, probe modes."""
    statistics = frame_statistics(scan)
    modes = min(len(scan.probe), MAX_MODES)
    heights = (4.2, 4.2 if modes < 3 else 3.3)
    figure = panels.new_figure(22, sum(heights), images_only=False)
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=heights))
    mean, typical, places, histogram, frames = above.subplots(1, 5)
    photons_panel(mean, statistics.mean, counts_norm(statistics.mean.max(), 1 / len(scan)), scan.good_pixels)
    mean.set_title(f"Mean of {len(scan)} frames")
    mark_pixels(mean, scan)
    chosen = int(np.argsort(statistics.totals, kind="stable")[len(scan) // 2])
    frame = scan.array(slice(chosen, chosen + 1))[0]
    photons_panel(typical, frame, counts_norm(frame.max(), 0.5), scan.good_pixels)
    typical.set_title(f"Frame {scan.numbers[chosen]}: {readable(statistics.totals[chosen])} photons")
    _draw_positions(places, scan)
    histogram.hist(statistics.totals, bins=min(50, max(5, len(scan) // 8)), color="0.35")
    histogram.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4), useMathText=True)
    histogram.set(xlabel="photons per frame", ylabel="frames", title="Photons per frame", box_aspect=1)
    draw_totals(frames, scan, statistics.totals)
    cells = below.subplots(1, max(4, 2 * modes))
    for unused in cells[2 * modes :]:
        unused.remove()
    draw_modes(scan.probe, cells[: 2 * modes].reshape(modes, 2))
    hidden = len(scan.probe) - modes
    below.suptitle(probe_title(scan.probe) + f", {hidden} more modes" * (hidden > 0))
    return figure


def parts_figure(
    frames: Real | None = None,
    positions: NDArray[np.float64] | None = None,
    image: Complex | None = None,
    probe: Complex | None = None,
) -> Figure:
    """The parts of a scan that a file holds, where it holds no whole one.

    Args:
        frames: (k, N, N) photons, of which the mean is drawn.
        positions: (n, 2) object pixels (y, x).
        image: (H, W) complex transmission.
        probe: (m, N, N) complex in sqrt(photons).
    """
    modes = 0 if probe is None else min(len(probe), MAX_MODES)
    count = (frames is not None) + (positions is not None) + 2 * (image is not None) + 2 * modes
    rows = math.ceil(count / 4)
    columns = math.ceil(count / rows)
    figure = panels.new_figure(4.6 * columns, 4.0 * rows, images_only=False)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in grid[count:]:
        unused.remove()
    cells = iter(grid)
    if frames is not None:
        mean, axes = frames.mean(axis=0, dtype=np.float64), next(cells)
        photons_panel(axes, mean, counts_norm(float(mean.max()), 1 / len(frames)))
        axes.set_title(f"Mean of {len(frames)} frames")
    if positions is not None:
        _scatter(next(cells), positions)
    if image is not None:
        pair = next(cells), next(cells)
        panels.object_panels(pair, image, panels.object_norms(image))
        for axes, name in zip(pair, ("amplitude", "phase"), strict=True):
            axes.set(title=f"Object: {name}", xlabel="x (px)", ylabel="y (px)")
    if probe is not None:
        draw_modes(probe, np.array(list(cells))[: 2 * modes].reshape(modes, 2))
    return figure


def _scatter(axes: Axes, positions: NDArray[np.float64]) -> None:
    """Positions alone, y down."""
    _dots(axes, positions)
    axes.set(title=f"{len(positions)} positions", aspect="equal", adjustable="datalim")
    axes.invert_yaxis()


def _dots(axes: Axes, positions: NDArray[np.float64]) -> None:
    y, x = positions.T
    axes.scatter(x, y, s=min(8.0, max(0.5, 3000 / len(positions))), color="tab:red", linewidths=0)
    axes.set(xlabel="x (px)", ylabel="y (px)")


def _draw_positions(axes: Axes, scan: Scan) -> None:
    """Positions over the light that the whole scan puts on each object pixel."""
    (height, width), (top, left) = scan.canvas_shape, scan.canvas_origin
    if height * width > MAX_CANVAS:
        _scatter(axes, scan.positions)
        return
    light = spread_light(scan.probe, scan.positions - np.array(scan.canvas_origin), scan.canvas_shape)
    extent = (left - 0.5, left + width - 0.5, top + height - 0.5, top - 0.5)
    panels.panel(axes, light, "photons per object pixel", Normalize(0, float(light.max())), "cividis", extent)
    _dots(axes, scan.positions)
    axes.set_title(f"{len(scan)} positions on coverage")


draw_scan = panels.to_png(scan_figure)
draw_parts = panels.to_png(parts_figure)
