"""How a scan, a run and a reconstruction show themselves in a notebook; registers with :mod:`ptychopinn.text`."""

import html
import io
from collections.abc import Mapping
from typing import Final

from matplotlib.figure import Figure

from ptychopinn.figures.fit import embedded
from ptychopinn.figures.history import history_figure
from ptychopinn.figures.page.live import pictures
from ptychopinn.figures.panels import DPI
from ptychopinn.figures.probe import probe_figure
from ptychopinn.figures.reconstruction import facts_of, reconstruction_figure
from ptychopinn.figures.scan import scan_figure
from ptychopinn.model.bundle import Run
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.text import html_of, plot_of, readable, readable_length

WIDEST: Final = 1100.0
"""Pixels of a picture, at most: more does not fit into a notebook."""


class Drawn:
    """A figure that shows itself in a notebook, also where pyplot was never imported.

    Attributes:
        figure: of matplotlib; ``drawn.figure.savefig("image.pdf")`` keeps it, its axes can be changed.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.figure.savefig(stream, format="png", dpi=min(DPI, WIDEST / self.figure.get_figwidth()))
        return stream.getvalue()


def _table(title: str, facts: Mapping[str, str]) -> str:
    rows = (
        f'<tr><th scope="row" style="text-align: left">{html.escape(name)}</th>'
        f'<td style="text-align: left">{html.escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{''.join(rows)}</table>"


@html_of.register
def _image_html(image: Reconstruction) -> str:
    shown = (
        f'<figure style="display: inline-block; margin: 0 1em 0 0"><img alt="{each["title"]}, {each["text"]}" '
        f'src="{each["address"]}"><figcaption>{each["title"]}, {each["text"]}</figcaption></figure>'
        for each in pictures(image.object, image.coverage)
    )
    return _table("Reconstruction", facts_of(image)) + "".join(shown)


@html_of.register
def _scan_html(scan: Scan) -> str:
    """Reads no frame."""
    low, high = scan.positions.min(axis=0), scan.positions.max(axis=0)
    pixel = scan.pixel_size_m
    facts = {
        "frames": f"{len(scan)} of {scan.N} x {scan.N} pixels",
        "positions": " x ".join(readable(float(size)) for size in high - low) + " px (y, x)",
        "probe": f"{readable(scan.probe_diameter)} px wide, modes: {len(scan.probe)}",
        "pixel": "not given" if pixel is None else readable_length(pixel),
        "object": "known" if scan.object is not None else "not known",
        **{f"note {number}": note for number, note in enumerate(scan.notes, 1)},
    }
    probe = f'<img alt="Modes of the probe" style="max-width: 40em" src="{embedded(probe_figure(scan.probe[:1]))}">'
    return _table("Scan", facts) + probe


@html_of.register
def _run_html(run: Run) -> str:
    model, last = run.settings.model, run.history[-1] if run.history else {}
    facts = {
        "network": f"{model.model_type}, gridsize {model.gridsize}, {model.features}",
        "trained on": "generated set-ups" if run.any_setup else f"{len(run.frames)} frames",
        **{name.replace("_", " "): readable(float(value)) for name, value in last.items()},
    }
    curves = _losses(run)
    return _table("Run", facts) + ("" if curves is None else f'<img alt="Losses" src="{embedded(curves)}">')


def _losses(run: Run) -> Figure | None:
    """Losses of a run by epoch; None where it has none."""
    names = ["epoch", "train_loss", "val_loss"]
    columns = {name: [row[name] for row in run.history] for name in names if all(name in row for row in run.history)}
    return history_figure(columns) if run.history and "train_loss" in columns else None


@plot_of.register
def _plot_image(image: Reconstruction) -> Drawn:
    bars = None
    if image.amplitude_std is not None and image.phase_std is not None:
        bars = image.amplitude_std, image.phase_std
    are = "error bar" if image.std_of != "patches" else "spread of patches"
    return Drawn(
        reconstruction_figure(image.object, image.coverage, pixel_size_m=image.pixel_size_m, bars=bars, bars_are=are)
    )


@plot_of.register
def _plot_scan(scan: Scan) -> Drawn:
    """Reads every frame once."""
    return Drawn(scan_figure(scan))


@plot_of.register
def _plot_run(run: Run) -> Drawn:
    curves = _losses(run)
    return Drawn(probe_figure(run.illumination.probe.numpy()) if curves is None else curves)
