"""Maps of 4D-STEM files: frames of four axes, rasters, electrons, detector pixels as angles, positions elsewhere."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.config import DataConfig
from ptychopinn.errors import PtychoError
from ptychopinn.files.reading import open_record
from tests import stem

RASTER = {"step": 0.7, "unit": "A"}


@pytest.fixture(scope="module")
def scan() -> stem.Stem:
    return stem.simulate(3, 5, dose=500)


@pytest.fixture
def folder(scan, tmp_path) -> Path:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["cube"] = scan.frames
        file["flat"] = scan.frames.reshape(-1, stem.N, stem.N)
        file["turned"] = scan.frames.transpose(3, 2, 1, 0)
        file["corner"] = np.fft.ifftshift(scan.frames, axes=(2, 3))
        file["probe"] = scan.probe
        file["kilovolts"] = 300.0
    with h5py.File(tmp_path / "places.h5", "w") as file:
        file["y"], file["x"] = (scan.corners * stem.PIXEL_M * 1e9).T
    return tmp_path


def opened(folder: Path, layout: dict[str, Any], **settings: object):
    (folder / "map.json").write_text(json.dumps(layout))
    return open_record(folder / "d.h5", DataConfig(map=str(folder / "map.json"), **settings))


def layout(dataset: str = "/cube", raster: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    angle = {"value": 1.25, "unit": "mrad"}
    said = {"voltage": {"value": 300}, "detector_pixel": angle, "probe": "/probe"}
    return {"frames": {"dataset": dataset}, "positions": {"raster": raster or RASTER}, **said, **more}


def check(record, scan, places=None) -> None:
    np.testing.assert_array_equal(np.asarray(record.counts), scan.frames.reshape(-1, stem.N, stem.N))
    expected = (scan.corners if places is None else places) + stem.N / 2
    np.testing.assert_allclose(record.positions, expected, rtol=0, atol=2e-3)
    np.testing.assert_allclose(record.pixel_m, stem.PIXEL_M, rtol=1e-4)
    assert (record.particle, record.energy_eV) == ("electron", 300e3)


def test_cube_on_a_raster(folder, scan):
    check(opened(folder, layout()), scan)
    check(opened(folder, layout("/flat", {**RASTER, "shape": [3, 5]})), scan)
    turned = {**RASTER, "rotation": 30, "transpose": True}
    check(opened(folder, layout(raster=turned)), scan, stem.raster(3, 5, 30.0, True))


def test_axes_in_another_order_and_zero_frequency_in_the_corner(folder, scan):
    for frames in ({"dataset": "/turned", "order": "xyXY"}, {"dataset": "/corner", "zero_frequency": "corner"}):
        check(opened(folder, layout(frames=frames)), scan)


@pytest.mark.parametrize(
    "said",
    [
        {"voltage": {"value": 300e3, "unit": "V"}},
        {"energy": {"value": 300, "unit": "kV"}},
        {"energy": {"value": 300, "unit": "keV"}, "particle": "electron"},
        {"wavelength": {"value": 1.9687, "unit": "pm"}, "particle": "electron"},
        {"voltage": {"dataset": "/kilovolts", "unit": "kV"}},
    ],
)
def test_electrons(folder, scan, said):
    whole = layout()
    del whole["voltage"]
    record = opened(folder, whole | said)
    assert record.energy_eV == pytest.approx(300e3, rel=1e-4)
    assert record.particle == "electron"
    np.testing.assert_allclose(record.pixel_m, stem.PIXEL_M, rtol=1e-4)


def test_energy_in_kev_alone_is_a_doubt_and_the_voltage_cures_it(folder):
    """1 m and 30 um: 64.6 nm / 64 px of photons become 32.8 nm / 64 px of electrons ... per 300 keV."""
    far = {"distance": {"value": 1, "unit": "m"}, "detector_pixel": {"value": 30, "unit": "um"}}
    whole = layout(**far, energy={"value": 300, "unit": "keV"})
    del whole["voltage"]
    photons = opened(folder, whole)
    assert any("--set voltage=300" in note for note in photons.notes)
    assert photons.pixel_m[0] == pytest.approx(4.1328e-12 / (64 * 3e-5), rel=1e-4)
    electrons = opened(folder, whole, voltage=300.0)
    assert electrons.pixel_m[0] == pytest.approx(1.9687e-12 / (64 * 3e-5), rel=1e-4)
    ratio = (electrons.positions[14] - electrons.positions[0]) / (photons.positions[14] - photons.positions[0])
    np.testing.assert_allclose(ratio, 4.1328 / 1.9687, rtol=1e-4)


def test_spatial_frequency_needs_no_voltage(folder):
    frequency = {"value": stem.ANGLE_PER_PIXEL / stem.WAVELENGTH_M * 1e-10, "unit": "A^-1"}
    whole = layout(detector_pixel=frequency)
    del whole["voltage"]
    np.testing.assert_allclose(opened(folder, whole).pixel_m, stem.PIXEL_M, rtol=1e-4)


def test_positions_of_another_file(folder, scan):
    whole = layout("/flat")
    whole["positions"] = {"file": "places.h5", "y": "/y", "x": "/x", "unit": "nm"}
    check(opened(folder, whole), scan)
    whole["positions"]["file"] = "nowhere.h5"
    with pytest.raises(PtychoError, match="nowhere.h5: no such file"):
        opened(folder, whole)


def test_frames_of_any_dataset_and_of_bare_arrays(folder, scan):
    """``--frames FILE:DATASET``, and a ``.npy``, for positions of another file."""
    whole = layout("/corner")
    whole["frames"]["order"] = "YXyx"
    np.save(folder / "f.npy", scan.frames)
    for frames in (f"{folder / 'd.h5'}:/cube", str(folder / "f.npy")):
        check(opened(folder, whole, frames=frames), scan)
    with pytest.raises(PtychoError, match="d.h5: /nothing: not there"):
        opened(folder, whole, frames=f"{folder / 'd.h5'}:/nothing")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"positions": {"raster": {"step": 0}}}, "positive numbers are needed"),
        ({"positions": {"raster": {"step": 1, "unit": "s"}}}, "a length or px is needed"),
        ({"positions": {"raster": {**RASTER, "shape": [4, 4]}}}, r"shape \[4, 4\] given; there are 3 x 5 frames"),
        ({"frames": {"dataset": "/flat"}}, r"15 frames in one row; shape, \[rows, columns\], is needed"),
        ({"frames": {"dataset": "/flat", "order": "YXyx"}}, "shape"),
        ({"voltage": {"value": 300}, "particle": "photon"}, "no particle but electron"),
        ({"voltage": {"value": -300}}, "voltage: -300000"),
    ],
)
def test_wrong_maps_are_one_sentence(folder, change, complaint):
    with pytest.raises(PtychoError, match=complaint) as found:
        opened(folder, layout() | change)
    assert "\n" not in str(found.value)
