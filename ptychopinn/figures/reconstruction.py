"""PNG figures of reconstructions."""

from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.figures.panels import (
    AMPLITUDE_MAP,
    BAR_MAP,
    ERROR_MAP,
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
from ptychopinn.text import readable


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
