"""PNG figures of reconstructions."""

from typing import Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.registration import phase_and_scale
from ptychopinn.figures import panels
from ptychopinn.figures.panels import Complex, Mask, Real, View
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.canvas import covered
from ptychopinn.text import readable, readable_length, rounded


def reconstruction_figure(
    image: Complex,
    coverage: Real,
    *,
    title: str = "",
    pixel_size_m: float | None = None,
    truth: Complex | None = None,
    bars: tuple[Real, Real] | None = None,
    bars_are: str = "error bar",
) -> Figure:
    """Amplitude and phase of an object, cropped to the well covered area.

    The mean phase is removed. With a ``truth`` the image is first given its global phase and one amplitude
    factor, both from the covered area; the truth is drawn on the same scales, beside it the errors.

    Args:
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
    if truth is not None and truth.shape != image.shape:
        raise PtychoError(f"truth: shape {truth.shape}, but the image is {image.shape}; equal shapes are needed.")
    if coverage.shape != image.shape:
        raise PtychoError(f"coverage: shape {coverage.shape}, but the image is {image.shape}.")
    finite = np.isfinite(coverage) & np.isfinite(image) & (True if truth is None else np.isfinite(truth))
    if not (coverage > 0)[finite].any():
        raise PtychoError("coverage: zero on every finite pixel of the image; there is nothing to draw.")
    view = panels.view_of(covered(np.where(finite, coverage, 0)))
    images, factor = _centred(image, truth, view.mask)
    figure, grid = _panels(view, len(images) + (bars is not None), len(images) + 1, title)
    norms = panels.object_norms(images[-1][view.mask])
    names = ("", "") if truth is None else ("Reconstructed ", "True ")
    for row, shown, name in zip(grid, images, names, strict=False):
        panels.object_panels(row, view.cut(shown), norms, view.extent)
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
        panels.scale_bar(grid[0, 0], view.window[1].stop - view.window[1].start, pixel_size_m)
    return figure


def _centred(image: Complex, truth: Complex | None, mask: Mask) -> tuple[list[Complex], float]:
    """The image and the truth, if any, without the mean phase; the image scaled to the truth by the factor returned."""
    reference = image if truth is None else truth
    turn = panels.without_phase(reference[mask])
    if truth is None:
        return [turn * image], 1.0
    phase, scale = phase_and_scale(image[mask], truth[mask])
    return [np.exp(-1j * phase) / scale * turn * image, turn * truth], 1 / scale


def _panels(view: View, rows: int, columns: int, title: str) -> tuple[Figure, Any]:
    """A figure of empty panels (rows, columns) in the proportions of the view."""
    height, width = (part.stop - part.start for part in view.window)
    side = 4.4 if columns == 2 else 3.9
    tall = 0.93 * side * min(max(height / width, 0.25), 2.0)
    figure = panels.new_figure(columns * (side + 1.2), rows * (tall + 0.6) + (0.7 if title else 0.4))
    if title:
        figure.suptitle(title)
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)


def _draw_errors(cells: NDArray[np.object_], image: Complex, truth: Complex, view: View) -> None:
    """Amplitude and phase error of an aligned image, one panel each, with the root mean square in the title."""
    errors = (abs(image) - abs(truth), np.angle(image * truth.conj()))
    for axes, error, name, unit in zip(cells, errors, ("Amplitude", "Phase"), ("", " rad"), strict=True):
        values = error[view.mask]
        label = f"{name.lower()} error" + (" (rad)" if unit else "")
        panels.panel(axes, view.cut(error), label, panels.error_norm(values, 1e-3), panels.ERROR_MAP, view.extent)
        axes.set_title(f"{name} error: RMS {readable(float(np.sqrt(np.square(values).mean())), 2)}{unit}")


def _draw_bars(cells: NDArray[np.object_], bars: tuple[Real, Real], view: View, factor: float, called: str) -> None:
    """Standard deviations, one panel each, with the median in the title; the rest of the row stays empty."""
    scaled = (factor * np.asarray(bars[0]), np.asarray(bars[1]))
    for axes, bar, name, unit in zip(cells, scaled, ("Amplitude", "Phase"), ("", " rad"), strict=False):
        values = bar[view.mask]
        values = values[np.isfinite(values)]
        most = float(np.percentile(values, 99)) if values.size else 1.0
        label = f"{name.lower()} standard deviation" + (" (rad)" if unit else "")
        panels.panel(axes, view.cut(bar), label, Normalize(0, max(most, 1e-9)), panels.BAR_MAP, view.extent)
        middle = readable(float(np.median(values)), 2) if values.size else "unknown"
        # Short, or the power of ten above the colour bar moves it up, into the panel above.
        axes.set_title(f"{called.capitalize()}: median {middle}{unit}", fontsize="medium")
    for axes in cells[2:]:
        axes.set_visible(False)


draw_reconstruction = panels.to_png(reconstruction_figure)


def facts_of(image: Reconstruction) -> dict[str, str]:
    """Rows of a table about a reconstruction."""
    height, width = image.object.shape
    size = image.pixel_size_m
    lit = covered(image.coverage)
    facts = {
        "image": f"{height} x {width} pixels" + ("" if size is None else f" of {readable_length(size)}"),
        "frames": str(len(image.positions)),
        "deviance per pixel": f"{rounded(image.deviance)} (noise alone {rounded(image.expected_deviance)})",
    }
    if image.phase_std is not None and lit.any():
        kind = "spread of patches" if image.std_of == "patches" else "standard deviation"
        facts[f"phase, median {kind}"] = f"{rounded(float(np.nanmedian(image.phase_std[lit])))} rad"
    return facts
