"""What the user says about a scan in an electron microscope, as numbers with their units."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files.conventions.units import UNITS

LENGTHS: Final[Mapping[str, float]] = {
    written: size
    for name, (kind, size) in UNITS.items()
    if kind == "length"
    for written in (name, *((f"{name}s", name.capitalize(), f"{name.capitalize()}s") if len(name) > 3 else ()))
}
"""Units of length in metres, in every spelling that files use."""

ANGLES: Final[Mapping[str, float]] = {"mrad": 1e-3, "rad": 1.0, "urad": 1e-6, "µrad": 1e-6, "deg": 0.017453292519943295}
"""Units of angle in radians."""

FREQUENCIES: Final[Mapping[str, float]] = {
    f"{before}{unit}{after}": 1 / size
    for unit, size in LENGTHS.items()
    for before, after in (("1/", ""), ("", "^-1"), ("", "-1"), ("", "⁻¹"), ("", "**-1"))
}
"""Units of spatial frequency in 1 / m, without 2 pi, as py4DSTEM and quantem use them."""

PIXELS: Final[Mapping[str, float]] = dict.fromkeys(("px", "pixel", "pixels"), 1.0)

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


class Microscope(NamedTuple):
    """Settings of the same names in :class:`ptychopinn.config.DataConfig`; None where the file has to say.

    Attributes:
        voltage: accelerating voltage, kV; the scan is one of electrons then.
        scan_step: step of the raster, with its unit.
        scan_shape: rows and columns of the raster.
        scan_rotation: degrees from the scan's axes to the detector's.
        q_pixel: size of a detector pixel as angle or spatial frequency, with its unit.
        semiangle: of the aperture that forms the probe, mrad.
        defocus: of the probe, with its unit.
    """

    voltage: float | None = None
    scan_step: str | None = None
    scan_shape: str | None = None
    scan_rotation: float | None = None
    q_pixel: str | None = None
    semiangle: float | None = None
    defocus: str | None = None

    @property
    def energy_eV(self) -> float | None:  # noqa: N802 - eV is the unit
        """Kinetic energy of the electrons."""
        return None if self.voltage is None else 1e3 * self.voltage

    def steps(self) -> tuple[tuple[float, float], str] | None:
        """Step along rows' and columns' direction (y, x), and its unit; None where it was not given."""
        return (
            None if self.scan_step is None else pair(self.scan_step, "scan_step", "0.4 nm' or '4 px", LENGTHS, PIXELS)
        )

    def q_steps(self) -> tuple[tuple[float, float], str] | None:
        """Size of a detector pixel (y, x), and its unit; None where it was not given."""
        return (
            None
            if self.q_pixel is None
            else pair(self.q_pixel, "q_pixel", "0.5 mrad' or '0.02 A^-1", ANGLES, FREQUENCIES)
        )

    def defocus_m(self) -> float | None:
        """Defocus in metres; None where it was not given."""
        if self.defocus is None:
            return None
        (value, _), unit = pair(self.defocus, "defocus", "15 nm", LENGTHS, signed=True)
        return value * LENGTHS[unit]

    def shape(self) -> tuple[int, int] | None:
        """Rows and columns of the raster; None where they were not given.

        Raises:
            PtychoError: for another text than two whole numbers.
        """
        if self.scan_shape is None:
            return None
        found = re.fullmatch(r"\s*(\d{1,6})\s*[x,× ]\s*(\d{1,6})\s*", self.scan_shape)
        if found is None or not int(found[1]) * int(found[2]):
            raise PtychoError(
                f"scan_shape: {shortened(self.scan_shape)!r} given; rows x columns are needed, as '128x64'."
            )
        return int(found[1]), int(found[2])


def pair(
    text: str, name: str, example: str, *units: Mapping[str, float], signed: bool = False
) -> tuple[tuple[float, float], str]:
    """One number for both axes, or two ``y x x``, and the unit behind them.

    Args:
        text: such as ``0.4 nm`` or ``0.4 x 0.5 nm``.
        name: of the setting.
        example: of what is right.
        units: tables of units that are right.
        signed: whether 0 and negative numbers are right too.

    Raises:
        PtychoError: naming the setting.
    """
    found = re.fullmatch(rf"\s*({NUMBER})(?:\s*[x×,]\s*({NUMBER}))?\s*(\S+)?\s*", text)
    known = {unit for table in units for unit in table}
    if found is None or found[3] not in known:
        raise PtychoError(f"{name}: {shortened(text)!r} given; a number and its unit are needed, as '{example}'.")
    values = float(found[1]), float(found[2] or found[1])
    if not signed and not min(values) > 0:
        raise PtychoError(f"{name}: {shortened(text)!r} given; it must be positive.")
    return values, found[3]


def shape_in_name(path: Path) -> tuple[int, int] | None:
    """Rows and columns that the EMPAD's program writes into a name, as ``scan_x128_y64.raw``; None without them."""
    found = re.search(r"x(\d+)_y(\d+)", path.stem)
    return None if found is None else (int(found[2]), int(found[1]))
