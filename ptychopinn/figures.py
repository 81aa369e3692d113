"""PNG figures: reconstructions, scans, patterns, probes and loss curves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files.atomic import writing
from ptychopinn.physics.probe import probe_power
from ptychopinn.scan import Scan
from ptychopinn.summary import coverage_map, frame_statistics, readable, readable_length

AMPLITUDE_MAP = "viridis"
PHASE_MAP = "twilight"
ERROR_MAP = "RdBu_r"
COUNTS_MAP = "inferno"
BLANK = "0.75"
DPI = 130
MAX_MODES = 3
MAX_FRAMES = 4

Real = NDArray[np.floating[Any] | np.integer[Any]]
Complex = NDArray[np.complexfloating[Any, Any]]
Mask = NDArray[np.bool_]
Extent = tuple[float, float, float, float]


def draw_reconstruction(
    path: Path,
    image: Complex,
    coverage: Real,
    *,
    title: str = "",
    pixel_size_m: float | None = None,
    truth: Complex | None = None,
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

    Raises:
        PtychoError: when nothing is covered or the shapes differ.
    """
    _save(_reconstruction_figure(image, coverage, title, pixel_size_m, truth), path)


def draw_scan(path: Path, scan: Scan) -> None:
    """Draw what a scan holds: mean and typical pattern, positions on coverage, photons per frame, probe modes."""
    _save(_scan_figure(scan), path)


def draw_patterns(path: Path, measured: Real, predicted: Real) -> None:
    """Draw measured and predicted patterns on one logarithmic scale, and ``(k - I) / sqrt(I + 1)``.

    Args:
        path: PNG file.
        measured: (f, N, N) photons k; NaN where a pixel is not to be believed. The first four are drawn.
        predicted: (f, N, N) expected photons I.
    """
    _save(_patterns_figure(measured, predicted), path)


def draw_history(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """Draw loss curves against the epoch, one panel per quantity, with a logarithmic axis where values allow.

    Args:
        path: PNG file.
        columns: ``epoch`` and any of ``train_NAME``, ``val_NAME``; NaN where an epoch has no value.
    """
    _save(_history_figure(columns), path)


def draw_probe(path: Path, probe: Complex) -> None:
    """Draw amplitude and phase of the probe modes.

    Args:
        path: PNG file.
        probe: (m, N, N) complex in sqrt(photons).
    """
    _save(_probe_figure(probe), path)


def _figure(width: float, height: float, images_only: bool = True) -> Figure:
    """An empty figure, inches; with ``images_only`` no room is lost beside panels of fixed aspect."""
    gap = 0.02 if images_only else 0.06
    engine = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06, wspace=gap, compress=images_only)
    return Figure(figsize=(width, height), layout=engine)


def _save(figure: Figure, path: Path) -> None:
    with writing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def _panel(axes: Axes, data: Real, label: str, norm: Normalize, colours: str, extent: Extent | None = None) -> None:
    """An image with a colour bar as high as the image.

    Args:
        axes: to draw on.
        data: (h, w), masked or NaN where blank.
        label: of the colour bar, with the unit.
        norm: maps data to colours.
        colours: name of the colour map.
        extent: left, right, bottom, top in pixels; from the corner of ``data`` when not given.
    """
    axes.set_facecolor(BLANK)
    shown = axes.imshow(
        np.ma.masked_invalid(data),
        norm=norm,
        cmap=colours,
        extent=extent,
        # Phases jump from pi to -pi: mix colours, not numbers, when the image is made smaller.
        interpolation_stage="rgba",
    )
    bar = axes.figure.colorbar(shown, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)), label=label)
    if not isinstance(norm, LogNorm):
        bar.ax.ticklabel_format(style="sci", scilimits=(-3, 4), useMathText=True)
    if norm.vmax == math.pi:
        bar.ax.yaxis.set_major_locator(FixedLocator([-math.pi, -math.pi / 2, 0, math.pi / 2, math.pi]))
        bar.ax.yaxis.set_major_formatter(FixedFormatter(["-π", "-π/2", "0", "π/2", "π"]))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _amplitude_norm(values: Real) -> Normalize:
    """From the 0.5th to the 99.5th percentile, but never so narrow that rounding looks like structure."""
    low, high = np.percentile(values, [0.5, 99.5])
    middle, half = (low + high) / 2, (high - low) / 2
    half = max(half, 0.01 * abs(middle), 1e-9)
    return Normalize(middle - half, middle + half)


