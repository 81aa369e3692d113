"""``live.html``: what a run knows so far, in one file that looks after itself."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib
import numpy as np
from matplotlib.colors import Normalize
from PIL import Image

from ptychopinn.figures import panels
from ptychopinn.figures.page.maps import binned
from ptychopinn.figures.page.templates import write_from
from ptychopinn.scan.canvas import covered
from ptychopinn.text import readable

EDGE: Final = 400
"""Largest edge of a picture, pixels."""

LINES: Final = 300
"""Last lines that the page has."""


@dataclass(frozen=True)
class Now:
    """What the page shows.

    Attributes:
        title: of the run.
        state: of the run.
        reason: why it failed.
        seconds: since it began.
        written: seconds since 1970.
        every: seconds between two looks at the file.
        share: that is done, 0 to 1; None if unknown.
        facts: names and values.
        lines: all that was said.
        warnings: among them.
        images: of :func:`pictures`.
        curves: points (x, y) by name.
        along: what x is.
        links: texts and addresses.
    """

    title: str
    state: Literal["running", "ended", "failed"]
    seconds: float
    written: float
    every: float
    reason: str = ""
    share: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    images: Sequence[Mapping[str, str]] = ()
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    along: str = "epoch"
    links: Sequence[tuple[str, str]] = ()


def write_live(path: Path, now: Now) -> None:
    """Write the page, whole or not at all.

    Raises:
        RunFailedError: when the file system refuses.
    """
    data = vars(now) | {"facts": list(now.facts.items()), "lines": list(now.lines[-LINES:])}
    write_from(
        path,
        "ptychopinn.figures.page",
        "live.html.j2",
        title=now.title,
        data=json.dumps(data).replace("<", "\\u003c"),
        code=(Path(__file__).parent / "live.js").read_text(encoding="utf-8"),
    )


def pictures(image: panels.Complex, coverage: panels.Real) -> list[dict[str, str]]:
    """Amplitude and phase of an image as small PNGs, its free phase removed; none where nothing is lit.

    Args:
        image: (H, W) complex.
        coverage: (H, W) light on each pixel.
    """
    mask = covered(np.where(np.isfinite(image), coverage, 0))
    if not mask.any():
        return []
    view = panels.view_of(mask)
    lit = np.where(mask, image * panels.without_phase(image[mask]), np.nan)[view.window]
    factor = max(1, -(-max(lit.shape) // EDGE))
    factor = min(factor, *lit.shape)
    small = binned(lit.real.astype(np.float64), factor) + 1j * binned(lit.imag.astype(np.float64), factor)
    known = small[np.isfinite(small)]
    if not known.size:
        return []
    norms = panels.object_norms(known)
    kinds: tuple[tuple[str, Any, Normalize, str, str], ...] = (
        ("amplitude", abs(small), norms[0], panels.AMPLITUDE_MAP, ""),
        ("phase", np.angle(small), norms[1], panels.phase_map(norms[1]), " rad"),
    )
    return [
        {
            "title": name,
            "text": f"colours from {readable(float(norm.vmin or 0))} to {readable(float(norm.vmax or 0))}{unit}",
            "address": _png(values, norm, colours),
        }
        for name, values, norm, colours, unit in kinds
    ]


def _png(values: panels.Real, norm: Normalize, colours: str) -> str:
    """A picture as the address of a PNG."""
    shown = matplotlib.colormaps[colours](norm(np.ma.masked_invalid(values)), bytes=True)
    shown[~np.isfinite(values)] = (154, 154, 154, 255)
    stream = io.BytesIO()
    # 256 colours are those of the colour map, and take a third of the bytes.
    Image.fromarray(shown[..., :3]).quantize(256, dither=Image.Dither.NONE).save(stream, format="png")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
