"""CXI files with the habits of NeXus: units, coordinates apart, energy elsewhere, grids."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.errors import PtychoError
from ptychopinn.files.values import JOULE_PER_EV
from ptychopinn.scan.scan import Scan
from tests.files.writers import DISTANCE_M, ENERGY_KEV, PITCH_M, assert_same, metres

DETECTOR, SOURCE, BEAM = (f"entry_1/instrument_1/{name}_1" for name in ("detector", "source", "beam"))
TRANSLATION = "entry_1/sample_1/geometry_1/translation"


@pytest.fixture
def path(scan: Scan, pixel: float, tmp_path: Path) -> Path:
    """A CXI file without units and without an energy."""
    y, x = metres(scan, pixel).T
    with h5py.File(tmp_path / "scan.cxi", "w") as file:
        file["cxi_version"] = 160
        file["entry_1/data_1/data"] = scan.counts.astype(np.uint16)
        file[TRANSLATION] = np.stack([x, y, 0 * x], axis=-1)
        for key, value in {"distance": DISTANCE_M, "x_pixel_size": PITCH_M, "y_pixel_size": PITCH_M}.items():
            file[f"{DETECTOR}/{key}"] = value
        file[f"{SOURCE}/illumination"] = scan.probe
    return tmp_path / "scan.cxi"


def put(path: Path, name: str, value: Any, units: Any = None) -> None:
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        file[name] = value
        if units is not None:
            file[name].attrs["units"] = units


ENERGIES: dict[str, tuple[str, Any, Any]] = {
    "joules": (f"{SOURCE}/energy", 1e3 * ENERGY_KEV * JOULE_PER_EV, None),
    "of the beam": (f"{BEAM}/incident_beam_energy", ENERGY_KEV, "keV"),
    "beam, eV, an array": (f"{BEAM}/energy", np.array([1e3 * ENERGY_KEV]), np.array([b"eV"])),
    "per frame": (f"{SOURCE}/energy", np.full(22, ENERGY_KEV), "keV"),
    "keV without a unit": (f"{SOURCE}/energy", ENERGY_KEV, None),
    "eV without a unit": (f"{SOURCE}/energy", 1e3 * ENERGY_KEV, ""),
    "wavelength of the beam": (f"{BEAM}/incident_wavelength", 12.398419843 / ENERGY_KEV, "angstroms"),
}


@pytest.mark.parametrize("name", ENERGIES)
def test_energy(scan: Scan, path: Path, name: str) -> None:
    put(path, *ENERGIES[name])
    found = read_scan(path)
    assert_same(found, scan)
    assert any("taken as" in note for note in found.notes) == ("without" in name)


def test_energy_of_the_beam_not_of_the_ring(scan: Scan, path: Path) -> None:
    put(path, f"{SOURCE}/energy", 3.0, "GeV")
    put(path, f"{BEAM}/incident_energy", ENERGY_KEV, "keV")
    assert_same(read_scan(path), scan)


@pytest.mark.parametrize(
    ("value", "units", "words"),
    [
        (np.linspace(7, 8, 22), "keV", "22 values from 7 to 8; one value for all frames"),
        (100.0, None, "100 without a unit may be eV or keV"),
        (8000.0, "J", "8000 J is no photon energy"),
        (8.0, "NX_ENERGY", "unit 'NX_ENERGY' names a kind of quantity"),
        (8.0, "nm", "unit 'nm'; a unit of energy is needed: eV, keV, MeV, J"),
        (-8.0, "keV", "no photon energy"),
        ("eight", "keV", "one finite number is needed"),
    ],
)
def test_an_energy_that_cannot_be_used_is_named(path: Path, value: Any, units: Any, words: str) -> None:
    put(path, f"{SOURCE}/energy", value, units)
    with pytest.raises(PtychoError, match=f"scan.cxi: .*{SOURCE}/energy: .*{words}"):
        read_scan(path)


@pytest.mark.parametrize(
    "group", ["entry_1/data_1/", "entry_1/sample_1/geometry_1/", "entry_1/sample_1/transformations/"]
)
@pytest.mark.parametrize("names", ["xy", ("x_translation", "y_translation")])
def test_coordinates_apart(scan: Scan, pixel: float, path: Path, group: str, names: tuple[str, str]) -> None:
    put(path, *ENERGIES["of the beam"])
    y, x = 1e6 * metres(scan, pixel).T
    put(path, group + names[0], x.reshape(-1, 1, 1), np.array([b"microns"]))
    put(path, group + names[1], y, "um")
    with h5py.File(path, "a") as file:
        del file[TRANSLATION]
    assert_same(read_scan(path), scan)


def test_a_grid(scan: Scan, path: Path) -> None:
    put(path, *ENERGIES["joules"])
    with h5py.File(path) as file:
        frames, places = file["entry_1/data_1/data"][()], file[TRANSLATION][()]
    put(path, "entry_1/data_1/data", frames.reshape(2, 11, scan.N, scan.N))
    put(path, TRANSLATION, places.reshape(2, 11, 3))
    assert_same(read_scan(path), scan)


@pytest.mark.parametrize(
    ("name", "value", "units", "words"),
    [
        (TRANSLATION, np.full((22, 3), b"a"), None, "translation: dtype .S1; real numbers"),
        (TRANSLATION, np.ones((22, 4)), None, r"translation: shape \(22, 4\)"),
        (TRANSLATION, np.ones((22, 3)), np.array([b"um", b"um", b"deg"]), "units deg, um; one unit"),
        (TRANSLATION, np.full((22, 3), np.nan), None, "NaN or infinity in all 22 rows"),
        (f"{DETECTOR}/x_pixel_size", 75.0, None, "x_pixel_size: 75 m given; at most 0.01 m"),
        (f"{DETECTOR}/distance", 2000.0, "m", "distance: 2000 m given; at most 500 m"),
        ("entry_1/data_1/data", h5py.Empty("u2"), None, r"data: shape \(\)"),
        ("entry_1/data_1/data", h5py.ExternalLink("gone.h5", "/d"), None, "it is a link to gone.h5, and that file"),
        (TRANSLATION, h5py.SoftLink("/gone"), None, "it is a link to /gone, which is not there"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(path: Path, name: str, value: Any, units: Any, words: str) -> None:
    put(path, *ENERGIES["joules"])
    put(path, name, value, units)
    with pytest.raises(PtychoError, match=f"scan.cxi: .*{words}") as error:
        read_scan(path)
    assert "\n" not in str(error.value)
