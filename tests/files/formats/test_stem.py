"""4D-STEM: the files of py4DSTEM, PtyRAD, quantem and the EMPAD on their raster, and their geometry."""

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.config import DataConfig
from ptychopinn.errors import PtychoError
from ptychopinn.files.formats import registry
from ptychopinn.files.geometry.microscope import Microscope
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.files.reading import open_record, open_scan, read
from ptychopinn.files.record import Reading
from tests import stem

SAID = {"voltage": 300.0, "q_pixel": "1.25 mrad", "scan_step": "0.7 A"}
"""What a user says of a file that says nothing."""


@pytest.fixture(scope="module")
def scan() -> stem.Stem:
    return stem.simulate(3, 5, dose=500)


@pytest.fixture
def cube(scan, tmp_path) -> Path:
    return stem.write_py4dstem(tmp_path / "cube.h5", scan.frames, scan.probe)


def check(path: Path, scan: stem.Stem, **settings: object) -> None:
    """Frames row by row, patch centres half a frame from the corners, the object pixel of the wavelength."""
    record = open_record(path, DataConfig(**settings))
    np.testing.assert_array_equal(np.asarray(record.counts), scan.frames.reshape(-1, stem.N, stem.N))
    np.testing.assert_allclose(record.positions, scan.corners + stem.N / 2, rtol=0, atol=2e-3)
    np.testing.assert_allclose(record.pixel_m, stem.PIXEL_M, rtol=1e-4)


def test_datacube_has_its_raster_and_probe(cube, scan):
    check(cube, scan)
    np.testing.assert_array_equal(open_scan(cube, DataConfig()).probe[0], scan.probe)
    assert open_record(cube, DataConfig()).format == "py4dstem"


def test_large_cube_stays_in_its_file(cube, scan):
    record = read(cube, Reading(in_memory=0))
    rows = np.array([14, 0, 7, 3])
    np.testing.assert_array_equal(record.counts[rows], scan.frames.reshape(-1, stem.N, stem.N)[rows])


@pytest.mark.parametrize(("degrees", "transpose"), [(30.0, False), (-75.0, True), (0.0, True)])
def test_rotation_and_transposition_of_the_file(scan, tmp_path, degrees, transpose):
    turned = stem.raster(3, 5, degrees, transpose)
    calibration = {"QR_rotation_degrees": degrees, "QR_flip": transpose}
    path = stem.write_py4dstem(tmp_path / "t.h5", scan.frames, scan.probe, **calibration)
    np.testing.assert_allclose(open_record(path, DataConfig()).positions, turned + stem.N / 2, rtol=0, atol=2e-3)


def test_rotation_that_is_given_wins(scan, tmp_path):
    path = stem.write_py4dstem(tmp_path / "t.h5", scan.frames, QR_rotation_degrees=10.0)
    record = open_record(path, DataConfig(scan_rotation=30.0))
    np.testing.assert_allclose(record.positions, stem.raster(3, 5, 30.0) + stem.N / 2, rtol=0, atol=2e-3)
    assert "turned by 30 degrees" in " ".join(record.notes)


def test_angles_need_a_voltage(scan, tmp_path):
    path = stem.write_py4dstem(tmp_path / "m.h5", scan.frames, q=(1.25, "mrad"))
    with pytest.raises(PtychoError, match="m.h5: detector pixel in mrad: .*voltage=KV"):
        open_record(path, DataConfig())
    check(path, scan, voltage=300.0)
    kept = stem.write_py4dstem(tmp_path / "k.h5", scan.frames, q=(1.25, "mrad"), energy=300e3)
    check(kept, scan)


def test_axes_of_the_cube_where_nothing_is_calibrated(scan, tmp_path):
    path = stem.write_py4dstem(tmp_path / "a.h5", scan.frames)
    with h5py.File(path, "a") as file:
        del file["datacube_root/metadatabundle"]
    check(path, scan)
    uncalibrated = stem.write_py4dstem(tmp_path / "u.h5", scan.frames, q=(1, "pixels"), r=(1, "pixels"))
    with pytest.raises(PtychoError, match="u.h5: the step of the raster is not known; give --set scan_step="):
        open_record(uncalibrated, DataConfig())
    check(uncalibrated, scan, **SAID)
    with pytest.raises(PtychoError, match="size of an object pixel is not known"):
        open_record(uncalibrated, DataConfig(scan_step="0.7 A"))
    steps = open_record(uncalibrated, DataConfig(scan_step="4 px x 3 px".replace(" px x", " x"))).positions
    np.testing.assert_allclose(steps[6] - steps[0], [4, 3])


def test_several_cubes_are_named(cube):
    with h5py.File(cube, "a") as file:
        file.copy("datacube_root/datacube", "datacube_root/second")
    with pytest.raises(PtychoError, match="datacube_root/datacube/data, datacube_root/second/data; one is needed"):
        open_record(cube, DataConfig())


