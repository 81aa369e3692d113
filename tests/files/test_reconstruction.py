"""Reconstructions: HDF5 and NPZ say the same."""

import h5py
import numpy as np
import pytest

from ptychopinn.errors import RunFailedError
from ptychopinn.files.reconstruction import write_reconstruction

ATTRIBUTES = {"pixel_size_m": 1.5e-8, "deviance_per_pixel": 1.02, "command": "infer"}


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "object": (rng.standard_normal((7, 9)) + 1j * rng.standard_normal((7, 9))).astype(np.complex64),
        "origin": np.array([-3, 12]),
        "coverage": rng.random((7, 9)).astype(np.float32),
        "positions": rng.random((5, 2)),
    }


def test_both_files_hold_what_was_given(tmp_path):
    hdf5, npz = write_reconstruction(tmp_path / "image", arrays(), ATTRIBUTES)
    with h5py.File(hdf5) as h5, np.load(npz, allow_pickle=False) as file:
        assert set(h5) == set(arrays())
        assert set(h5.attrs) == set(ATTRIBUTES)
        assert set(file.files) == {*arrays(), *ATTRIBUTES}
        for name, value in arrays().items():
            for stored in (h5[name][()], file[name]):
                assert stored.dtype == value.dtype
                np.testing.assert_array_equal(stored, value)
        for name, scalar in ATTRIBUTES.items():
            assert h5.attrs[name] == file[name].item() == scalar
    assert sorted(entry.name for entry in hdf5.parent.iterdir()) == ["reconstruction.h5", "reconstruction.npz"]


def test_writing_again_replaces_both(tmp_path):
    write_reconstruction(tmp_path, arrays(), ATTRIBUTES)
    hdf5, npz = write_reconstruction(tmp_path, {"origin": np.array([1, 2])}, {})
    with h5py.File(hdf5) as h5, np.load(npz) as file:
        assert (list(h5), file.files) == (["origin"], ["origin"])
        np.testing.assert_array_equal(h5["origin"][()], file["origin"])


def test_what_hdf5_cannot_hold_leaves_no_half_file(tmp_path):
    with pytest.raises(TypeError):
        write_reconstruction(tmp_path, {"object": np.array(["text"])}, {})
    assert not (tmp_path / "reconstruction.h5").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailedError, match="cannot be written"):
        write_reconstruction(tmp_path / "file", arrays(), ATTRIBUTES)
