"""Units as programs write them."""

import numpy as np
import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.files.conventions.units import photon_energy, same, told_unit, unit

LENGTHS = {
    1.0: ["m", "M", "meter", "Meters", "metre", "metres", " m ", "[m]"],
    1e-3: ["mm", "millimeter", "millimetres", "Millimeter"],
    1e-6: ["um", "µm", "μm", "micron", "microns", "Microns", "micrometer", "micrometers", "micrometre", "(um)"],
    1e-9: ["nm", "nanometer", "nanometers", "NanoMetres"],
    1e-10: ["A", "Å", "\u212b", "angstrom", "Angstroms", "angstroms"],
    1e-12: ["pm", "picometers"],
}
ENERGIES = {
    1.0: ["eV", "ev", "electronvolts"],
    1e3: ["keV", "kev", "KeV"],
    1e6: ["MeV"],
    6.241509074e18: ["J", "joule", "Joules"],
}


@pytest.mark.parametrize(("size", "told"), [(size, told) for size, names in LENGTHS.items() for told in names])
def test_lengths(size: float, told: str) -> None:
    assert unit(told, "x", "length") == size


@pytest.mark.parametrize(("size", "told"), [(size, told) for size, names in ENERGIES.items() for told in names])
def test_energies(size: float, told: str) -> None:
    assert unit(told, "e", "energy") == pytest.approx(size, rel=1e-9)


@pytest.mark.parametrize("told", ["px", "pixel", "Pixels", "pixels"])
def test_pixels(told: str) -> None:
    assert unit(told, "x", "length", "pixels") == 1


@pytest.mark.parametrize("told", ["s", "eV", "mK", "Mm", "MM/s", "degrees", "furlong", "?", "1/m", "m^2"])
def test_other_units_are_refused(told: str) -> None:
    with pytest.raises(PtychoError, match="x: unit .*; a unit of length is needed: m, mm, um"):
        unit(told, "x", "length")


def test_a_category_of_nexus_is_no_unit() -> None:
    with pytest.raises(PtychoError, match="x: unit 'NX_LENGTH' names a kind of quantity, not a unit"):
        unit("NX_LENGTH", "x", "length")


@pytest.mark.parametrize(
    "value", ["um", b"um", np.bytes_("um"), np.array(["um"], object), np.array([b"um", b"um"]), np.array("um", object)]
)
def test_attributes(value: object) -> None:
    assert told_unit(value, "x") == "um"


@pytest.mark.parametrize("value", [None, "", b"  ", np.array([], object)])
def test_no_unit(value: object) -> None:
    assert told_unit(value, "x") is None


def test_several_units_are_refused() -> None:
    with pytest.raises(PtychoError, match="x: units deg, um; one unit for all"):
        told_unit(np.array([b"um", b"deg"]), "x")


def test_same() -> None:
    assert same("um", "microns")
    assert not same("um", "mm")


@pytest.mark.parametrize(
    ("value", "told", "usual", "expected", "noted"),
    [
        (8000.0, "eV", "J", 8000, False),
        (2.0, "eV", "J", 2, False),
        (1.2817e-15, None, "J", 8000, False),
        (8.0, None, "J", 8000, True),
        (8000.0, None, "J", 8000, True),
        (300.0, None, "J", 300, True),
        (8000.0, None, "eV", 8000, False),
        (100.0, None, "eV", 100, False),
        (8.0, None, "eV", 8000, True),
    ],
)
def test_photon_energy(value: float, told: str | None, usual: str, expected: float, noted: bool) -> None:
    energy, notes = photon_energy(value, told, usual, "beam/energy")
    assert energy == pytest.approx(expected, rel=1e-3)
    assert bool(notes) == noted
    assert all("without a unit is taken as" in note for note in notes)


def test_an_energy_that_may_be_either_is_refused() -> None:
    with pytest.raises(PtychoError, match="beam/energy: 100 without a unit may be eV or keV"):
        photon_energy(100.0, None, "J", "beam/energy")


@pytest.mark.parametrize(("value", "told"), [(8000.0, "J"), (1e-9, "eV"), (5e12, None)])
def test_an_impossible_energy_is_refused(value: float, told: str | None) -> None:
    with pytest.raises(PtychoError, match="is no photon energy .*check its unit"):
        photon_energy(value, told, "J", "beam/energy")
