"""Reconstructions: HDF5 and NPZ say the same."""

from dataclasses import fields, replace
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.reconstruction import read_reconstruction, write_reconstruction
from ptychopinn.reconstruction import Reconstruction

ATTRIBUTES = {
    "deviance_per_pixel": 1.02,
    "expected_deviance_per_pixel": 0.97,
    "subpixel": "fourier",
    "std_of": "counts",
    "pixel_size_m": 1.5e-8,
}

NEXUS = ("NX_class", "default")


def arrays() -> dict[str, np.ndarray]:
    """Those that every file holds."""
    rng = np.random.default_rng(0)
    return {
        "object": (rng.standard_normal((7, 9)) + 1j * rng.standard_normal((7, 9))).astype(np.complex64),
        "origin": np.array([-3, 12]),
        "coverage": rng.random((7, 9)).astype(np.float32),
        "positions": rng.random((5, 2)),
    }


def optional() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "frame_numbers": np.array([0, 2, 3, 5, 8]),
        "probe": (rng.standard_normal((2, 4, 4)) + 1j).astype(np.complex64),
        "amplitude_std": rng.random((7, 9)).astype(np.float32),
        "phase_std": rng.random((7, 9)).astype(np.float32),
    }


def plain() -> Reconstruction:
    return Reconstruction(**arrays() | {"origin": (-3, 12)})


def full() -> Reconstruction:
    return replace(
        plain(),
        **optional(),
        deviance=1.02,
        expected_deviance=0.97,
        subpixel="fourier",
        std_of="counts",
        pixel_size_m=1.5e-8,
    )


def test_both_files_hold_what_was_given(tmp_path):
    hdf5, npz = write_reconstruction(tmp_path / "image", full())
    given, attributes = arrays() | optional(), ATTRIBUTES | {"probe_of": "fit"}
    with h5py.File(hdf5) as h5, np.load(npz, allow_pickle=False) as file:
        assert set(h5) == {*given, "entry"}
        assert set(h5.attrs) == {*attributes, *NEXUS}
        assert set(file.files) == {*given, *attributes}
        for name, value in given.items():
            for stored in (h5[name][()], file[name]):
                assert stored.dtype == value.dtype
                np.testing.assert_array_equal(stored, value)
        for name, scalar in attributes.items():
            assert h5.attrs[name] == file[name].item() == scalar
    assert sorted(entry.name for entry in hdf5.parent.iterdir()) == ["reconstruction.h5", "reconstruction.npz"]


def test_the_probe_of_the_scan_is_written_but_is_no_part_of_the_image(tmp_path):
    probe = np.ones((2, 8, 8), np.complex64)
    hdf5, npz = write_reconstruction(tmp_path, replace(full(), probe=None), probe)
    with h5py.File(hdf5) as h5, np.load(npz) as file:
        np.testing.assert_array_equal(h5["probe"][()], probe)
        assert h5.attrs["probe_of"] == file["probe_of"].item() == "scan"
    assert read_reconstruction(hdf5).probe is read_reconstruction(npz).probe is None


def test_writing_again_replaces_both(tmp_path):
    write_reconstruction(tmp_path, full())
    hdf5, npz = write_reconstruction(tmp_path, replace(plain(), origin=(1, 2)))
    scalars = {"deviance_per_pixel", "expected_deviance_per_pixel", "subpixel"}
    with h5py.File(hdf5) as h5, np.load(npz) as file:
        assert (set(h5), set(h5.attrs)) == ({*arrays(), "entry"}, {*scalars, *NEXUS})
        assert set(file.files) == {*arrays(), *scalars}
        assert h5["origin"][()].tolist() == file["origin"].tolist() == [1, 2]


def test_what_hdf5_cannot_hold_leaves_no_half_file(tmp_path):
    with pytest.raises(TypeError):
        write_reconstruction(tmp_path, replace(plain(), object=np.array(["text"])))
    assert not (tmp_path / "reconstruction.h5").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailedError, match="cannot be written"):
        write_reconstruction(tmp_path / "file", plain())


@pytest.mark.parametrize("name", ["", "reconstruction.h5", "reconstruction.npz"])
def test_what_was_written_is_read(tmp_path, name):
    for given in (full(), plain()):
        write_reconstruction(tmp_path, given)
        found = read_reconstruction(tmp_path / name)
        for field in fields(Reconstruction):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(given, field.name))


def write(path: Any, values: dict[str, np.ndarray]) -> None:
    """Write arrays as they are."""
    if path.suffix == ".npz":
        np.savez(path, **values)
        return
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[name] = value


@pytest.mark.parametrize("suffix", ["h5", "npz"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"origin": None}, "holds no origin; a reconstruction has object, origin, coverage, positions"),
        ({"origin": np.array([1.5, 2.0])}, "origin: .*two whole numbers"),
        ({"object": np.ones((7, 9))}, "object: shape .*a finite complex"),
        ({"object": np.full((7, 9), np.nan + 0j)}, "object: shape .*a finite complex"),
        ({"coverage": -np.ones((7, 9))}, "coverage: shape .*light >= 0"),
        ({"coverage": np.ones((9, 7))}, "coverage: shape .*light >= 0"),
        ({"positions": np.ones(5)}, r"positions: shape \(5,\).*\(n, 2\) numbers are needed"),
        ({"frame_numbers": np.arange(4)}, r"frame_numbers: shape \(4,\); one whole number per position is needed"),
        ({"xcoords": np.ones(5), "object": None}, "is a scan, no image; the folder or file that infer, baseline or"),
    ],
)
def test_a_file_that_is_no_reconstruction_is_named(tmp_path, suffix, changes, words):
    values = {key: value for key, value in (arrays() | changes).items() if value is not None}
    path = tmp_path / f"reconstruction.{suffix}"
    write(path, values)
    with pytest.raises(PtychoError, match=words) as error:
        read_reconstruction(path)
    assert str(error.value).startswith(f"{path}: ")


def test_what_is_no_file_of_ours_is_one_line(tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5")
    for name, words in (
        ("", "holds no reconstruction"),
        ("text.h5", "no readable HDF5"),
        ("absent.h5", "no such file"),
    ):
        with pytest.raises(PtychoError, match=words):
            read_reconstruction(tmp_path / name)
