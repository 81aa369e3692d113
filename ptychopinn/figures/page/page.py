"""The page: what it holds, how much of it fits, and its file."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from bokeh.embed import components
from bokeh.resources import INLINE
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from ptychopinn.figures import panels
from ptychopinn.figures.page import plots
from ptychopinn.figures.page.maps import BYTES, Map, binned, coded
from ptychopinn.figures.page.templates import write_from
from ptychopinn.scan.canvas import covered
from ptychopinn.text import readable_length

LARGEST: Final = 6_000_000
"""Bytes of a page: mail and chat take it."""

FOR_FRAMES: Final = 900_000
"""Bytes of them for frames, all results together."""

FOR_PAGE: Final = 1_600_000
"""Bytes of them for Bokeh and the plots."""

FRAME_EDGE: Final = 64
"""Edge of a frame in the page; larger ones are binned."""


@dataclass(frozen=True)
class Shown:
    """A result to show.

    Attributes:
        name: how it is called in the page.
        object: (H, W) complex.
        coverage: (H, W) photons on each pixel.
        origin: (y, x) of pixel [0, 0] in the object frame, pixels.
        positions: (n, 2) of the frames (y, x), object frame, pixels.
        pixel_size_m: edge of a pixel; None if unknown.
        bars: standard deviations of amplitude and phase, (H, W) each.
        bars_are: what they are.
        numbers: (n,) numbers of the frames.
        facts: rows of its table.
        frames: rows of ``positions`` whose frames are shown.
        measured: (k, N, N) photons, NaN at bad pixels.
        fitted: (k, N, N) photons.
    """

    name: str
    object: panels.Complex
    coverage: NDArray[np.float32]
    origin: tuple[int, int]
    positions: NDArray[np.float64]
    pixel_size_m: float | None = None
    bars: tuple[panels.Real, panels.Real] | None = None
    bars_are: str = "standard deviation"
    numbers: NDArray[np.int64] | None = None
    facts: dict[str, str] = field(default_factory=dict)
    frames: NDArray[np.int64] | None = None
    measured: NDArray[np.float32] | None = None
    fitted: NDArray[np.float32] | None = None


def frames_that_fit(size: int, results: int) -> int:
    """Number of frames of ``size`` pixels that a page of some results has room for, each."""
    edge = size // -(-size // FRAME_EDGE)
    return max(1, int(FOR_FRAMES / (2 * BYTES * edge**2) / results))


def draw_page(path: Path, results: Sequence[Shown], title: str) -> None:
    """Write one self-contained page, whole or not at all.

    Args:
        path: of the HTML file.
        results: to show, one below the other, with linked axes.
        title: of the page.
    """
    metric = all(result.pixel_size_m is not None for result in results)
    unit, scale = _unit(results) if metric else ("px", 1.0)
    areas = [_window(result) for result in results]
    factor = _binning(results, areas)
    content = [
        _content(result, area, factor, (result.pixel_size_m or 1.0) / scale if metric else 1.0)
        for result, area in zip(results, areas, strict=True)
    ]
    figures = plots.figures(content, unit)
    script, divs = components(figures)
    write_from(
        path,
        "ptychopinn.figures.page",
        "page.html.j2",
        title=title,
        bokeh=INLINE.clone(components=["bokeh"]).render_js(),
        script=script,
        divs=divs,
        results=content,
        unit=unit,
        factor=factor,
        data=json.dumps([one["data"] for one in content]).replace("<", "\\u003c"),
        code=(Path(__file__).parent / "page.js").read_text(encoding="utf-8"),
    )


def _unit(results: Sequence[Shown]) -> tuple[str, float]:
    """Unit of lengths for the largest image, and its metres."""
    widest = max(max(result.object.shape) * (result.pixel_size_m or 1.0) for result in results)
    name = readable_length(widest).split()[1]
    return name, {"m": 1.0, "mm": 1e-3, "µm": 1e-6, "nm": 1e-9, "pm": 1e-12}[name]


def _window(result: Shown) -> tuple[slice, slice]:
    """The part of an image that is lit."""
    mask = covered(result.coverage)
    return panels.view_of(mask).window if mask.any() else (slice(None), slice(None))


def _binning(results: Sequence[Shown], areas: Sequence[tuple[slice, slice]]) -> int:
    """The smallest number of pixels to bin, on both axes, with which the page has room for all images."""
    pixels = sum(
        (rows.stop - rows.start) * (cols.stop - cols.start) * (3 if result.bars is None else 5)
        for result, (rows, cols) in zip(results, areas, strict=True)
        if rows.stop is not None
    )
    return max(1, math.ceil(math.sqrt(pixels * BYTES / (LARGEST - FOR_PAGE - FOR_FRAMES))))


def _content(result: Shown, area: tuple[slice, slice], factor: int, step: float) -> dict[str, Any]:
    """What the template, the plots and the script need of a result."""
    rows, cols = area
    maps = _maps(result, area, factor)
    top, left = (start + (part.start or 0) for start, part in zip(result.origin, area, strict=True))
    height, width = next(iter(maps.values())).values.shape
    frames = None
    if result.frames is not None and result.measured is not None and result.fitted is not None:
        frames = _frames(result)
    numbers = np.arange(len(result.positions)) if result.numbers is None else result.numbers
    # Pixel [0, 0] of the object frame reaches from -0.5 to 0.5.
    extent = {
        "x": (left - 0.5) * step,
        "y": (top - 0.5) * step,
        "w": width * factor * step,
        "h": height * factor * step,
    }
    return {
        "name": result.name,
        "facts": result.facts,
        "maps": maps,
        "extent": extent,
        "positions": result.positions * step,
        "numbers": numbers,
        "shown": np.isin(np.arange(len(numbers)), [] if result.frames is None else result.frames),
        "data": {
            "name": result.name,
            "extent": extent,
            "maps": {
                name: coded(one.values) | {"low_colour": one.low, "high_colour": one.high, "label": one.label}
                for name, one in maps.items()
            },
            "frames": frames,
        },
    }


def _maps(result: Shown, area: tuple[slice, slice], factor: int) -> dict[str, Map]:
    """The images of a result; means of complex values where they are binned."""
    mask = covered(result.coverage)
    turn = panels.without_phase(result.object[mask]) if mask.any() else 1.0
    lit = np.where(mask, result.object * turn, np.nan)[area]
    image = binned(lit.real.astype(np.float64), factor) + 1j * binned(lit.imag.astype(np.float64), factor)
    known = image[np.isfinite(image)]
    norms = panels.object_norms(known) if known.size else (Normalize(0, 1), Normalize(-math.pi, math.pi))
    light = binned(np.where(mask, result.coverage, np.nan)[area].astype(np.float64), factor)
    maps = {
        "amplitude": (abs(image), norms[0], panels.AMPLITUDE_MAP, "amplitude"),
        "phase": (np.angle(image), norms[1], panels.phase_map(norms[1]), "phase (rad)"),
        "coverage": (
            light,
            Normalize(0, float(np.nanmax(light, initial=1.0))),
            panels.COUNTS_MAP,
            "light (photons per pixel)",
        ),
    }
    if result.bars is not None:
        for name, bar, unit in zip(("amplitude", "phase"), result.bars, ("", " (rad)"), strict=True):
            shown = binned(np.where(mask, bar, np.nan)[area].astype(np.float64), factor)
            finite = shown[np.isfinite(shown)]
            top = float(np.percentile(finite, 99)) if finite.size else 1.0
            label = f"{name}: {result.bars_are}{unit}"
            maps[f"{name}_std"] = (shown, Normalize(0, max(top, 1e-9)), panels.BAR_MAP, label)
    return {
        name: Map(values, float(norm.vmin or 0), float(norm.vmax or 0), colours, label)
        for name, (values, norm, colours, label) in maps.items()
    }


def _frames(result: Shown) -> dict[str, Any]:
    """Frames for the page: square roots, of binned ones the means."""
    assert result.frames is not None
    assert result.measured is not None
    assert result.fitted is not None
    factor = -(-result.measured.shape[-1] // FRAME_EDGE)
    roots = [np.sqrt(np.maximum(binned(part, factor), 0)) for part in (result.measured, result.fitted)]
    return {"rows": result.frames.tolist(), "measured": coded(roots[0]), "fitted": coded(roots[1]), "binned": factor}
