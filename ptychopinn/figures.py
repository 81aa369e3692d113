"""PNG figures: reconstructions, scans, patterns, probes and loss curves."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.panels import (
    AMPLITUDE_MAP,
    BAR_MAP,
    COUNTS_MAP,
    ERROR_MAP,
    PHASE_MAP,
    Complex,
    Mask,
    Real,
    View,
    amplitude_norm,
    error_norm,
    new_figure,
    panel,
    phase_map,
    phase_norm,
    save,
    scale_bar,
    view_of,
)
from ptychopinn.physics.probe import probe_power
from ptychopinn.scan import Scan
from ptychopinn.summary import coverage_map, frame_statistics, readable

MAX_MODES = 3
MAX_FRAMES = 4


def draw_reconstruction(
    path: Path,
    image: Complex,
    coverage: Real,
    *,
    title: str = "",
    pixel_size_m: float | None = None,
    truth: Complex | None = None,
    bars: tuple[Real, Real] | None = None,
    bars_are: str = "error bar",
) -> None:
    """Draw amplitude and phase of an object, cropped to the well covered area.

    The mean phase is removed. With a ``truth`` the image is first given its global phase and one amplitude
    factor, both from the covered area; the truth is drawn on the same scales, beside it the errors.

    Args:
        path: PNG file.
        image: (H, W) complex transmission.
        coverage: (H, W) light that fell on each pixel, any unit, >= 0.
        title: of the figure.
        pixel_size_m: edge of an object pixel in metres; gives a scale bar.
        truth: (H, W) complex transmission.
        bars: standard deviations of amplitude and phase, (H, W) each, drawn below.
        bars_are: what they are called.

    Raises:
        PtychoError: when nothing is covered or the shapes differ.
    """
    save(_reconstruction_figure(image, coverage, title, pixel_size_m, truth, bars, bars_are), path)


def draw_scan(path: Path, scan: Scan) -> None:
    """Draw what a scan holds: mean and typical pattern, positions on coverage, photons per frame, probe modes."""
    save(_scan_figure(scan), path)


def draw_parts(
    path: Path,
    frames: Real | None = None,
    positions: NDArray[np.float64] | None = None,
    image: Complex | None = None,
    probe: Complex | None = None,
) -> None:
    """Draw the parts of a scan that a file holds, where it holds no whole one.

    Args:
        path: PNG file.
        frames: (k, N, N) photons, of which the mean is drawn.
        positions: (n, 2) object pixels (y, x).
        image: (H, W) complex transmission.
        probe: (m, N, N) complex in sqrt(photons).
    """
    save(_parts_figure(frames, positions, image, probe), path)


def draw_patterns(path: Path, measured: Real, predicted: Real) -> None:
    """Draw measured and predicted patterns on one logarithmic scale, and ``(k - I) / sqrt(I + 1)``.

    Args:
        path: PNG file.
        measured: (f, N, N) photons k; NaN where a pixel is not to be believed. The first four are drawn.
        predicted: (f, N, N) expected photons I.
    """
    save(_patterns_figure(measured, predicted), path)


def draw_history(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """Draw loss curves, one panel per quantity, with a logarithmic axis where values allow.

    Args:
        path: PNG file.
        columns: ``epoch`` or ``step``, whatever the curves run along, and any of ``train_NAME``, ``val_NAME``; NaN
            where one has no value.
    """
    save(_history_figure(columns), path)


def draw_probe(path: Path, probe: Complex) -> None:
    """Draw amplitude and phase of the probe modes.

    Args:
        path: PNG file.
        probe: (m, N, N) complex in sqrt(photons).
    """
    save(_probe_figure(probe), path)


def _counts_norm(brightest: float, faintest: float) -> LogNorm:
    top = max(brightest, 2 * faintest)
    return LogNorm(max(faintest, 1e-7 * top), top)


def _photons_panel(axes: Axes, photons: Real, norm: LogNorm, good: Mask | None = None) -> None:
    """A diffraction pattern (N, N) on a logarithmic scale; zero takes the darkest colour, bad pixels are blank."""
    shown = np.maximum(photons, norm.vmin or 0.0)  # keeps NaN
    panel(axes, shown if good is None else np.where(good, shown, np.nan), "photons", norm, COUNTS_MAP)


def _align(image: Complex, truth: Complex, mask: Mask) -> tuple[complex, float]:
    """Factor of unit modulus and amplitude factor that bring ``image`` closest to ``truth`` inside ``mask``."""
    here, there = image[mask].astype(np.complex128), truth[mask].astype(np.complex128)
    turn = np.exp(1j * np.angle(np.vdot(here, there)))
    return complex(turn), float((abs(here) * abs(there)).sum() / max((abs(here) ** 2).sum(), 1e-300))


def _reconstruction_figure(
    image: Complex,
    coverage: Real,
    title: str,
    pixel_size_m: float | None,
    truth: Complex | None,
    bars: tuple[Real, Real] | None = None,
    bars_are: str = "error bar",
) -> Figure:
    if truth is not None and truth.shape != image.shape:
        raise PtychoError(f"truth: shape {truth.shape}, but the image is {image.shape}; equal shapes are needed.")
    if coverage.shape != image.shape:
        raise PtychoError(f"coverage: shape {coverage.shape}, but the image is {image.shape}.")
    view = view_of(coverage, np.isfinite(image) & (True if truth is None else np.isfinite(truth)))
    turn, factor = (1.0 + 0j, 1.0) if truth is None else _align(image, truth, view.mask)
    reference = image if truth is None else truth
    centre = np.exp(-1j * np.angle(reference[view.mask].astype(np.complex128).sum()))
    images = [factor * turn * centre * image] + ([] if truth is None else [centre * truth])

    columns = 2 if truth is None else 3
    height, width = (part.stop - part.start for part in view.window)
    side = 4.4 if truth is None else 3.9
    tall = 0.93 * side * min(max(height / width, 0.25), 2.0)
    rows = len(images) + (bars is not None)
    figure = new_figure(columns * (side + 1.2), rows * (tall + 0.6) + (0.7 if title else 0.4))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    amplitudes, phases = amplitude_norm(abs(images[-1])[view.mask]), phase_norm(np.angle(images[-1])[view.mask])
    names = ("", "") if truth is None else ("Reconstructed ", "True ")
    for row, shown, name in zip(grid, images, names, strict=False):
        panel(row[0], view.cut(abs(shown)), "amplitude", amplitudes, AMPLITUDE_MAP, view.extent)
        panel(row[1], view.cut(np.angle(shown)), "phase (rad)", phases, phase_map(phases), view.extent)
        row[0].set_title(f"{name}amplitude".capitalize())
        row[1].set_title(f"{name}phase".capitalize())
    if truth is not None:
        grid[0, 0].set_title(f"Reconstructed amplitude × {readable(factor, 4)}")
        _draw_errors(grid[:2, 2], images[0], images[1], view)
    if bars is not None:
        _draw_bars(grid[-1], bars, view, factor, bars_are)
    for axes in grid.flat:
        axes.set(xlabel="x (px)", ylabel="y (px)")
        axes.label_outer()
    if pixel_size_m is not None:
        scale_bar(grid[0, 0], width, pixel_size_m)
    if title:
        figure.suptitle(title)
    return figure


def _draw_errors(cells: NDArray[np.object_], image: Complex, truth: Complex, view: View) -> None:
    """Amplitude and phase error of an aligned image, one panel each, with the root mean square in the title."""
    errors = (abs(image) - abs(truth), np.angle(image * truth.conj()))
    for axes, error, name, unit in zip(cells, errors, ("Amplitude", "Phase"), ("", " rad"), strict=True):
        values = error[view.mask]
        label = f"{name.lower()} error" + (" (rad)" if unit else "")
        panel(axes, view.cut(error), label, error_norm(values, 1e-3), ERROR_MAP, view.extent)
        axes.set_title(f"{name} error: RMS {readable(float(np.sqrt(np.square(values).mean())), 2)}{unit}")


def _draw_bars(cells: NDArray[np.object_], bars: tuple[Real, Real], view: View, factor: float, called: str) -> None:
    """Standard deviations, one panel each, with the median in the title; what is left of the row stays empty."""
    scaled = (factor * np.asarray(bars[0]), np.asarray(bars[1]))
    for axes, bar, name, unit in zip(cells, scaled, ("Amplitude", "Phase"), ("", " rad"), strict=False):
        values = bar[view.mask]
        values = values[np.isfinite(values)]
        most = float(np.percentile(values, 99)) if values.size else 1.0
        label = f"{name.lower()} standard deviation" + (" (rad)" if unit else "")
        panel(axes, view.cut(bar), label, Normalize(0, max(most, 1e-9)), BAR_MAP, view.extent)
        middle = readable(float(np.median(values)), 2) if values.size else "unknown"
        # Short, or the power of ten above the colour bar moves it up, into the panel above.
        axes.set_title(f"{called.capitalize()}: median {middle}{unit}", fontsize="medium")
    for axes in cells[2:]:
        axes.set_visible(False)


def _power(probe: Complex) -> NDArray[np.float64]:
    """Photons of each mode (m,)."""
    return probe_power(torch.from_numpy(probe)).double().numpy()


def _probe_title(probe: Complex) -> str:
    return f"Probe, {readable(float(_power(probe).sum()))} photons"


def _probe_figure(probe: Complex) -> Figure:
    modes = len(probe)
    figure = new_figure(0.8 + 3.6 * modes, 7.2)
    _draw_modes(probe, figure.subplots(2, modes, squeeze=False).T)
    figure.suptitle(_probe_title(probe))
    return figure


def _draw_modes(probe: Complex, cells: NDArray[np.object_]) -> None:
    """Amplitude and phase of the leading modes on ``cells`` (modes, 2); faint pixels have no phase."""
    power = _power(probe)
    for mode, field, (left, right) in zip(range(len(probe)), probe, cells, strict=False):
        amplitude, share = abs(field), 100 * power[mode] / power.sum()
        panel(left, amplitude, "amplitude (√photons)", Normalize(0, float(amplitude.max()) or 1.0), AMPLITUDE_MAP)
        lit = amplitude > 0.03 * amplitude.max()
        panel(right, np.where(lit, np.angle(field), np.nan), "phase (rad)", Normalize(-math.pi, math.pi), PHASE_MAP)
        left.set_title(f"Mode {mode + 1}: {share:.1f} % of power")
        right.set_title(f"Phase of mode {mode + 1}")


def _scan_figure(scan: Scan) -> Figure:
    statistics = frame_statistics(scan)
    modes = min(len(scan.probe), MAX_MODES)
    heights = (4.2, 4.2 if modes < 3 else 3.3)
    figure = new_figure(18, sum(heights), images_only=False)
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=heights))
    mean, typical, places, histogram = above.subplots(1, 4)
    _photons_panel(mean, statistics.mean, _counts_norm(statistics.mean.max(), 1 / len(scan)), scan.good_pixels)
    mean.set_title(f"Mean of {len(scan)} frames")
    chosen = int(np.argsort(statistics.totals, kind="stable")[len(scan) // 2])
    frame = scan.frames(slice(chosen, chosen + 1))[0].numpy()
    _photons_panel(typical, frame, _counts_norm(frame.max(), 0.5), scan.good_pixels)
    typical.set_title(f"Frame {chosen}: {readable(statistics.totals[chosen])} photons")
    _draw_positions(places, scan)
    histogram.hist(statistics.totals, bins=min(50, max(5, len(scan) // 8)), color="0.35")
    histogram.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4), useMathText=True)
    histogram.set(xlabel="photons per frame", ylabel="frames", title="Photons per frame", box_aspect=1)
    cells = below.subplots(1, max(4, 2 * modes))
    for unused in cells[2 * modes :]:
        unused.remove()
    _draw_modes(scan.probe, cells[: 2 * modes].reshape(modes, 2))
    hidden = len(scan.probe) - modes
    below.suptitle(_probe_title(scan.probe) + f", {hidden} more modes" * (hidden > 0))
    return figure


def _parts_figure(
    frames: Real | None, positions: NDArray[np.float64] | None, image: Complex | None, probe: Complex | None
) -> Figure:
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
        _photons_panel(axes, mean, _counts_norm(float(mean.max()), 1 / len(frames)))
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
        _draw_modes(probe, np.array(list(cells))[: 2 * modes].reshape(modes, 2))
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
    found = coverage_map(scan)
    if found is None:
        _scatter(axes, scan.positions)
        return
    light, top, left = found
    extent = (left - 0.5, left + light.shape[1] - 0.5, top + light.shape[0] - 0.5, top - 0.5)
    panel(axes, light, "photons per object pixel", Normalize(0, float(light.max())), "cividis", extent)
    _dots(axes, scan.positions)
    axes.set_title(f"{len(scan)} positions on coverage")


def _patterns_figure(measured: Real, predicted: Real) -> Figure:
    if measured.shape != predicted.shape or measured.ndim != 3 or not len(measured):
        raise PtychoError(f"measured {measured.shape}, predicted {predicted.shape}: equal (f, N, N) are needed, f > 0.")
    measured, predicted = measured[:MAX_FRAMES].astype(np.float64), predicted[:MAX_FRAMES].astype(np.float64)
    residual = (measured - predicted) / np.sqrt(predicted.clip(min=0) + 1)
    believed = residual[np.isfinite(residual)]
    counts_norm = _counts_norm(float(np.nanmax([measured, predicted])), 0.5)
    figure = new_figure(1.2 + 3.9 * len(measured), 10.5)
    grid = figure.subplots(3, len(measured), squeeze=False)
    for column, k, rate, error in zip(grid.T, measured, predicted, residual, strict=True):
        _photons_panel(column[0], k, counts_norm)
        _photons_panel(column[1], rate, counts_norm)
        panel(column[2], error, "(k - I) / √(I + 1)", error_norm(believed, 3.0), ERROR_MAP)
        column[0].set_title(f"Measured k: {readable(np.nansum(k))} photons")
        column[1].set_title(f"Predicted I: {readable(np.nansum(rate))} photons")
        column[2].set_title(f"Residual, RMS {readable(float(np.sqrt(np.nanmean(error**2))))}")
    return figure


def _history_figure(columns: Mapping[str, Sequence[float]]) -> Figure:
    curves: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name, values in columns.items():
        stage, _, quantity = name.partition("_")
        if stage in ("train", "val") and quantity:
            curves.setdefault(quantity, {})[stage] = np.asarray(values, dtype=np.float64)
    if not curves:
        raise PtychoError(f"history: columns {', '.join(columns) or 'none'}; train_loss or val_loss is needed.")
    along = "step" if "step" in columns else "epoch"
    figure = new_figure(1.0 + 4.6 * len(curves), 4.2, images_only=False)
    for axes, quantity in zip(figure.subplots(1, len(curves), squeeze=False).flat, curves, strict=True):
        for stage, curve in curves[quantity].items():
            numbers = np.asarray(columns.get(along, range(1, len(curve) + 1)), dtype=np.float64)
            known = np.isfinite(curve)
            label, style = ("training", "-") if stage == "train" else ("validation", "--")
            axes.plot(numbers[known], curve[known], style, marker="." if known.sum() < 60 else "", label=label)
        drawn = np.concatenate([curve[np.isfinite(curve)] for curve in curves[quantity].values()])
        axes.set_yscale("log" if drawn.size and drawn.min() > 0 else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.margins(x=0.05 if drawn.size > 2 else 0.5)
        axes.grid(True, which="both", alpha=0.25)
        axes.set(xlabel=along, ylabel=quantity.replace("_", " "))
        axes.legend()
    return figure
