"""CXI files around the frames of a detector."""

from collections.abc import Callable

import h5py
import hdf5plugin
import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.files import reading
from ptychopinn.files.record import Reading
from ptychopinn.scan.frames import Frames
from tests.files.writers import (
    DISTANCE_M,
    PITCH_M,
    WAVELENGTH_M,
    assert_same,
    metres,
)

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
