"""Scans of fold_slice and pty-chi."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.errors import PtychoError
from ptychopinn.files import reading
from ptychopinn.files.record import Reading
from tests.files.writers import (
    DISTANCE_M,
    ENERGY_KEV,
    WAVELENGTH_M,
    assert_same,
    metres,
)


def test_a_mat_file_with_all(scan, pixel, tmp_path):
    """MATLAB 7.3: a user block, axes in reverse, vectors as matrices, complex numbers in pairs."""
    y, x = -metres(scan, pixel).T
    probe = np.zeros(scan.probe.shape, [("real", "f8"), ("imag", "f8")])
    probe["real"], probe["imag"] = scan.probe.real, scan.probe.imag
    with h5py.File(tmp_path / "all.mat", "w", userblock_size=512) as file:
        file["dp"], file["probe"] = scan.counts.swapaxes(1, 2).astype(np.uint16), probe.swapaxes(1, 2)
        file["ppX"], file["ppY"], file["dx"] = x[None], y[None], [[pixel]]
    with (tmp_path / "all.mat").open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + bytes([0, 2]) + b"IM")
    found = read_scan(tmp_path / "all.mat", flip_x=True, flip_y=True)
    assert_same(found, scan)
    assert "A file of MATLAB" in found.notes[1]


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