@pytest.mark.parametrize("flat", [False, True])
def test_measurements_of_ptyrad(scan, tmp_path, flat):
    with h5py.File(tmp_path / "meas_scan.hdf5", "w") as file:
        frames = scan.frames.reshape(-1, stem.N, stem.N) if flat else scan.frames
        file.create_dataset("meas", data=frames.astype(np.float32), compression="gzip")
    check(tmp_path / "meas_scan.hdf5", scan, **SAID, **({"scan_shape": "3x5"} if flat else {}))
    if flat:
        with pytest.raises(PtychoError, match="15 frames in one row; give --set scan_shape=ROWSxCOLUMNS"):
            open_record(tmp_path / "meas_scan.hdf5", DataConfig(**SAID))
        with pytest.raises(PtychoError, match="15 frames, but scan_shape says 4 x 4"):
            open_record(tmp_path / "meas_scan.hdf5", DataConfig(**SAID, scan_shape="4x4"))


def test_bare_array(scan, tmp_path):
    np.save(tmp_path / "a.npy", scan.frames)
    check(tmp_path / "a.npy", scan, **SAID)
    np.save(tmp_path / "c.npy", np.ones((3, 3)))
    with pytest.raises(PtychoError, match=r"c.npy: shape \(3, 3\), dtype float64; real frames"):
        open_record(tmp_path / "c.npy", DataConfig(**SAID))


def test_empad(tmp_path):
    frames = np.random.default_rng(0).normal(3, 2, (6, 128, 128)).astype(np.float32)
    path = stem.write_empad(tmp_path / "scan_x3_y2.raw", frames)
    record = open_record(path, DataConfig(**SAID))
    assert record.format == "empad"
    np.testing.assert_array_equal(np.asarray(record.counts), np.maximum(frames, 0))
    assert "2 x 3 frames" in record.notes[0]
    assert "floats" in record.notes[1]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(PtychoError, match="frames of the EMPAD have 66560 bytes each"):
        open_record(path, DataConfig(**SAID))


def test_dataset_of_quantem(scan, tmp_path):
    zarr = pytest.importorskip("zarr")
    path, folder = tmp_path / "q.zip", tmp_path / "store"
    group = zarr.group(store=zarr.storage.LocalStore(folder))
    for name, values in (("_array", scan.frames), ("_sampling", np.array([0.7, 0.7, 1.25, 1.25]))):
        group.create_array(name, shape=values.shape, dtype=values.dtype)[:] = values
    units = group.create_group("_units")
    units.attrs.update({"_container_type": "list", "0": "A", "1": "A", "2": "mrad", "3": "mrad"})
    group.create_group("_metadata").attrs.update({"r_to_q_rotation_cw_deg": 30.0})
    with zipfile.ZipFile(path, "w") as archive:
        for file in filter(Path.is_file, folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    record = open_record(path, DataConfig(voltage=300.0))
    np.testing.assert_array_equal(np.asarray(record.counts), scan.frames.reshape(-1, stem.N, stem.N))
    np.testing.assert_allclose(record.positions, stem.raster(3, 5, 30.0) + stem.N / 2, rtol=0, atol=2e-3)
    check(path, scan, voltage=300.0, scan_rotation=0.0)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"scan_step": 4}, "scan_step: '4' given; a number and its unit are needed"),
        ({"scan_step": "0.4"}, "scan_step: '0.4' given; a number and its unit are needed, as '0.4 nm' or '4 px'"),
        ({"scan_step": "-1 nm"}, "scan_step: '-1 nm' given; it must be positive"),
        ({"q_pixel": "1 nm"}, "q_pixel: '1 nm' given; a number and its unit are needed"),
        ({"scan_shape": "15"}, "scan_shape: '15' given; rows x columns are needed"),
        ({"defocus": "15 nm"}, "defocus: has no effect without semiangle"),
        ({"voltage": 300.0, "semiangle": 90.0}, "semiangle: 90 mrad given; the frames reach to 40 mrad only"),
        ({"semiangle": 20.0}, "semiangle: voltage is needed"),
    ],
)
def test_wrong_settings_are_one_sentence(cube, settings, complaint):
    with pytest.raises(PtychoError, match=complaint):
        open_record(cube, DataConfig(**settings))


def test_raster_settings_are_refused_elsewhere(tiny_scan, tmp_path):
    from ptychopinn.files.formats.npz import write_npz

    write_npz(tmp_path / "s.npz", tiny_scan)
    with pytest.raises(PtychoError, match="scan_rotation: has no effect"):
        open_record(tmp_path / "s.npz", DataConfig(scan_rotation=3.0))


def test_probe_of_a_lens_is_the_simulated_one(cube, scan):
    """Up to the soft edge of its aperture."""
    probe = open_record(cube, DataConfig(voltage=300.0, semiangle=20.0, defocus="150 A")).probe[0]
    overlap = np.vdot(probe, scan.probe) / np.linalg.norm(probe) / np.linalg.norm(scan.probe)
    assert overlap.real > 0.98
    assert np.linalg.norm(probe) ** 2 == pytest.approx(scan.frames.sum() / 15, rel=1e-4)


