"""The beam on the detector: an offset is found, named and cured, and nothing else is taken for one."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.config import DataConfig, Settings
from ptychopinn.errors import PtychoError
from ptychopinn.files.growing.reader import check_growing
from ptychopinn.files.reading import open_scan
from ptychopinn.scan.beam import beam_offset, centre_of, mean_frame
from ptychopinn.scan.checks import doubts
from ptychopinn.scan.frames import Frames, moved
from ptychopinn.scan.scan import Scan


def made(N: int, radius: float, photons: float, tilt: float = 0.0, seed: int = 0) -> Scan:
    """30 frames of a smooth random phase object under a curved Gaussian probe, in plain numpy."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:N, :N] - N / 2
    r2 = (y**2 + x**2) / radius**2
    probe = np.exp(-r2 + 0.8j * r2 + 1j * tilt * x)
    probe *= np.sqrt(photons / (abs(probe) ** 2).sum())
    edge = N + 40
    waves = rng.normal(size=(6, 2)) * 0.15
    rows, cols = np.mgrid[:edge, :edge]
    phase = sum(np.cos(a * rows + b * cols + c) for (a, b), c in zip(waves, rng.uniform(0, 6, 6), strict=True))
    image = np.exp(0.3j * phase)
    corners = rng.integers(0, 40, (30, 2))
    patches = np.stack([image[i : i + N, j : j + N] for i, j in corners])
    field = np.fft.fftshift(np.fft.fft2(probe * patches, norm="ortho"), axes=(1, 2))
    return Scan(
        rng.poisson(abs(field) ** 2).astype(np.uint32),
        (corners + N // 2).astype(float),
        probe[None].astype(np.complex64),
    )


KINDS = [(32, 4.0, 1e4, 0.0), (48, 6.0, 1e6, 0.0), (40, 5.0, 3e2, 0.0), (64, 8.0, 1e5, 0.5)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_scan_is_not_off(kind):
    scan = made(*kind)
    assert beam_offset(scan, mean_frame(scan)) is None
    assert not [line for line in doubts(scan) if "beam" in line]
    assert centre_of(scan, "auto") == (scan.N // 2, scan.N // 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [(3, -5), (-1, 0), (0, 2)])
def test_an_offset_is_found_named_and_cured(kind, shift):
    right = made(*kind)
    off = replace(right, counts=np.roll(right.counts, shift, axis=(1, 2)))
    np.testing.assert_allclose(beam_offset(off, mean_frame(off)), shift, atol=0.35)
    (line,) = [line for line in doubts(off) if "the beam lies" in line]
    row, column = off.N // 2 + shift[0], off.N // 2 + shift[1]
    assert f"--centre {row},{column}" in line
    back = off.centred(*centre_of(off, "auto"))
    good = back.good_pixels
    assert (~good).sum() == off.N**2 - (off.N - abs(shift[0])) * (off.N - abs(shift[1]))
    np.testing.assert_array_equal(back.counts[:, good], right.counts[:, good])
    assert not back.counts[:, ~good].any()
    assert not [line for line in doubts(back) if "beam" in line]


def test_bad_pixels_move_with_the_frames():
    right = made(32, 4.0, 1e4)
    good = np.ones((32, 32), bool)
    good[10, 12] = False
    off = replace(right, counts=np.roll(right.counts, (2, 1), (1, 2)), good_pixels=np.roll(good, (2, 1), (0, 1)))
    back = off.centred(18, 17)
    assert not back.good_pixels[10, 12]
    assert not back.good_pixels[-2:].any() and not back.good_pixels[:, -1].any()
    assert back.good_pixels.sum() == 30 * 31 - 1


@pytest.mark.parametrize("fault", ["hot pixel", "background on one side", "beam stop"])
def test_other_faults_are_no_offset(fault):
    scan = made(48, 6.0, 1e5)
    counts = scan.counts.copy()
    if fault == "hot pixel":
        counts[:, 45, 3] = 20000
    elif fault == "background on one side":
        counts[:, :, 30:] += 20
    else:
        counts[:, 22:26, 24:27] = 0
    off = replace(scan, counts=counts)
    assert not [line for line in doubts(off) if "the beam lies" in line]


class Stack:
    """Frames of a file, in memory."""

    def __init__(self, stack):
        self.stack, self.shape, self.dtype = stack, stack.shape, stack.dtype

    def read(self, rows):
        return self.stack[rows]


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-4, 5), (40, 0)])
def test_frames_in_a_file_move_as_those_in_memory(shift):
    stack = np.random.default_rng(0).integers(1, 99, (5, 16, 16)).astype(np.uint16)
    bad = np.ones((16, 16), bool)
    bad[3, 4] = False
    lazy = replace(Frames.of(Stack(stack)), good_pixels=bad)
    masked = np.where(bad, stack, 0)
    expected = moved(masked, *shift)
    np.testing.assert_array_equal(lazy.moved(*shift)[slice(None)], expected)
    keep = slice(4, 12)
    np.testing.assert_array_equal(lazy.moved(*shift).window(keep, keep)[slice(1, 3)], expected[1:3, keep, keep])
    assert expected.dtype == np.uint16
    if shift == (3, -2):
        np.testing.assert_array_equal(expected[:, 3:, :-2], masked[:, :-3, 2:])


def test_the_setting_reads_a_pixel_and_refuses_others(tmp_path):
    scan = made(32, 4.0, 1e4)
    path = tmp_path / "scan.npz"
    y, x = scan.positions.T
    counts = np.roll(scan.counts, (3, -5), (1, 2))
    np.savez(path, diffraction=counts, ycoords=y, xcoords=x, probeGuess=scan.probe[0])
    for given in ("auto", "19,11", "19, 11"):
        read = open_scan(path, DataConfig(centre=given))
        assert read.notes[-1] == "Frames moved by (-3, 5) px (y, x): pixel [19, 11] is their middle now."
    cropped = open_scan(path, DataConfig(centre="auto", crop=16))
    np.testing.assert_array_equal(cropped.counts, scan.counts[:, 8:24, 8:24])
    with pytest.raises(PtychoError, match=r"scan.npz: centre: 32,4 given; a pixel y,x of the frames of 32 x 32"):
        open_scan(path, DataConfig(centre="32,4"))
    with pytest.raises(PtychoError, match="--centre auto needs a complete scan"):
        check_growing(path, DataConfig(centre="auto"))
    with pytest.raises(PtychoError, match="centre"):
        Settings.of({"centre": "-3,4"})
