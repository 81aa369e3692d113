"""Every format: recognised, read, and there and back with nothing lost."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptychopinn.errors import PtychoError
from ptychopinn.files import reading
from ptychopinn.files.formats import registry
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.files.record import Reading, Record, scan_of
from ptychopinn.scan.frames import Frames
from tests.helpers import DATA, RUN1084

FORMATS = DATA / "formats"
needs_data = pytest.mark.skipif(not FORMATS.is_dir(), reason="PTYCHOPINN_DATA names no folder with formats/")

GEOMETRY = Geometry(pixel_size=2e-8, energy_eV=8e3, distance_m=0.75)


def example(seed: int = 0, size: int = 16, count: int = 12, shape: tuple[int, int] = (53, 60)) -> Record:
    """A record with all that an NPZ scan can hold."""
    rng = np.random.default_rng(seed)

    def noise(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)

    return Record(
        "npz",
        counts=rng.poisson(9, (count, size, size)).astype(np.uint16),
        positions=rng.uniform(size / 2, np.array(shape) - size / 2, (count, 2)),
        probe=noise(2, size, size),
        object=noise(*shape),
        good_pixels=rng.random((size, size)) < 0.9,
    )


def there_and_back(record: Record, folder: Path, to: str, given: Geometry = GEOMETRY) -> Record:
    """NPZ -> another format -> NPZ, by files."""
    first, middle, last = folder / "first.npz", folder / f"middle{'.cxi' if to == 'cxi' else '.h5'}", folder / "l.npz"
    registry.write(first, "npz", registry.prepared(record, "npz", given))
    registry.write(middle, to, registry.prepared(reading.read(first), to, given))
    registry.write(last, "npz", registry.prepared(reading.read(middle), "npz", given))
    return reading.read(last)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 999),
    size=st.sampled_from([8, 10, 16]),
    shape=st.tuples(st.integers(30, 61), st.integers(30, 61)),
    pixel=st.floats(1e-10, 1e-6),
    to=st.sampled_from(["ptychodus-product", "cxi"]),
)
def test_npz_there_and_back(tmp_path_factory, seed, size, shape, pixel, to):
    record = example(seed, size, shape=shape)
    again = there_and_back(record, tmp_path_factory.mktemp("there"), to, GEOMETRY._replace(pixel_size=pixel))
    np.testing.assert_array_equal(again.counts, record.counts * record.good_pixels)
    assert again.counts.dtype == (np.int32 if to == "cxi" else record.counts.dtype)  # cdtools reads signed ones only
    np.testing.assert_allclose(again.positions, record.positions, rtol=0, atol=1e-9)
    for name in ("probe", "object", "good_pixels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(record, name))
    assert again.pixel_m == pytest.approx((pixel, pixel), rel=1e-12)
    assert (again.energy_eV, again.distance_m) == pytest.approx((8e3, 0.75), rel=1e-9)


@pytest.mark.parametrize("to", ["ptychodus-product", "cxi"])
def test_what_other_formats_know_is_kept(tmp_path, to):
    rng = np.random.default_rng(1)
    layers = rng.standard_normal((3, 40, 44)) + 1j
    extra = {
        "loss_epochs": np.arange(4),
        "loss_values": rng.random(4),
        "opr_modes": rng.standard_normal((2, 2, 16, 16)).astype(np.complex64),
        "opr_weights": rng.random((12, 3)),
        "object_layers": layers,
        "object_layer_spacing_m": np.array([1e-6, 2e-6]),
        "probe_position_indexes": np.arange(100, 112),
        "comments": "of the day",
        "exposure_time_s": 0.25,
    }
    again = there_and_back(replace(example(), object=layers.prod(axis=0), extra=extra), tmp_path, to)
    for name, value in extra.items():
        np.testing.assert_array_equal(again.extra[name], value)
    np.testing.assert_allclose(again.object, layers.prod(axis=0))


@pytest.mark.parametrize("to", ["ptychodus-product", "cxi"])
def test_placeholders_are_called_so_and_do_not_become_measurements(tmp_path, to):
    with pytest.raises(PtychoError, match="--pixel-size M, or --dummy-geometry"):
        registry.prepared(example(), to, Geometry())
    record = registry.prepared(example(), to, Geometry(dummy=True))
    assert record.extra["comments"] == "ptychopinn: placeholders, not measured: pixel, energy, distance."
    again = there_and_back(example(), tmp_path, to, Geometry(dummy=True))
    assert (again.pixel_m, again.energy_eV, again.distance_m) == (None, None, None)
    np.testing.assert_allclose(again.positions, example().positions, rtol=0, atol=1e-9)
    only_pixel = there_and_back(example(), tmp_path, to, Geometry(pixel_size=3e-9))
    assert (only_pixel.pixel_m, only_pixel.energy_eV) == ((3e-9, 3e-9), None)


@pytest.mark.parametrize("to", ["ptychodus-product", "cxi"])
def test_large_stacks_stay_in_their_file(tmp_path, to):
    path = tmp_path / ("scan.cxi" if to == "cxi" else "scan.h5")
    registry.write(path, to, registry.prepared(example(), to, GEOMETRY))
    whole, lazy = (scan_of(reading.read(path, Reading(in_memory=limit))) for limit in (2**30, 0))
    assert isinstance(lazy.counts, Frames)
    assert not isinstance(whole.counts, Frames)
    index = np.array([7, 3, 3, 11, 0])
    for scan in (lazy, lazy.subset(slice(None, None, 2)), lazy.subset(index), lazy.subset(index).crop(8)):
        plain = whole.subset(scan.numbers) if scan.N == whole.N else whole.subset(scan.numbers).crop(8)
        np.testing.assert_array_equal(scan.frames(slice(None)), plain.frames(slice(None)))
        np.testing.assert_array_equal(scan.frames(np.array([2, 0])), plain.frames(np.array([2, 0])))
        assert scan.photons == plain.photons
    again = reading.read(path, Reading(in_memory=0))
    registry.write(tmp_path / "again.npz", "npz", registry.prepared(again, "npz", GEOMETRY))
    np.testing.assert_array_equal(reading.read(tmp_path / "again.npz").counts, whole.counts)


@needs_data
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ptychodus_1.7_product.h5", "ptychodus-product"),
        ("old_spec_product.h5", "ptychodus-product"),
        ("ptychodus_1.7_training.h5", "ptychodus-training"),
        ("ptychodus_1.7_export.npz", "npz"),
    ],
)
def test_files_of_ptychodus(name, kind):
    record = reading.read(FORMATS / name)
    assert record.format == kind
    # All four hold the same scan: row 0 of the object lies 100 pixels above its centre.
    y, x = np.linspace(60, 140, 10), np.linspace(85, 125, 10)
    np.testing.assert_allclose(record.positions[0], [y[0], x[0]], atol=1e-9)
    np.testing.assert_allclose(record.positions[-1], [y[-1], x[-1]], atol=1e-9)
    assert record.object.shape == (200, 210)
    assert record.probe.shape == (1, 64, 64)
    if kind == "ptychodus-product":
        assert record.energy_eV == 8000
        assert record.extra["opr_modes"].shape == (1, 1, 64, 64)
        assert record.extra.get("opr_weights", np.ones((10, 2))).shape == (10, 2)
        assert len(record.extra["loss_values"]) == len(record.extra["loss_epochs"]) > 1
    else:
        assert scan_of(record).counts.dtype == np.uint16
        assert scan_of(record).photons == 12257
    if name.startswith("old"):
        assert record.extra["mass_attenuation_m2_per_kg"] == 12.5


@needs_data
def test_near_field_data_are_refused_by_name(tmp_path):
    record = reading.read(FORMATS / "PETRAIII_P25_Near_Field_Ptycho.cxi")
    assert record.counts.shape == (200, 100, 100)
    assert record.pixel_m == pytest.approx((1.9946e-8, 1.9946e-8), rel=1e-4)
    assert record.energy_eV == pytest.approx(12658, rel=1e-4)
    assert (~record.good_pixels).sum() == 5
    # The first sample translation, -53.4 um in x, is the largest but for 9.4 um.
    with h5py.File(FORMATS / "PETRAIII_P25_Near_Field_Ptycho.cxi") as file:
        moved = file["entry_1/sample_1/geometry_1/translation"][()].astype(float)
    np.testing.assert_allclose(np.ptp(record.positions, axis=0) * 1.9946e-8, np.ptp(moved[:, 1::-1], axis=0), rtol=1e-4)
    assert (np.diff(record.positions[:, 1])[0] > 0) == (np.diff(moved[:, 0])[0] > 0)
    with pytest.raises(PtychoError, match="near-field data"):
        scan_of(record)


@needs_data
def test_reconstructed_object_probe_and_positions_come_back_with_identical_pixels(tmp_path):
    record = reading.read(RUN1084)
    again = there_and_back(record, tmp_path, "ptychodus-product", Geometry(pixel_size=1e-8))
    np.testing.assert_array_equal(again.object, record.object)
    np.testing.assert_array_equal(again.probe, record.probe)
    np.testing.assert_allclose(again.positions, record.positions, rtol=0, atol=1e-9)
    assert again.object.dtype == record.object.dtype == np.complex128


@needs_data
def test_the_siemens_star_is_read_as_it_is():
    scan = scan_of(reading.read(DATA / "siemens_star.npz"))
    assert (len(scan), scan.N, scan.counts.dtype, len(scan.probe)) == (516, 128, np.uint16, 2)
    assert scan.photons == pytest.approx(461212.9, rel=1e-6)