@pytest.mark.parametrize("name", ["e.npz", "e.h5", "e.cxi"])
def test_electrons_stay_electrons(cube, tmp_path, name):
    kinds = {".npz": "npz", ".h5": "ptychodus-product", ".cxi": "cxi"}
    record = open_record(cube, DataConfig(voltage=300.0))
    to = kinds[Path(name).suffix]
    registry.write(tmp_path / name, to, registry.prepared(record, to, Geometry(dummy=to != "npz")))
    again = open_record(tmp_path / name, DataConfig())
    assert (again.particle, again.energy_eV) == ("electron", 300e3)
    assert again.wavelength_m == pytest.approx(1.9687e-12, rel=1e-4)
    np.testing.assert_allclose(again.pixel_m, record.pixel_m, rtol=1e-9)
    np.testing.assert_allclose(again.positions, record.positions, rtol=0, atol=1e-6)


def test_photon_programs_read_the_wavelength(cube, tmp_path):
    record = open_record(cube, DataConfig(voltage=300.0))
    made = registry.prepared(record, "ptychodus-product", Geometry(dummy=True))
    assert any("knows photons only" in note for note in made.notes)
    registry.write(tmp_path / "e.h5", "ptychodus-product", made)
    with h5py.File(tmp_path / "e.h5") as file:
        assert 1.239841984e-6 / file.attrs["photon_energy_eV"] == pytest.approx(1.9687e-12, rel=1e-4)
        assert file.attrs["electron_energy_eV"] == 300e3


@pytest.mark.parametrize("given", [None, 300.0])
def test_energy_of_electrons_in_a_file_for_photons(tmp_path, given):
    """A CXI file with 300 keV, 1 m, 30 um: the object pixel of electrons is less than half as large."""
    with h5py.File(tmp_path / "a.cxi", "w") as file:
        file["cxi_version"] = 160
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"] = np.ones((4, 64, 64), np.uint16)
        detector["distance"], detector["x_pixel_size"], detector["y_pixel_size"] = 1.0, 3e-5, 3e-5
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        file["entry_1/instrument_1/source_1/energy"] = 300e3 * 1.602176634e-19
        steps = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * 1e-8
        file["entry_1/sample_1/geometry_1/translation"] = np.pad(steps, ((0, 0), (0, 1)))
    record = open_record(tmp_path / "a.cxi", DataConfig(voltage=given))
    if given is None:
        assert any(note.startswith("Warning: ") and "--set voltage=300" in note for note in record.notes)
        assert record.pixel_m[0] == pytest.approx(4.1328e-12 / (64 * 3e-5), rel=1e-4)
    else:
        assert (record.particle, record.energy_eV) == ("electron", 300e3)
        assert record.pixel_m[0] == pytest.approx(1.9687e-12 / (64 * 3e-5), rel=1e-4)
    moved = np.abs(record.positions[3] - record.positions[0]) * record.pixel_m
    np.testing.assert_allclose(moved, 1e-8, rtol=1e-6)


def test_microscope_has_the_settings_of_the_config():
    assert set(Microscope._fields) <= set(DataConfig.model_fields)


def test_product_of_ptychodus_in_npz(tmp_path):
    """The same values as in the HDF5 product, which holds two of the names as attributes of its images."""
    size, pixel = 32, 1e-8
    values = {
        **{"name": "a", "comments": "b", "detector_object_distance_m": 1.0, "photon_energy_eV": 8e3, "far_field": True},
        **{"probe": np.ones((1, 2, size, size), np.complex64), "object": np.ones((1, 80, 90), np.complex64)},
        **{"object_center_x_m": 1e-7, "object_center_y_m": -1e-7, "object_pixel_width_m": pixel},
        **{"object_pixel_height_m": pixel, "probe_pixel_width_m": pixel, "probe_pixel_height_m": pixel},
        **{"probe_position_indexes": np.arange(3), "probe_position_x_m": np.array([0, 1e-7, 2e-7])},
        **{"probe_position_y_m": np.array([0, -1e-7, 1e-7]), "loss_epochs": [0, 1], "loss_values": [2.0, 1.0]},
        "object_layer_spacing_m": [],
    }
    np.savez(tmp_path / "p.npz", **values)
    record = read(tmp_path / "p.npz")
    np.testing.assert_allclose(record.positions[:, 1], 45 + np.array([-10, 0, 10]), atol=1e-9)
    np.testing.assert_allclose(record.positions[:, 0], 40 + np.array([10, 0, 20]), atol=1e-9)
    assert record.probe.shape == (2, size, size)
    assert (record.energy_eV, record.distance_m, record.extra["comments"]) == (8e3, 1.0, "b")
    np.testing.assert_array_equal(record.extra["loss_values"], [2.0, 1.0])
    del values["object_center_x_m"]
    np.savez(tmp_path / "p.npz", **values)
    with pytest.raises(PtychoError, match="p.npz: object: no attribute center_x_m"):
        read(tmp_path / "p.npz")
