"""Odd and non-square frames, as they are and cropped."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.config import DataConfig
from ptychopinn.errors import PtychoError
from ptychopinn.files.conventions.cropping import as_square
from ptychopinn.files.reading import read, scan_in
from ptychopinn.files.record import Reading, Record
from ptychopinn.scan.frames import Frames
from ptychopinn.scan.scan import Scan

MORE = {"odd": (1, 1), "wide": (0, 16), "tall and odd": (9, 2)}


def padded(values: np.ndarray, more: tuple[int, int]) -> np.ndarray:
    """Values (..., H, W) with more rows and columns around, the pixel [H // 2, W // 2] in the middle again."""
    edges = []
    for size, extra in zip(values.shape[-2:], more, strict=True):
        before = (size + extra) // 2 - size // 2
        edges.append((before, extra - before))
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + edges)


def save(path: Path, scan: Scan, counts: np.ndarray, probe: np.ndarray) -> Path:
    positions = dict(zip(("ycoords", "xcoords"), scan.positions.T, strict=True))
    np.savez(path, diffraction=counts.astype(np.uint16), probeGuess=probe, **positions)
    return path


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_uncropped_frames_are_refused_with_a_way_out(tiny_scan: Scan, tmp_path: Path, more: tuple[int, int]) -> None:
    path = save(tmp_path / "s.npz", tiny_scan, padded(tiny_scan.counts, more), tiny_scan.probe)
    with pytest.raises(PtychoError, match="s.npz: diffraction: shape .*even N are needed: --crop 3[24] keeps"):
        read_scan(path)


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_a_probe_of_the_cropped_size_says_which_pixel_is_meant(
    tiny_scan: Scan, tmp_path: Path, more: tuple[int, int]
) -> None:
    path = save(tmp_path / "s.npz", tiny_scan, padded(tiny_scan.counts, more), tiny_scan.probe)
    scan = read_scan(path, crop=32)
    np.testing.assert_array_equal(scan.frames(slice(None)).numpy(), tiny_scan.counts)
    np.testing.assert_array_equal(scan.positions, tiny_scan.positions)
    assert "probe and positions are taken for those of the cropped detector" in scan.notes[-1]


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_padding_of_frames_and_probe_is_cut_off(tiny_scan: Scan, tmp_path: Path, more: tuple[int, int]) -> None:
    """Zeros around frames and probe alike do not change the object pixel."""
    counts, probe = tiny_scan.counts + 1, tiny_scan.probe + np.complex64(1e-6)
    path = save(tmp_path / "s.npz", tiny_scan, padded(counts, more), padded(probe, more))
    scan = read_scan(path, crop=32)
    np.testing.assert_array_equal(scan.frames(slice(None)).numpy(), counts)
    np.testing.assert_array_equal(scan.positions, tiny_scan.positions)
    np.testing.assert_array_equal(scan.probe, probe)
    assert any("padded with zeros" in note for note in scan.notes)


@pytest.mark.parametrize("shape", [(33, 33), (40, 32), (35, 44)])
def test_a_whole_probe_is_cropped_as_its_far_field_is(shape: tuple[int, int]) -> None:
    rng, size = np.random.default_rng(0), min(shape) // 2 * 2
    y, x = (np.arange(edge) - edge // 2 for edge in shape)
    probe = np.exp(-(y[:, None] ** 2 + x**2) / 30.0 + 0.02j * (y[:, None] ** 2 + x**2))[None]
    far = np.fft.fftshift(np.fft.fft2(probe, norm="ortho"), axes=(-2, -1))
    positions = 50 * rng.random((3, 2))
    record = Record("npz", counts=np.repeat(abs(far) ** 2, 3, axis=0), positions=positions, probe=probe)
    found = as_square(replace(record, pixel_m=(1e-8, 1e-8)), 8)
    assert found.probe is not None
    assert found.positions is not None
    assert found.counts is not None
    light = abs(np.fft.fftshift(np.fft.fft2(found.probe, norm="ortho"), axes=(-2, -1))) ** 2
    np.testing.assert_allclose(light[0], np.asarray(found.counts)[0], atol=1e-5)
    np.testing.assert_allclose(found.positions, positions * size / np.array(shape))
    np.testing.assert_allclose(found.pixel_m, 1e-8 * np.array(shape) / size)
    middle = np.unravel_index(abs(found.probe[0]).argmax(), (size, size))
    assert middle == (size // 2, size // 2)


def test_frames_that_stay_in_their_file(tiny_scan: Scan, tmp_path: Path) -> None:
    counts, mask = padded(tiny_scan.counts, (3, 8)).astype(np.uint16), np.zeros((35, 40), np.uint8)
    mask[17, 20] = 1
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["d"], file["p"], file["m"] = counts, tiny_scan.probe, mask
        file["y"], file["x"] = tiny_scan.positions.T
    (tmp_path / "map.json").write_text(
        '{"frames": {"dataset": "d"}, "positions": {"x": "x", "y": "y"}, "probe": "p", "bad_pixels": {"dataset": "m"}}'
    )
    record = read(tmp_path / "s.h5", Reading(map=tmp_path / "map.json", in_memory=0))
    scan = scan_in(tmp_path / "s.h5", record, DataConfig(crop=32))
    assert isinstance(scan.counts, Frames)
    expected = tiny_scan.counts.copy()
    expected[:, 16, 16] = 0
    np.testing.assert_array_equal(scan.frames(slice(None)).numpy(), expected)


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_a_smaller_crop_is_that_of_the_even_frames(tiny_scan: Scan, tmp_path: Path, more: tuple[int, int]) -> None:
    path = save(tmp_path / "s.npz", tiny_scan, padded(tiny_scan.counts + 1, more), padded(tiny_scan.probe + 1, more))
    found, expected = read_scan(path, crop=16), replace(tiny_scan, probe=tiny_scan.probe + 1).crop(16)
    if more != (9, 2):  # its largest even square, 34, has zeros around
        np.testing.assert_allclose(found.positions, expected.positions)
        np.testing.assert_allclose(found.probe, expected.probe, atol=1e-5)
    np.testing.assert_array_equal(found.frames(slice(None)).numpy(), expected.frames(slice(None)).numpy() + 1)


@pytest.mark.parametrize("crop", [33, 34, 40])
def test_a_size_that_does_not_fit_is_refused(tiny_scan: Scan, tmp_path: Path, crop: int) -> None:
    path = save(tmp_path / "s.npz", tiny_scan, padded(tiny_scan.counts, (1, 1)), tiny_scan.probe)
    with pytest.raises(PtychoError, match=f"crop: {crop} given; the frames are 33 x 33, an even number from 8 to 32"):
        read_scan(path, crop=crop)


def test_a_probe_of_another_size_is_refused(tiny_scan: Scan, tmp_path: Path) -> None:
    path = save(tmp_path / "s.npz", tiny_scan, padded(tiny_scan.counts, (1, 1)), tiny_scan.crop(24).probe)
    with pytest.raises(PtychoError, match=r"probe: shape \(1, 24, 24\); 33 x 33 pixels, as the frames, or 32 x 32"):
        read_scan(path, crop=32)
