"""``convert`` of a reconstruction: TIFF, CXI and a product of ptychodus."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from ptychopinn.files.formats.npz import write_npz
from ptychopinn.files.reading import read
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from tests.cli.refusing import Words, assert_refused, call

PIXEL = 4e-8


@pytest.fixture
def folder(tmp_path: Path, tiny_scan: Scan) -> Path:
    """A scan and its image, whose pixel [0, 0] is not that of the object frame."""
    write_npz(tmp_path / "scan.npz", tiny_scan)
    done = call(tmp_path, "refine scan.npz --epochs 1 --error-draws 0 --out image")
    assert done.exit_code == 0, done.output
    return tmp_path


@pytest.fixture
def image(folder: Path) -> Reconstruction:
    return read_reconstruction(folder / "image")


def converted(folder: Path, command: str) -> str:
    done = call(folder, f"convert {command}")
    assert done.exit_code == 0, done.output
    return str(done.output)


@pytest.mark.parametrize("source", ["image", "image/reconstruction.h5", "image/reconstruction.npz"])
def test_tiff_for_fiji(folder: Path, image: Reconstruction, source: str) -> None:
    assert "out_amplitude.tif and out_phase.tif" in converted(folder, f"{source} out.tif --pixel-size {PIXEL}")
    amplitude, phase = (tifffile.imread(folder / f"out_{part}.tif") for part in ("amplitude", "phase"))
    assert amplitude.dtype == phase.dtype == np.float32
    np.testing.assert_allclose(amplitude * np.exp(1j * phase), image.object, atol=1e-5)
    with tifffile.TiffFile(folder / "out_phase.tif") as file:
        assert file.imagej_metadata["unit"] == "um"
        per_um, whole = file.pages[0].tags["XResolution"].value
        assert whole / per_um == pytest.approx(1e6 * PIXEL)
        assert file.pages[0].tags["ResolutionUnit"].value == 1  # ImageJ takes the unit of its own text


def test_tiff_of_small_and_of_oblong_pixels(folder: Path) -> None:
    converted(folder, "image out.tiff --pixel-size 2e-11")
    with tifffile.TiffFile(folder / "out_amplitude.tiff") as file:
        assert file.imagej_metadata["unit"] == "nm"
        per_nm, whole = file.pages[0].tags["YResolution"].value
        assert whole / per_nm == pytest.approx(0.02)
    converted(folder, "image product.h5 --pixel-size 4e-8")
    with h5py.File(folder / "product.h5", "r+") as file:
        for part in ("probe", "object"):
            file[part].attrs["pixel_height_m"] = 8e-8
    converted(folder, "product.h5 oblong.tif")
    with tifffile.TiffFile(folder / "oblong_phase.tif") as file:
        x, y = (file.pages[0].tags[name].value for name in ("XResolution", "YResolution"))
        assert (x[1] / x[0], y[1] / y[0]) == pytest.approx((0.04, 0.08))


def test_tiff_of_unknown_pixels_says_so(folder: Path) -> None:
    assert "size of a pixel is not known" in converted(folder, "image out.tif")
    with tifffile.TiffFile(folder / "out_phase.tif") as file:
        assert "unit" not in file.imagej_metadata


@pytest.mark.parametrize("name", ["out.cxi", "out.h5"])
def test_an_image_in_metres_comes_back_as_it_was(folder: Path, image: Reconstruction, name: str) -> None:
    converted(folder, f"image {name} --pixel-size {PIXEL} --energy 8000 --distance 1")
    record, scan = read(folder / name), read(folder / "scan.npz")
    np.testing.assert_array_equal(record.object, image.object)
    np.testing.assert_array_equal(record.probe, scan.probe)
    np.testing.assert_allclose(record.positions + image.origin, scan.positions, atol=1e-6)
    assert (record.energy_eV, record.distance_m) == pytest.approx((8000, 1))


def test_image_1_of_a_cxi_file_is_the_complex_image(folder: Path, image: Reconstruction) -> None:
    converted(folder, f"image out.cxi --pixel-size {PIXEL}")
    with h5py.File(folder / "out.cxi") as file:
        np.testing.assert_array_equal(file["entry_1/image_1/data"][()], image.object)
        assert file["entry_1/instrument_1/source_1/illumination"].dtype == np.complex64
        assert "entry_1/data_1/data" not in file


def test_a_lone_image_of_a_cxi_file_is_the_object_unless_it_has_the_size_of_a_frame(folder: Path) -> None:
    """Other programs write it without a mark of ours."""
    converted(folder, f"scan.npz frames.cxi --pixel-size {PIXEL}")
    with h5py.File(folder / "frames.cxi", "r+") as file:
        probe, image = file["entry_1/image_1/data"][()], file["entry_1/image_2/data"][()]
        del file["entry_1/image_1"], file["entry_1/image_2"], file["entry_1/instrument_1/source_1/illumination"]
        file["entry_1/image_1/data"] = image[0]
    assert read(folder / "frames.cxi").object.shape == image.shape[1:]
    assert read(folder / "frames.cxi").probe is None
    with h5py.File(folder / "frames.cxi", "r+") as file:
        del file["entry_1/image_1"]
        file["entry_1/image_1/data"] = probe[0]
    assert read(folder / "frames.cxi").object is None
    assert read(folder / "frames.cxi").probe.shape == probe[0].shape


def test_cxi_with_the_frames_of_the_scan(folder: Path, tiny_scan: Scan) -> None:
    converted(folder, f"image all.cxi --frames scan.npz --pixel-size {PIXEL}")
    record = read(folder / "all.cxi")
    np.testing.assert_array_equal(record.counts, tiny_scan.counts)
    assert record.object.shape == read_reconstruction(folder / "image").object.shape


@pytest.mark.parametrize(("brightest", "dtype"), [(300, np.int32), (2**31 - 1, np.int32), (2**31, np.int64)])
def test_frames_of_a_cxi_file_are_signed(folder: Path, tiny_scan: Scan, brightest: int, dtype: type) -> None:
    counts = tiny_scan.counts.astype(np.uint32)
    counts[0, 0, 0] = brightest
    np.savez(
        folder / "bright.npz",
        diffraction=counts,
        ycoords=tiny_scan.positions[:, 0],
        xcoords=tiny_scan.positions[:, 1],
        probeGuess=tiny_scan.probe,
    )
    converted(folder, f"bright.npz bright.cxi --pixel-size {PIXEL}")
    with h5py.File(folder / "bright.cxi") as file:
        assert file["entry_1/data_1/data"].dtype == dtype
        np.testing.assert_array_equal(file["entry_1/data_1/data"][()], counts)


REFUSED: dict[str, tuple[str, Words]] = {
    "no pixel": ("image out.cxi", ("image", "pixel size", "--pixel-size M")),
    "placeholders in TIFF": ("image out.tif --dummy-geometry", ("--dummy-geometry", "tiff")),
    "energy in TIFF": ("image out.tif --energy 8000", ("--energy", "tiff")),
    "a name for TIFF": ("image out.png --to tiff", ("out.png", ".tif or .tiff")),
    "an image that is there": ("image there.tif", ("there_phase.tif", "exists already", "--overwrite")),
    "no image": ("bare.npz out.tif", ("bare.npz", "object")),
    "a folder without a result": ("empty out.tif", ("empty", "is a folder")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_is_refused(folder: Path, tiny_scan: Scan, case: str) -> None:
    (folder / "there_phase.tif").touch()
    (folder / "empty").mkdir()
    np.savez(folder / "bare.npz", probeGuess=tiny_scan.probe)
    command, words = REFUSED[case]
    assert_refused(folder, f"convert {command}", words)