def _phase_norm(values: Real) -> Normalize:
    """The full circle, or a symmetric part of it for weak phases, with room so that the two ends stay empty."""
    reach = 1.2 * float(np.percentile(abs(values), 99.8))
    reach = math.pi if reach > 0.9 * math.pi else max(reach, 0.02)
    return Normalize(-reach, reach)


def _error_norm(values: Real, least: float) -> Normalize:
    reach = max(float(np.percentile(abs(values), 99.5)), least) if values.size else least
    return Normalize(-reach, reach)


def _counts_norm(brightest: float, faintest: float) -> LogNorm:
    top = max(brightest, 2 * faintest)
    return LogNorm(max(faintest, 1e-7 * top), top)


def _photons_panel(axes: Axes, photons: Real, norm: LogNorm, good: Mask | None = None) -> None:
    """A diffraction pattern (N, N) on a logarithmic scale; zero takes the darkest colour, bad pixels are blank."""
    shown = np.maximum(photons, norm.vmin or 0.0)  # keeps NaN
    _panel(axes, shown if good is None else np.where(good, shown, np.nan), "photons", norm, COUNTS_MAP)


@dataclass(frozen=True)
class _View:
    """The part of an object that is drawn."""

    window: tuple[slice, slice]
    mask: Mask

    @property
    def extent(self) -> Extent:
        """Left, right, bottom, top of the window in object pixels, for imshow."""
        rows, cols = self.window
        return cols.start - 0.5, cols.stop - 0.5, rows.stop - 0.5, rows.start - 0.5

    def cut(self, values: Real) -> Real:
        """The window of (H, W) values, NaN where not covered."""
        return np.where(self.mask, values, np.nan)[self.window]


def _view(coverage: Real, finite: Mask) -> _View:
    """The well covered area: at least a tenth of the light that a typical photon's pixel gets."""
    light = np.where(np.isfinite(coverage) & finite, coverage, 0).astype(np.float64)
    if not light.max() > 0:
        raise PtychoError("coverage: zero on every finite pixel of the image; there is nothing to draw.")
    # Weighted by itself, the mean does not feel the wide faint tails of a probe.
    mask = light >= 0.1 * (light**2).sum() / light.sum()
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return _View((slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)), mask)


def _align(image: Complex, truth: Complex, mask: Mask) -> tuple[complex, float]:
    """Factor of unit modulus and amplitude factor that bring ``image`` closest to ``truth`` inside ``mask``."""
    here, there = image[mask].astype(np.complex128), truth[mask].astype(np.complex128)
    turn = np.exp(1j * np.angle(np.vdot(here, there)))
    return complex(turn), float((abs(here) * abs(there)).sum() / max((abs(here) ** 2).sum(), 1e-300))


