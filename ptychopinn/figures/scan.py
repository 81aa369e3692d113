"""PNG figures of a scan, or of the parts of one."""

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychopinn.figures.panels import (
    AMPLITUDE_MAP,
    Complex,
    Real,
    amplitude_norm,
    new_figure,
    panel,
    phase_map,
    phase_norm,
    to_png,
)
from ptychopinn.figures.patterns import counts_norm, photons_panel
from ptychopinn.figures.probe import MAX_MODES, draw_modes, probe_title
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan.coverage import light_on_canvas
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.summary import frame_statistics
from ptychopinn.text import readable

MAX_CANVAS = 50_000_000
"""Pixels of the largest coverage that is drawn; positions in a wrong unit ask for more."""


def scan_figure(scan: Scan) -> Figure:
    """What a scan holds: mean and typical pattern, positions on coverage, photons of every frame, probe modes."""
    statistics = frame_statistics(scan)
    modes = min(len(scan.probe), MAX_MODES)
    heights = (4.2, 4.2 if modes < 3 else 3.3)
    figure = new_figure(18, sum(heights), images_only=False)
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=heights))
    mean, typical, places, flux = above.subplots(1, 4)
    photons_panel(mean, statistics.mean, counts_norm(statistics.mean.max(), 1 / len(scan)), scan.good_pixels)
    mean.set_title(f"Mean of {len(scan)} frames")
    chosen = int(np.argsort(statistics.totals, kind="stable")[len(scan) // 2])
    frame = scan.frames(slice(chosen, chosen + 1))[0].numpy()
    photons_panel(typical, frame, counts_norm(frame.max(), 0.5), scan.good_pixels)
    typical.set_title(f"Frame {chosen}: {readable(statistics.totals[chosen])} photons")
    _draw_positions(places, scan)
    size = min(5.0, max(0.5, 2000 / len(scan)))
    flux.plot(scan.numbers, statistics.totals, ".", markersize=size, color="0.35")
    flux.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useMathText=True)
    flux.set(xlabel="frame", ylabel="photons", title="Photons per frame", box_aspect=1, ylim=(0, None))
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
    figure = new_figure(4.6 * columns, 4.0 * rows, images_only=False)
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
        amplitude, phase = abs(image), np.angle(image)
        phases = phase_norm(phase)
        for values, label, norm, colours in (
            (amplitude, "amplitude", amplitude_norm(amplitude), AMPLITUDE_MAP),
            (phase, "phase (rad)", phases, phase_map(phases)),
        ):
            axes = next(cells)
            panel(axes, values, label, norm, colours)
            axes.set(title=f"Object: {label.partition(' ')[0]}", xlabel="x (px)", ylabel="y (px)")
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
    light = light_on_canvas(scan, probe_intensity(torch.from_numpy(scan.probe))).numpy()
    extent = (left - 0.5, left + width - 0.5, top + height - 0.5, top - 0.5)
    panel(axes, light, "photons per object pixel", Normalize(0, float(light.max())), "cividis", extent)
    _dots(axes, scan.positions)
    axes.set_title(f"{len(scan)} positions on coverage")


draw_scan = to_png(scan_figure)
draw_parts = to_png(parts_figure)
