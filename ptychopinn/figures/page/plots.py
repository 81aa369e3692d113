"""The plots of a page as Bokeh models; ``page.js`` fills their images."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from bokeh.models import ColumnDataSource, CrosshairTool, CustomJS, HoverTool, LinearColorMapper, Range1d, WheelZoomTool
from bokeh.models.annotations import ColorBar, Span
from bokeh.plotting import figure

from ptychopinn.figures import panels
from ptychopinn.figures.page.maps import Map, palette

GREY: Final = "#767676"
"""Of text: as dark against white as light against black."""

UNLIT: Final = "#9a9a9a"

LINES: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of the profiles (Okabe and Ito: colours that most colour-blind people tell apart)."""

TOOLS: Final = "pan,box_zoom,reset,save"

FRAMES: Final = ("measured", "fitted", "residual")


def figures(results: Sequence[dict[str, Any]], unit: str) -> dict[str, Any]:
    """All figures by name: ``<result>-<map>``, ``profile``, and one for each of :data:`FRAMES`.

    Args:
        results: name, maps, extent, positions, numbers and shown of each.
        unit: of lengths.
    """
    extents = [result["extent"] for result in results]
    left, top = (min(extent[axis] for extent in extents) for axis in "xy")
    right = max(extent["x"] + extent["w"] for extent in extents)
    bottom = max(extent["y"] + extent["h"] for extent in extents)
    # Rows count downwards.
    shared = {
        "x_range": Range1d(start=left, end=right, name="x"),
        "y_range": Range1d(start=bottom, end=top, name="y"),
    }
    line = ColumnDataSource({"x": [], "y": []}, name="line")
    cross = CrosshairTool(overlay=(Span(dimension="width", line_color=GREY), Span(dimension="height", line_color=GREY)))
    found: dict[str, Any] = {}
    for index, result in enumerate(results):
        for name, one in {**result["maps"], "colour": None}.items():
            plot = _image(f"{index}-{name}", one, result["extent"], shared, unit)
            plot.add_tools(cross)
            plot.line("x", "y", source=line, line_color="white", line_width=3)
            plot.line("x", "y", source=line, line_color="black", line_dash="dashed")
            if name == "coverage":
                _add_positions(plot, result, index)
            plot.js_on_event("tap", CustomJS(code=f"window.ptychopinn.tap({index}, '{name}', cb_obj.x, cb_obj.y)"))
            found[f"{index}-{name}"] = plot
    found["profile"] = _profile([result["name"] for result in results], unit)
    return found | {name: _frame(name) for name in FRAMES}


def _plot(title: str, width: int, height: int, **more: Any) -> Any:
    # As wide as the page allows, up to ``width``: see the style of the page.
    plot: Any = figure(title=title, height=height, sizing_mode="stretch_width", max_width=width, tools=TOOLS, **more)
    # Without a key, the wheel is for the page.
    plot.add_tools(WheelZoomTool(modifiers="ctrl"))
    plot.background_fill_alpha = plot.border_fill_alpha = 0
    plot.outline_line_color = None
    plot.title.text_color = GREY
    for axis in plot.axis:
        axis.axis_label_text_color = axis.major_label_text_color = axis.axis_line_color = GREY
        axis.major_tick_line_color = axis.minor_tick_line_color = GREY
    plot.grid.visible = False
    plot.toolbar.logo = None
    return plot


def _image(name: str, shown: Map | None, extent: dict[str, float], ranges: dict[str, Any], unit: str) -> Any:
    """A figure of one image, empty as yet; of the complex colours where ``shown`` is None."""
    title = "complex: brightness amplitude, hue phase" if shown is None else shown.label
    plot = _plot(title, 420, 380, match_aspect=True, **ranges)
    plot.xaxis.axis_label, plot.yaxis.axis_label = f"x ({unit})", f"y ({unit})"
    dtype = np.uint32 if shown is None else np.float32
    source = ColumnDataSource({"image": [np.zeros((1, 1), dtype)]}, name=f"image-{name}")
    place = {"x": extent["x"], "y": extent["y"], "dw": extent["w"], "dh": extent["h"]}
    if shown is None:
        plot.image_rgba("image", source=source, **place)
        return plot
    mapper = LinearColorMapper(palette=palette(shown.colours), low=shown.low, high=shown.high, nan_color=UNLIT)
    drawn = plot.image("image", source=source, color_mapper=mapper, **place)
    bar = _bar(mapper)
    plot.add_layout(bar, "right")
    tips = [("x, y", f"$x{{0.000}}, $y{{0.000}} {unit}"), (shown.label, "@image")]
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
    return plot


def _bar(mapper: LinearColorMapper) -> ColorBar:
    return ColorBar(color_mapper=mapper, width=12, background_fill_alpha=0, major_label_text_color=GREY)


def _add_positions(plot: Any, result: dict[str, Any], index: int) -> None:
    """Positions of the frames; those whose frames are in the page are filled."""
    y, x = result["positions"].T
    fill = np.where(result["shown"], 0.9, 0.0)
    source = ColumnDataSource({"x": x, "y": y, "frame": result["numbers"], "fill": fill}, name=f"positions-{index}")
    marks = plot.scatter(
        "x", "y", source=source, size=6, line_color="white", line_width=0.7, fill_color="black", fill_alpha="fill"
    )
    plot.add_tools(HoverTool(renderers=[marks], tooltips=[("frame", "@frame")]))


def _profile(names: Sequence[str], unit: str) -> Any:
    """Values along a line, one curve and one band of its standard deviation for each result."""
    plot = _plot("", 860, 300)
    plot.xaxis.axis_label = f"distance along the line ({unit})"
    plot.yaxis.name = "quantity"
    for index, name in enumerate(names):
        source = ColumnDataSource({"x": [], "y": [], "low": [], "high": []}, name=f"profile-{index}")
        colour = LINES[index % len(LINES)]
        plot.varea("x", "low", "high", source=source, fill_color=colour, fill_alpha=0.25)
        plot.line("x", "y", source=source, line_color=colour, line_width=2, legend_label=name)
    plot.legend.click_policy = "hide"
    plot.legend.background_fill_alpha = 0
    plot.legend.label_text_color = GREY
    return plot


def _frame(name: str) -> Any:
    """A figure of a detector frame, empty as yet."""
    residual = name == "residual"
    label = "(measured - fitted) / noise" if residual else f"{name}, sqrt(photons)"
    plot = _plot(label, 330, 300, match_aspect=True)
    plot.y_range.flipped = True
    plot.x_range.range_padding = plot.y_range.range_padding = 0
    source = ColumnDataSource({"image": [np.zeros((1, 1), np.float32)], "dw": [1.0], "dh": [1.0]}, name=f"frame-{name}")
    colours = panels.ERROR_MAP if residual else panels.COUNTS_MAP
    mapper = LinearColorMapper(
        palette=palette(colours),
        low=-5 if residual else 0,
        high=5 if residual else 1,
        nan_color=UNLIT,
        name=f"colours-{name}",
    )
    drawn = plot.image("image", x=0, y=0, dw="dw", dh="dh", source=source, color_mapper=mapper)
    plot.add_layout(_bar(mapper), "right")
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=[("row, column", "$y{0}, $x{0}"), (label, "@image")]))
    return plot
