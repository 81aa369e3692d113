"""Numbers and lengths as people read them, and what shows itself in a notebook."""

import math
import re
from collections.abc import Callable
from functools import singledispatch
from typing import Any, Final

COUNTED: Final = re.compile(r"(?:\[|epoch )(\d+)(?:/| of )(\d+)")
"""How a line begins that says how far the work is: ``[3/20]``, ``epoch 3 of 20``."""

LIVE: Final = "Live: "
"""How the line begins that says where a live page is offered: ``--quiet`` keeps it, as it was asked for."""


def readable(value: float, digits: int = 3) -> str:
    """A number rounded to ``digits`` significant digits: 461212.9 -> 4.61e5, 12.345 -> 12.3."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = math.floor(math.log10(abs(rounded)))
    if -3 <= exponent < 5:
        return f"{rounded:.{max(0, digits - 1 - exponent)}f}"
    return f"{rounded / 10.0**exponent:.{digits - 1}f}e{exponent}"


def readable_length(metres: float) -> str:
    """A length in the unit that suits it: 5e-8 -> 50.0 nm."""
    for unit, size in (("m", 1.0), ("mm", 1e-3), ("µm", 1e-6), ("nm", 1e-9)):
        if abs(metres) >= size:
            return f"{readable(metres / size)} {unit}"
    return f"{readable(metres / 1e-12)} pm"


def counted(line: str) -> tuple[int, int] | None:
    """How much of how much is done, where a line of progress says so."""
    found = COUNTED.match(line)
    return None if found is None else (int(found[1]), int(found[2]))


def rounded(value: float) -> str:
    """A number for a table; ``unknown`` for NaN."""
    return "unknown" if math.isnan(value) else readable(value)


@singledispatch
def html_of(value: object) -> str | None:
    """HTML of a value for a notebook; None where nobody has registered how, :mod:`ptychopinn.figures.notebook` does."""
    return None


@singledispatch
def plot_of(value: object) -> Any:
    """A figure of a value, see :func:`html_of`."""
    raise TypeError(f"{type(value).__name__}: import ptychopinn.api first, which knows how to draw it.")


Report = Callable[[str], None]
"""Receives lines of progress."""
