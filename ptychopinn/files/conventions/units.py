"""Units of lengths, energies and pixels, as programs write them: ``um``, ``microns``, ``[µm]``, ``['m']``."""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from ptychopinn.errors import IncurableError, PtychoError, shortened
from ptychopinn.files.values import JOULE_PER_EV

POSSIBLE_EV, LIKELY_EV = (0.1, 1e7), (30.0, 2e5)
"""Photon energies that a file may name with a unit, and without one: extreme ultraviolet to hard X-rays."""

PREFIXES: Final = (
    *(("", "", 1.0), ("k", "kilo", 1e3), ("c", "centi", 1e-2), ("m", "milli", 1e-3), ("u", "micro", 1e-6)),
    *(("n", "nano", 1e-9), ("p", "pico", 1e-12)),
)
"""Symbol, word and size."""

SHOWN: Final = {
    "length": "m, mm, um, nm, pm, cm, angstrom",
    "energy": "eV, keV, MeV, J",
    "pixels": "px",
}
"""Units that an error message offers."""


def _spellings() -> Iterator[tuple[str, str, float]]:
    """Spelling, dimension and size in metres, electronvolts or pixels. Words are in lower case and singular."""
    for symbol, word, size in PREFIXES:
        yield from ((name, "length", size) for name in (f"{symbol}m", f"{word}meter", f"{word}metre"))
    yield from ((name, "length", 1e-6) for name in ("µm", "μm", "micron", "µ", "μ", "UM"))
    yield from (
        (name, "length", 1e-10) for name in ("A", "Å", "\u212b", "Ang", "ang", "angstrom", "ångström", "angstroem")
    )
    yield from ((name, "length", size) for name, size in (("M", 1.0), ("MM", 1e-3), ("NM", 1e-9)))
    for symbol, word, size in (("", "", 1.0), ("k", "kilo", 1e3), ("M", "mega", 1e6)):
        yield from ((name, "energy", size) for name in (f"{symbol}eV", f"{word}electronvolt", f"{word}electron volt"))
    yield from ((name, "energy", size) for name, size in (("ev", 1.0), ("EV", 1.0), ("kev", 1e3), ("KeV", 1e3)))
    yield from ((name, "energy", 1 / JOULE_PER_EV) for name in ("J", "joule"))
    yield from ((name, "pixels", 1.0) for name in ("px", "pixel"))


UNITS: Final[Mapping[str, tuple[str, float]]] = MappingProxyType(
    {name: (dimension, size) for name, dimension, size in _spellings()}
)
"""Spelling -> dimension and size. Symbols keep their case, because mm and Mm, meV and MeV differ."""


def unit(told: str, name: str, *dimensions: str) -> float:
    """Size of a unit in metres, electronvolts or pixels.

    Raises:
        PtychoError: for a unit of another dimension, or none that is known; ``name`` is what has it.
    """
    dimension, size = _known(told)
    if dimension in dimensions:
        return size
    fitting = ", ".join(SHOWN[kind] for kind in dimensions)
    kind = " names a kind of quantity, not a unit" if re.match(r"NX_[A-Z]+$", told.strip()) else ""
    raise IncurableError(
        f"{name}: unit {shortened(repr(told), 40)}{kind}; a unit of {' or '.join(dimensions)} is needed: {fitting}."
    )


def dimension_of(told: str) -> str:
    """``length``, ``energy`` or ``pixels``; empty for an unknown unit."""
    return _known(told)[0]


def same(first: str, second: str) -> bool:
    """Whether two units are the same, however they are written."""
    return _known(first) == _known(second)


def _known(told: str) -> tuple[str, float]:
    text = told.strip().strip("[]()").strip()
    word = text.lower()
    for spelling in (text, word if len(word) > 3 else "", word.removesuffix("s") if len(word) > 3 else ""):
        if spelling in UNITS:
            return UNITS[spelling]
    return ("pixels", 1.0) if word == "pxs" else ("", 0.0)


def told_unit(value: Any, name: str) -> str | None:
    """The unit that an attribute gives: a text, or several equal ones; None where it is absent or empty.

    Raises:
        PtychoError: for several units.
    """
    if value is None:
        return None
    texts = {_text(entry).strip() for entry in np.ravel(np.asarray(value, dtype=object))}
    if len(texts) > 1:
        given = shortened(", ".join(sorted(texts)), 60)
        raise PtychoError(f"{name}: units {given}; one unit for all values is needed.")
    return next(iter(texts), "") or None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def photon_energy(value: float, told: str | None, usual: str, name: str) -> tuple[float, list[str]]:
    """A photon energy in electronvolts, and a note where a unit was assumed that is not the usual one.

    Args:
        value: as stored.
        told: its unit; None where none is given.
        usual: unit of the format.
        name: what has it.

    Raises:
        PtychoError: for an energy that no photon in ptychography has, or a number that may be eV or keV.
    """
    if told is not None:
        return _possible(value * unit(told, name, "energy"), f"{value:g} {told}", name), []
    low, high = LIKELY_EV
    if low <= value * unit(usual, name, "energy") <= high:
        return value * unit(usual, name, "energy"), []
    fits = [other for other in ("eV", "keV") if low <= value * unit(other, name, "energy") <= high]
    if len(fits) > 1:
        raise PtychoError(f"{name}: {value:g} without a unit may be eV or keV; an attribute units is needed.")
    if not fits:
        return _possible(value * unit(usual, name, "energy"), f"{value:g} without a unit, that is {usual},", name), []
    return value * unit(fits[0], name, "energy"), [f"{name}: {value:g} without a unit is taken as {fits[0]}."]


def _possible(energy: float, told: str, name: str) -> float:
    low, high = POSSIBLE_EV
    if low <= energy <= high:
        return energy
    raise PtychoError(f"{name}: {told} is no photon energy from {low:g} eV to {high / 1e6:g} MeV; check its unit.")