def _reconstruction_figure(
    image: Complex, coverage: Real, title: str, pixel_size_m: float | None, truth: Complex | None
) -> Figure:
    if truth is not None and truth.shape != image.shape:
        raise PtychoError(f"truth: shape {truth.shape}, but the image is {image.shape}; equal shapes are needed.")
    if coverage.shape != image.shape:
        raise PtychoError(f"coverage: shape {coverage.shape}, but the image is {image.shape}.")
    view = _view(coverage, np.isfinite(image) & (True if truth is None else np.isfinite(truth)))
    turn, factor = (1.0 + 0j, 1.0) if truth is None else _align(image, truth, view.mask)
    reference = image if truth is None else truth
    centre = np.exp(-1j * np.angle(reference[view.mask].astype(np.complex128).sum()))
    images = [factor * turn * centre * image] + ([] if truth is None else [centre * truth])

    columns = 2 if truth is None else 3
    height, width = (part.stop - part.start for part in view.window)
    side = 4.4 if truth is None else 3.9
    tall = 0.93 * side * min(max(height / width, 0.25), 2.0)
    figure = _figure(columns * (side + 1.2), len(images) * (tall + 0.6) + (0.7 if title else 0.4))
    grid = figure.subplots(len(images), columns, squeeze=False, sharex=True, sharey=True)
    amplitude_norm = _amplitude_norm(abs(images[-1])[view.mask])
    phase_norm = _phase_norm(np.angle(images[-1])[view.mask])
    names = ("", "") if truth is None else ("Reconstructed ", "True ")
    for row, shown, name in zip(grid, images, names, strict=False):
        _panel(row[0], view.cut(abs(shown)), "amplitude", amplitude_norm, AMPLITUDE_MAP, view.extent)
        _panel(row[1], view.cut(np.angle(shown)), "phase (rad)", phase_norm, PHASE_MAP, view.extent)
        row[0].set_title(f"{name}amplitude".capitalize())
        row[1].set_title(f"{name}phase".capitalize())
    if truth is not None:
        grid[0, 0].set_title(f"Reconstructed amplitude × {readable(factor, 4)}")
        _draw_errors(grid[:, 2], images[0], images[1], view)
    for axes in grid.flat:
        axes.set(xlabel="x (px)", ylabel="y (px)")
        axes.label_outer()
    if pixel_size_m is not None:
        _scale_bar(grid[0, 0], width, pixel_size_m)
    if title:
        figure.suptitle(title)
    return figure


def _draw_errors(cells: NDArray[np.object_], image: Complex, truth: Complex, view: _View) -> None:
    """Amplitude and phase error of an aligned image, one panel each, with the root mean square in the title."""
    errors = (abs(image) - abs(truth), np.angle(image * truth.conj()))
    for axes, error, name, unit in zip(cells, errors, ("Amplitude", "Phase"), ("", " rad"), strict=True):
        values = error[view.mask]
        label = f"{name.lower()} error" + (" (rad)" if unit else "")
        _panel(axes, view.cut(error), label, _error_norm(values, 1e-3), ERROR_MAP, view.extent)
        axes.set_title(f"{name} error: RMS {readable(float(np.sqrt(np.square(values).mean())), 2)}{unit}")


def _scale_bar(axes: Axes, width: int, pixel_size_m: float) -> None:
    """A bar of 1, 2 or 5 times a power of ten metres, at most a quarter of ``width`` pixels long."""
    longest = width * pixel_size_m / 4
    decade = 10.0 ** math.floor(math.log10(longest))
    length = next(step * decade for step in (5, 2, 1) if step * decade <= longest * (1 + 1e-9))
    number, unit = readable_length(length * (1 + 1e-9)).split()
    bar = AnchoredSizeBar(
        axes.transData, length / pixel_size_m, f"{float(number):g} {unit}", "lower left", borderpad=0.5, sep=3
    )
    bar.size_bar.get_children()[0].set(linewidth=3)
    bar.patch.set(alpha=0.75, linewidth=0)
    axes.add_artist(bar)


def _power(probe: Complex) -> NDArray[np.float64]:
    """Photons of each mode (m,)."""
    return probe_power(torch.from_numpy(probe)).double().numpy()


def _probe_title(probe: Complex) -> str:
    return f"Probe, {readable(float(_power(probe).sum()))} photons"


def _probe_figure(probe: Complex) -> Figure:
    modes = len(probe)
    figure = _figure(0.8 + 3.6 * modes, 7.2)
    _draw_modes(probe, figure.subplots(2, modes, squeeze=False).T)
    figure.suptitle(_probe_title(probe))
    return figure


