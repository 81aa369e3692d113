"""Files as other programs write them: every layout is built here by the rules of its program."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.errors import PtychoError
from ptychopinn.files import reading
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.files.record import Reading
from ptychopinn.scan.frames import Frames
from ptychopinn.scan.scan import Scan
from tests.files.writers import (
    DISTANCE_M,
    ENERGY_KEV,
    PITCH_M,
    WAVELENGTH_M,
    WRITERS,
    metres,
    write_nsls2,
    write_ptyd,
    write_training,
)


@pytest.fixture(scope="module")
def scan(tiny_scan: Scan) -> Scan:
    """Frames whose rows and columns, like the positions, cannot be exchanged."""
    return tiny_scan.subset(np.arange(0, len(tiny_scan), 3))


@pytest.fixture
def pixel(scan: Scan) -> float:
    """Metres of an object pixel with the geometry above."""
    return WAVELENGTH_M * DISTANCE_M / (scan.N * PITCH_M)


@pytest.fixture
def probe(scan: Scan, tmp_path: Path) -> str:
    """A file with the probe, for layouts without one."""
    write_npz(tmp_path / "probe.npz", scan)
    return str(tmp_path / "probe.npz")


def corner_first(frames: np.ndarray) -> np.ndarray:
    return np.fft.ifftshift(frames, axes=(1, 2))


def assert_same(found: Scan, scan: Scan) -> None:
    """The same frames at the same places, but for where the image begins; the same probe."""
    np.testing.assert_array_equal(found.counts, scan.counts)
    moved, known = (each.positions - each.positions[0] for each in (found, scan))
    np.testing.assert_allclose(moved, known, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.probe, scan.probe)


def test_ptypy(scan, pixel, probe, tmp_path):
    write_ptyd(tmp_path / "scan.ptyd", scan, pixel)
    found = read_scan(tmp_path / "scan.ptyd", probe=probe)
    assert_same(found, scan)
    assert found.pixel_size_m == pytest.approx(pixel)
    assert found.good_pixels.all()
    assert found.notes == (f"Probe of {probe}.",)


def test_ptypy_weights_mark_bad_pixels(scan, pixel, probe, tmp_path):
    """Common ones in ``meta``, or of single frames, of which an empty array is none."""
    common, single = np.ones((scan.N, scan.N)), np.ones((10, scan.N, scan.N))
    common[3, 4], single[7, 5, 6] = 0, 0
    write_ptyd(tmp_path / "scan.ptyd", scan, pixel, weight2d=common)
    with h5py.File(tmp_path / "scan.ptyd", "r+") as file:
        file["chunks/0/weights"][...] = single
        del file["chunks/1/weights"]
        file["chunks/1/weights"] = np.zeros(0)
    found = read_scan(tmp_path / "scan.ptyd", probe=probe)
    assert np.argwhere(~found.good_pixels).tolist() == [[3, 4], [5, 6]]
    assert not found.frames(slice(None))[:, 5, 6].any()


def test_ptypy_chunks_in_files_of_their_own(scan, pixel, probe, tmp_path):
    """``save: link`` leaves external links; frames are read through them, also when they stay in their files."""
    write_ptyd(tmp_path / "whole.ptyd", scan, pixel)
    with h5py.File(tmp_path / "whole.ptyd") as whole, h5py.File(tmp_path / "scan.ptyd", "w") as file:
        whole.copy("meta", file)
        for name in whole["chunks"]:
            with h5py.File(tmp_path / f"scan.ptyd.part00{name}", "w") as part:
                for key in whole[f"chunks/{name}"]:
                    whole.copy(f"chunks/{name}/{key}", part)
            file[f"chunks/{name}"] = h5py.ExternalLink(f"scan.ptyd.part00{name}", "/")
    assert_same(read_scan(tmp_path / "scan.ptyd", probe=probe), scan)
    lazy = reading.read(tmp_path / "scan.ptyd", Reading(in_memory=0)).counts
    assert isinstance(lazy, Frames)
    np.testing.assert_array_equal(lazy[np.array([20, 3])], scan.counts[[20, 3]])


def test_ptypy_says_where_it_differs(scan, pixel, tmp_path):
    write_ptyd(tmp_path / "near.ptyd", scan, pixel, propagation=b"nearfield")
    with pytest.raises(PtychoError, match=r"near-field data \(meta/propagation is nearfield\)"):
        read_scan(tmp_path / "near.ptyd")
    write_ptyd(tmp_path / "bare.ptyd", scan, pixel, energy=None)
    with pytest.raises(PtychoError, match="meta/energy: not there; a positive number is needed"):
        read_scan(tmp_path / "bare.ptyd")
    write_ptyd(tmp_path / "shifted.ptyd", scan, pixel, center=[12.0, 20.0])
    notes = reading.read(tmp_path / "shifted.ptyd").notes
    assert notes == ("meta/center: [12.0, 20.0]; the zero frequency is taken at [16, 16].",)


@pytest.mark.parametrize("older", [False, True], ids=["newer", "with an axis of views"])
def test_tike(scan, tmp_path, older):
    """Zero frequency at [0, 0]; ``scan`` is the corner of a patch; the probe is (1, 1, modes, N, N)."""
    data, corners = corner_first(scan.counts).astype(np.float32), scan.positions - scan.N / 2
    psi, probe = scan.object, scan.probe[None, None]
    arrays = {"data": data, "scan": corners, "psi": psi, "probe": probe[None] if older else probe}
    if older:
        arrays |= {name: arrays[name][None] for name in ("data", "scan", "psi")}
    np.savez(tmp_path / "tike.npz", **arrays)
    found = read_scan(tmp_path / "tike.npz")
    assert_same(found, scan)
    np.testing.assert_array_equal(found.positions, scan.positions)
    np.testing.assert_array_equal(found.object, scan.object)
    with pytest.raises(PtychoError, match="data: not there; a file of tike has data and scan"):
        read_scan(probe_only(tmp_path, scan), format="tike")


def probe_only(folder: Path, scan: Scan) -> Path:
    np.savez(folder / "probe.npz", probeGuess=scan.probe)
    return folder / "probe.npz"


def test_fold_slice(scan, pixel, probe, tmp_path):
    """``<stem>_dp.hdf5`` has the frames, ``<stem>_para.hdf5`` columns of stage positions: minus those of the beam."""
    y, x = -metres(scan, pixel).T
    with h5py.File(tmp_path / "data_roi0_dp.hdf5", "w") as file:
        file.create_dataset("dp", data=scan.counts, compression="gzip")
    with h5py.File(tmp_path / "data_roi0_para.hdf5", "w") as file:
        file["ppX"], file["ppY"] = x[:, None], y[:, None]
        file["lambda"], file["dx"], file["angle"] = [WAVELENGTH_M], [pixel], [0.0]
    how = {"frames": str(tmp_path / "data_roi0_dp.hdf5"), "probe": probe}
    found = read_scan(tmp_path / "data_roi0_para.hdf5", **how, flip_x=True, flip_y=True)
    assert_same(found, scan)
    assert found.pixel_size_m == pytest.approx(pixel)
    assert "--flip-x --flip-y" in found.notes[0]
    record = reading.read(tmp_path / "data_roi0_para.hdf5", Reading(frames=Path(how["frames"])))
    np.testing.assert_allclose(record.positions.min(axis=0), scan.N / 2)
    assert record.energy_eV == pytest.approx(1e3 * ENERGY_KEV)
    with pytest.raises(PtychoError, match="holds no frames: give them by --frames FILE"):
        read_scan(tmp_path / "data_roi0_para.hdf5")


def test_fold_slice_without_a_pixel_size_asks_for_it(scan, pixel, tmp_path):
    with h5py.File(tmp_path / "simulated.hdf5", "w") as file:
        file["ppY"], file["ppX"] = metres(scan, pixel).T
    with pytest.raises(PtychoError, match="dx: not there.*give --set pixel_size=METRES"):
        reading.read(tmp_path / "simulated.hdf5")
    record = reading.read(tmp_path / "simulated.hdf5", Reading(pixel_size=pixel))
    np.testing.assert_allclose(np.ptp(record.positions, axis=0), np.ptp(scan.positions, axis=0))


def test_pty_chi(scan, pixel, tmp_path):
    """Frames ``dp`` of one file; positions in metres from the middle of the object, probe and object of another."""
    centre = np.array(scan.object.shape) / 2
    with h5py.File(tmp_path / "dp_250.hdf5", "w") as file:
        file["dp"] = scan.counts
    with h5py.File(tmp_path / "metadata_250_truePos.hdf5", "w") as file:
        y, x = (scan.positions - centre).T * pixel
        file["probe_position_x_m"], file["probe_position_y_m"] = x, y
        file["probe_position_indexes"] = np.arange(len(scan))
        file["probe"], file["object"] = scan.probe, scan.object[None]
        sizes = {"pixel_height_m": pixel, "pixel_width_m": pixel, "center_x_m": 0.0, "center_y_m": 0.0}
        file["object"].attrs.update(sizes)
        file.attrs.update({"detector_object_distance_m": DISTANCE_M, "probe_energy_eV": 1e3 * ENERGY_KEV})
    found = read_scan(tmp_path / "metadata_250_truePos.hdf5", frames=str(tmp_path / "dp_250.hdf5"))
    assert_same(found, scan)
    np.testing.assert_allclose(found.positions, scan.positions, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(found.object, scan.object)


@pytest.mark.parametrize("attributes", [False, True], ids=["datasets", "attributes"])
def test_nsls2_counts(scan, pixel, probe, tmp_path, attributes):
    points = 1e6 * metres(scan, pixel)[:, ::-1].T
    write_nsls2(tmp_path / "scan.h5", "dp", scan.counts, points, attributes)
    found = read_scan(tmp_path / "scan.h5", probe=probe)
    assert_same(found, scan)
    assert found.pixel_size_m == pytest.approx(pixel)


@pytest.mark.parametrize("corner", [True, False], ids=["as the beamline writes", "zero frequency in the middle"])
def test_nsls2_amplitudes(scan, pixel, probe, tmp_path, corner):
    """Square roots, (n, x, y), the zero frequency at [0, 0]: rows and ``points[0]`` are one axis."""
    frames = np.sqrt(scan.counts.astype(np.float64))
    points = 1e6 * metres(scan, pixel).T
    write_nsls2(tmp_path / "scan.h5", "diffamp", corner_first(frames) if corner else frames, points)
    found = read_scan(tmp_path / "scan.h5", probe=probe)
    assert_same(replace(found, counts=np.rint(found.counts)), scan)
    assert ("zero frequency moved from [0, 0] to the middle" in " ".join(found.notes)) == corner
    assert "rows are x" in " ".join(found.notes)


FILTERS: dict[str, Callable[[], object]] = {
    "bitshuffle and LZ4": lambda: hdf5plugin.Bitshuffle(cname="lz4"),
    "bitshuffle and Zstandard": lambda: hdf5plugin.Bitshuffle(cname="zstd"),
    "LZ4": hdf5plugin.LZ4,
    "Zstandard": hdf5plugin.Zstd,
    "Blosc": hdf5plugin.Blosc,
    "Blosc 2": hdf5plugin.Blosc2,
}


@pytest.mark.parametrize("in_memory", [2**30, 0], ids=["read at once", "left in the file"])
@pytest.mark.parametrize("name", FILTERS)
def test_frames_that_a_detector_compressed(scan, pixel, tmp_path, name, in_memory):
    """A master file, as of an Eiger detector, links to compressed data in another file; a CXI file around them."""
    with h5py.File(tmp_path / "scan_data_000001.h5", "w") as file:
        shape = (1, scan.N, scan.N)
        file.create_dataset("entry/data/data", data=scan.counts, chunks=shape, **FILTERS[name]())
    with h5py.File(tmp_path / "scan.cxi", "w") as file:
        file["cxi_version"] = 160
        file["entry_1/data_1/data"] = h5py.ExternalLink("scan_data_000001.h5", "/entry/data/data")
        y, x = metres(scan, pixel).T
        file["entry_1/sample_1/geometry_1/translation"] = np.stack([x, y, 0 * x], axis=-1)
        detector = {"distance": DISTANCE_M, "x_pixel_size": PITCH_M, "y_pixel_size": PITCH_M}
        for key, value in detector.items():
            file[f"entry_1/instrument_1/detector_1/{key}"] = value
        file["entry_1/instrument_1/source_1/wavelength"] = WAVELENGTH_M
        file["entry_1/instrument_1/source_1/illumination"] = scan.probe
    record = reading.read(tmp_path / "scan.cxi", Reading(in_memory=in_memory))
    assert isinstance(record.counts, Frames) == (in_memory == 0)
    np.testing.assert_array_equal(np.asarray(record.counts), scan.counts)
    assert_same(read_scan(tmp_path / "scan.cxi"), scan)


def test_a_link_into_a_missing_file_is_named(scan, tmp_path):
    with h5py.File(tmp_path / "dp.h5", "w") as file:
        file["dp"] = h5py.ExternalLink("gone.h5", "/entry/data")
    with pytest.raises(PtychoError, match="dp.h5: dp: not there: it is a link to gone.h5, and that file is not there"):
        reading.read(tmp_path / "dp.h5")


def test_training_export(scan, pixel, tmp_path):
    write_training(tmp_path / "training.h5", scan, pixel)
    found = read_scan(tmp_path / "training.h5")
    assert_same(found, scan)
    np.testing.assert_allclose(found.positions, scan.positions, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_a_file_cut_short_is_one_sentence(scan, pixel, tmp_path, name, share):
    WRITERS[name](tmp_path / name, scan, pixel)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(PtychoError, match=rf"{name}: is no readable HDF5 file \(it is cut short: \d+ of \d+ bytes"):
        reading.read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("scan.ptyd", "meta/distance", None, "meta/distance: not there; a positive number is needed"),
        ("scan.ptyd", "meta/psize", [0.0], r"meta/psize: \[0.0\] given; one or two positive numbers"),
        ("scan.ptyd", "chunks/1/positions", None, "chunks/1/positions: not there"),
        ("scan.ptyd", "chunks/1/positions", np.ones((3, 2)), "chunks/1/positions: 3 entries for 10 frames"),
        ("scan.ptyd", "chunks/1/positions", np.full((10, 2), np.nan), "holds NaN or infinity, first in frame 10"),
        (
            "scan.ptyd",
            "chunks/0/weights",
            np.ones((8, 8)),
            r"chunks/0/weights: shape \(8, 8\); the frames are \(32, 32\)",
        ),
        ("scan.ptyd", "chunks/2/data", np.ones((2, 8, 8)), "frames of different sizes"),
        ("training.h5", "photon_energy_eV", None, "photon_energy_eV: not there"),
        ("training.h5", "photon_energy_eV", -1.0, "photon_energy_eV: -1 given; a positive energy is needed"),
        (
            "training.h5",
            "probe_position_x_px",
            np.ones(5),
            "probe_position_x_px, probe_position_y_px: 5 and 22 entries",
        ),
        ("training.h5", "probe", None, "probe: not there"),
        ("training.h5", "patterns", np.ones((22, 32)), r"patterns: shape \(22, 32\)"),
        ("training.h5", "bad_pixels", np.zeros((8, 8), bool), r"bad_pixels: shape \(8, 8\)"),
        ("para.h5", "ppX", np.ones(5), "ppX, ppY: 5 and 22 entries"),
        ("para.h5", "dx", -1.0, "dx: -1 given; a positive number is needed"),
        ("nsls2.h5", "z_m", None, "z_m: not there; a positive number is needed"),
        ("nsls2.h5", "points", np.ones((3, 22)), r"points: shape \(3, 22\); \(2, n\) with x and y in um"),
        (
            "nsls2.h5",
            "points",
            1e-3 * np.ones((2, 5)),
            r"positions: shape \(5, 2\); one \(y, x\) for each of 22 frames",
        ),
        ("nsls2.h5", "dp", np.ones((22, 32, 32), complex), "dp: shape .* real frames"),
    ],
)
def test_what_is_missing_or_wrong_is_one_sentence(scan, pixel, probe, tmp_path, name, key, value, words):
    WRITERS[name](tmp_path / name, scan, pixel)
    with h5py.File(tmp_path / name, "r+") as file:
        del file[key]
        if value is not None:
            file[key] = value
    with pytest.raises(PtychoError, match=words) as error:
        read_scan(tmp_path / name, probe=probe)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scan": np.ones((5, 2))}, r"positions: shape \(5, 2\)"),
        ({"scan": np.ones((22, 3))}, r"scan: shape \(22, 3\).* two numbers per frame"),
        ({"data": np.ones((32, 32))}, r"data: shape \(32, 32\)"),
        ({"probe": np.array("light")}, "probe: dtype <U5; complex numbers are needed"),
        ({"probe": None}, "holds no probe; give one by --probe FILE"),
    ],
)
def test_a_wrong_file_of_tike_is_one_sentence(scan, tmp_path, changes, words):
    arrays = {"data": scan.counts, "scan": scan.positions, "probe": scan.probe} | changes
    np.savez(tmp_path / "tike.npz", **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(PtychoError, match=words):
        read_scan(tmp_path / "tike.npz")
