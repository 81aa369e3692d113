"""Parts of figures: panels with colour bars, colour scales, the part of an object that is drawn."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ptychopinn.files.atomic import writing
from ptychopinn.text import readable_length

AMPLITUDE_MAP = "viridis"
PHASE_MAP = "twilight"
WEAK_PHASE_MAP = "magma"
"""For part of the circle: a cyclic map would show both ends alike."""
BAR_MAP = "cividis"
ERROR_MAP = "RdBu_r"
COUNTS_MAP = "inferno"
BLANK = "0.75"
DPI = 130

P = ParamSpec("P")
Real = NDArray[np.floating[Any] | np.integer[Any]]
Complex = NDArray[np.complexfloating[Any, Any]]
Mask = NDArray[np.bool_]
Extent = tuple[float, float, float, float]

MOST_SHOWN = 1600
"""Largest edge, pixels, of an image drawn in full: a panel has fewer dots, and drawing takes 100 bytes a pixel."""


def new_figure(width: float, height: float, images_only: bool = True) -> Figure:
    """An empty figure, inches; ``images_only`` removes the space around panels of fixed aspect."""
    gap = 0.02 if images_only else 0.06
    engine = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06, wspace=gap, compress=images_only)
    return Figure(figsize=(width, height), layout=engine)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG whole or not at all."""
    with writing(path) as temporary:
        figure.set_dpi(DPI)
        FigureCanvasAgg(figure).print_png(temporary)  # savefig goes over all artists once more before


def to_png(make: Callable[P, Figure]) -> Callable[Concatenate[Path, P], None]:
    """The function that writes the figure of ``make`` as PNG: it takes the path, then the arguments of ``make``."""

    def draw(path: Path, *args: P.args, **kwargs: P.kwargs) -> None:
        with rc_context({"axes.titley": 1.0}):  # else the layout measures every label once more for each title
            save(make(*args, **kwargs), path)

    return draw


def panel(
    axes: Axes, data: Real, label: str | None, norm: Normalize, colours: str, extent: Extent | None = None
) -> None:
    """An image with a colour bar as high as the image.

    Args:
        axes: to draw on.
        data: (h, w), masked or NaN where blank.
        label: of the colour bar, with the unit; None draws none.
        norm: maps data to colours.
        colours: name of the colour map.
        extent: left, right, bottom, top in pixels; from the corner of ``data`` when not given.
    """
    axes.set_facecolor(BLANK)
    height, width = data.shape
    step = -(-max(height, width) // MOST_SHOWN)
    if step > 1:
        extent = (-0.5, width - 0.5, height - 0.5, -0.5) if extent is None else extent
        data = data[::step, ::step]
    shown = axes.imshow(
        np.ma.masked_invalid(data),
        norm=norm,
        cmap=colours,
        extent=extent,
        # Phases jump from pi to -pi: mix colours, not numbers, when the image is made smaller.
        interpolation_stage="rgba",
    )
    if label is not None:
        bar = axes.figure.colorbar(shown, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)), label=label)
        if not isinstance(norm, LogNorm):
            bar.ax.ticklabel_format(style="sci", scilimits=(-3, 4), useMathText=True)
        if norm.vmax == math.pi:
            bar.ax.yaxis.set_major_locator(FixedLocator([-math.pi, -math.pi / 2, 0, math.pi / 2, math.pi]))
            bar.ax.yaxis.set_major_formatter(FixedFormatter(["-π", "-π/2", "0", "π/2", "π"]))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def amplitude_norm(values: Real) -> Normalize:
    """From the 0.5th to the 99.5th percentile, but never so narrow that rounding looks like structure."""
    low, high = np.percentile(values, [0.5, 99.5])
    middle, half = (low + high) / 2, (high - low) / 2
    half = max(half, 0.01 * abs(middle), 1e-9)
    return Normalize(middle - half, middle + half)


def phase_norm(values: Real) -> Normalize:
    """The full circle, or a symmetric part of it for weak phases, with room so that the two ends stay empty."""
    reach = 1.2 * float(np.percentile(abs(values), 99.8))
    reach = math.pi if reach > 0.9 * math.pi else max(reach, 0.02)
    return Normalize(-reach, reach)


def phase_map(norm: Normalize) -> str:
    """The colour map of a phase: cyclic where the whole circle is shown."""
    return PHASE_MAP if norm.vmax == math.pi else WEAK_PHASE_MAP


def object_norms(values: Complex) -> tuple[Normalize, Normalize]:
    """Norms for the amplitude and for the phase of some pixels."""
    return amplitude_norm(abs(values)), phase_norm(np.angle(values))


def object_panels(
    cells: Sequence[Axes], image: Complex, norms: tuple[Normalize, Normalize], extent: Extent | None = None
) -> None:
    """Amplitude and phase of (h, w) pixels on the first two cells; see :func:`panel`."""
    panel(cells[0], abs(image), "amplitude", norms[0], AMPLITUDE_MAP, extent)
    panel(cells[1], np.angle(image), "phase (rad)", norms[1], phase_map(norms[1]), extent)


def error_norm(values: Real, least: float) -> Normalize:
    """Symmetric about zero, up to the 99.5th percentile of the size of the values, at least ``least``."""
    reach = max(float(np.percentile(abs(values), 99.5)), least) if values.size else least
    return Normalize(-reach, reach)


@dataclass(frozen=True)
class View:
    """The part of an object that is drawn."""

    window: tuple[slice, slice]
    mask: Mask

    @property
    def extent(self) -> Extent:
        """Left, right, bottom, top of the window in object pixels, for imshow."""
        rows, cols = self.window
        return cols.start - 0.5, cols.stop - 0.5, rows.stop - 0.5, rows.start - 0.5

    def cut(self, values: Any) -> Any:
        """The window of (H, W) values, NaN where not covered."""
        return np.where(self.mask, values, np.nan)[self.window]


def view_of(mask: Mask) -> View:
    """The smallest window around a mask (H, W) that is not empty."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return View((slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)), mask)


def without_phase(values: Complex) -> np.complexfloating[Any, Any]:
    """Factor of unit modulus that makes the mean of some pixels real and positive."""
    return np.exp(-1j * np.angle(values.astype(np.complex128).sum()))


def scale_bar(axes: Axes, width: int, pixel_size_m: float) -> None:
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