def _draw_modes(probe: Complex, cells: NDArray[np.object_]) -> None:
    """Amplitude and phase of the leading modes on ``cells`` (modes, 2); faint pixels have no phase."""
    power = _power(probe)
    for mode, field, (left, right) in zip(range(len(probe)), probe, cells, strict=False):
        amplitude, share = abs(field), 100 * power[mode] / power.sum()
        _panel(left, amplitude, "amplitude (√photons)", Normalize(0, float(amplitude.max()) or 1.0), AMPLITUDE_MAP)
        lit = amplitude > 0.03 * amplitude.max()
        _panel(right, np.where(lit, np.angle(field), np.nan), "phase (rad)", Normalize(-math.pi, math.pi), PHASE_MAP)
        left.set_title(f"Mode {mode + 1}: {share:.1f} % of power")
        right.set_title(f"Phase of mode {mode + 1}")


def _scan_figure(scan: Scan) -> Figure:
    statistics = frame_statistics(scan)
    modes = min(len(scan.probe), MAX_MODES)
    heights = (4.2, 4.2 if modes < 3 else 3.3)
    figure = _figure(18, sum(heights), images_only=False)
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


def _draw_positions(axes: Axes, scan: Scan) -> None:
    """Positions over the light that the whole scan puts on each object pixel."""
    y, x = scan.positions.T
    found = coverage_map(scan)
    if found is not None:
        light, top, left = found
        extent = (left - 0.5, left + light.shape[1] - 0.5, top + light.shape[0] - 0.5, top - 0.5)
        _panel(axes, light, "photons per object pixel", Normalize(0, float(light.max())), "cividis", extent)
    axes.scatter(x, y, s=min(8.0, max(0.5, 3000 / len(scan))), color="tab:red", linewidths=0)
    axes.set(xlabel="x (px)", ylabel="y (px)", title=f"{len(scan)} positions on coverage")
    if found is None:
        axes.set(aspect="equal", title=f"{len(scan)} positions")
        axes.invert_yaxis()


def _patterns_figure(measured: Real, predicted: Real) -> Figure:
    if measured.shape != predicted.shape or measured.ndim != 3 or not len(measured):
        raise PtychoError(f"measured {measured.shape}, predicted {predicted.shape}: equal (f, N, N) are needed, f > 0.")
    measured, predicted = measured[:MAX_FRAMES].astype(np.float64), predicted[:MAX_FRAMES].astype(np.float64)
    residual = (measured - predicted) / np.sqrt(predicted.clip(min=0) + 1)
    believed = residual[np.isfinite(residual)]
    counts_norm = _counts_norm(float(np.nanmax([measured, predicted])), 0.5)
    figure = _figure(1.2 + 3.9 * len(measured), 10.5)
    grid = figure.subplots(3, len(measured), squeeze=False)
    for column, k, rate, error in zip(grid.T, measured, predicted, residual, strict=True):
        _photons_panel(column[0], k, counts_norm)
        _photons_panel(column[1], rate, counts_norm)
        _panel(column[2], error, "(k - I) / √(I + 1)", _error_norm(believed, 3.0), ERROR_MAP)
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
    figure = _figure(1.0 + 4.6 * len(curves), 4.2, images_only=False)
    for axes, quantity in zip(figure.subplots(1, len(curves), squeeze=False).flat, curves, strict=True):
        for stage, curve in curves[quantity].items():
            epochs = np.asarray(columns.get("epoch", range(1, len(curve) + 1)), dtype=np.float64)
            known = np.isfinite(curve)
            label, style = ("training", "-") if stage == "train" else ("validation", "--")
            axes.plot(epochs[known], curve[known], style, marker="." if known.sum() < 60 else "", label=label)
        drawn = np.concatenate([curve[np.isfinite(curve)] for curve in curves[quantity].values()])
        axes.set_yscale("log" if drawn.size and drawn.min() > 0 else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.margins(x=0.05 if drawn.size > 2 else 0.5)
        axes.grid(True, which="both", alpha=0.25)
        axes.set(xlabel="epoch", ylabel=quantity.replace("_", " "))
        axes.legend()
    return figure
