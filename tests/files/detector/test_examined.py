"""Masks and bad frames of files: named, left out or doubted, by the settings ``mask`` and ``drop_frames``."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from skimage.io import imsave

from ptychopinn.commands.convert import convert_file
from ptychopinn.commands.shared.request import Request
from ptychopinn.config import DataConfig, Settings
from ptychopinn.errors import PtychoError
from ptychopinn.files.detector import examined
from ptychopinn.files.detector.examined import FirstMask
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.files.growing.reader import open_growing
from ptychopinn.files.reading import open_scan
from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan.checks import doubts
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import raster, siemens_star, simulate
from tests.independent import scan_arrays

GAP = np.zeros((32, 32), bool)
GAP[20], GAP[:, 12] = True, True


@pytest.fixture(scope="module")
def clean() -> Scan:
    """49 frames of 32 x 32."""
    return simulate(siemens_star(80), curved_disc(32, 6.0, 2.5).numpy(), raster((74, 74), 32, step=6.0), nphotons=1e5)


def saved(path: Path, scan: Scan, counts: np.ndarray, **more: Any) -> Path:
    y, x = scan.positions.T
    np.savez(path, diffraction=counts, ycoords=y, xcoords=x, probeGuess=scan.probe, **more)
    return path


def opened(path: Path, **settings: Any) -> Scan:
    return open_scan(path, DataConfig(**settings))


def told(scan: Scan) -> str:
    return "\n".join((*scan.notes, *doubts(scan)))


def whole(scan: Scan, dtype: str = "uint32") -> np.ndarray:
    return np.asarray(scan.counts).astype(dtype)


def test_a_clean_scan_gets_no_line_and_loses_nothing(tmp_path: Path, clean: Scan) -> None:
    scan = opened(saved(tmp_path / "a.npz", clean, whole(clean)))
    assert told(scan) == "" and scan.good_pixels is None and len(scan) == len(clean)
    assert scan.health is not None and scan.health.summary == f"no fault found ({len(clean)} frames looked at)"
    auto = opened(tmp_path / "a.npz", mask="auto", drop_frames="auto")
    assert told(auto) == "" and auto.good_pixels is None and len(auto) == len(clean)


@pytest.mark.parametrize(("dtype", "value"), [("uint32", 2**32 - 1), ("uint16", 65535), ("int32", -1), ("f4", np.nan)])
def test_marked_gap_is_masked_with_a_line(tmp_path: Path, clean: Scan, dtype: str, value: float) -> None:
    counts = whole(clean, dtype)
    counts[:, GAP] = value
    path = saved(tmp_path / "a.npz", clean, counts, _metadata=json.dumps({"measurement": "counts"}))
    scan = opened(path)
    assert scan.good_pixels is not None and np.array_equal(~scan.good_pixels, GAP)
    assert "Masked: 63 pixels that hold " in told(scan) and "row 20, column 12" in told(scan)
    np.testing.assert_array_equal(scan.counts, np.where(GAP, 0, whole(clean)))
    masked = opened(saved(tmp_path / "b.npz", clean, counts, bad_pixels=GAP, _metadata='{"measurement": "counts"}'))
    assert told(masked) == "" and np.array_equal(~masked.good_pixels, GAP)


def test_values_that_are_no_counts_leave_with_their_frame_or_their_pixel(tmp_path: Path, clean: Scan) -> None:
    counts = whole(clean)
    y, x = np.unravel_index(counts.sum(axis=0).argmax(), (32, 32))
    counts[7, y, x] = counts[11, 2, 29] = 2**32 - 1
    path = saved(tmp_path / "a.npz", clean, counts)
    scan = opened(path)
    assert f"Left out: frame 7, for 1 pixel, bad in frame 7 ({y}, {x}): 4294967295 (the largest uint32)." in told(scan)
    assert "Masked: 1 pixel, bad in frame 11 (2, 29): 4294967295" in told(scan)
    assert scan.numbers.tolist() == [number for number in range(len(clean)) if number != 7]
    assert not scan.good_pixels[2, 29] and scan.good_pixels.sum() == 32 * 32 - 1
    np.testing.assert_array_equal(scan.positions, clean.positions[scan.numbers])
    kept = opened(path, drop_frames="none")
    assert len(kept) == len(clean) and not kept.good_pixels[y, x] and not kept.good_pixels[2, 29]
    unmasked = opened(path, mask="none")
    assert unmasked.good_pixels is None and len(unmasked) == len(clean) - 2


def test_saturated_frame_is_left_out(tmp_path: Path, clean: Scan) -> None:
    counts = whole(clean, "uint16")
    counts[5] = 65535
    path = saved(tmp_path / "a.npz", clean, counts)
    scan = opened(path)
    assert 5 not in scan.numbers and "Left out: frame 5, of which most pixels hold no count: 65535" in told(scan)
    kept = opened(path, drop_frames="none")
    assert len(kept) == len(clean) and "kept by --drop-frames none" in told(kept)


def test_what_is_doubtful_is_named_and_left_out_on_request(tmp_path: Path, clean: Scan) -> None:
    counts = whole(clean)
    counts[20] *= 30
    counts[:, 3, 3] += 500
    counts[9, 28, 5] = 90000
    counts[:, 15:17, 15:17] = 0
    path = saved(tmp_path / "a.npz", clean, counts)
    scan = opened(path)
    assert scan.good_pixels is None and len(scan) == len(clean)
    for words in (
        "frame 20 is far brighter than the frames around",
        "--drop-frames auto leaves such frames out.",
        "1 pixel far brighter than the pixels around in every frame, as no light can be: (3, 3); --mask auto masks ",
        "1 pixel far too bright in one frame, as by a cosmic ray: frame 9 (28, 5); --mask auto masks them.",
        "4 pixels without a count in any frame amid light, as of a gap or a beam stop: rows 15 to 16 x columns",
    ):
        assert words in told(scan)
    assert scan.health is not None and np.argwhere(scan.health.doubtful).tolist() == [
        *([3, 3], [15, 15], [15, 16], [16, 15], [16, 16], [28, 5])
    ]
    right = opened(path, mask="auto", drop_frames="auto")
    assert doubts(right) == [] and right.numbers.tolist() == [n for n in range(len(clean)) if n != 20]
    assert np.argwhere(~right.good_pixels).tolist() == np.argwhere(scan.health.doubtful).tolist()


@pytest.mark.parametrize("held", [0, 65535])
def test_inverted_mask_is_named_and_turned(tmp_path: Path, clean: Scan, held: int) -> None:
    counts = whole(clean, "uint16")
    counts[:, GAP] = held
    path = saved(tmp_path / "a.npz", clean, counts, bad_pixels=~GAP)
    with pytest.raises(PtychoError, match=r"a.npz: bad_pixels: .*the other way round\? --mask inverted turns it"):
        opened(path)
    assert np.array_equal(~opened(path, mask="inverted").good_pixels, GAP)
    counts = whole(clean, "uint16")
    scan = opened(saved(tmp_path / "a.npz", clean, counts, bad_pixels=~GAP))
    assert "bad_pixels marks 94 % of the pixels as bad" in told(scan)
    assert "is it the other way round? --mask inverted turns it" in told(scan)
    assert told(opened(path, mask="none")).count("other way round") == 0
    np.save(tmp_path / "m.npy", ~GAP)
    file = tmp_path / "m.npy"
    plain = saved(tmp_path / "c.npz", clean, counts)
    assert f"--mask inverted:{file} turns it" in told(opened(plain, mask=str(file)))
    assert np.array_equal(~opened(plain, mask=f"inverted:{file}").good_pixels, GAP)


def test_transposed_mask_is_named(tmp_path: Path, clean: Scan) -> None:
    counts = whole(clean)
    counts[:, GAP] = 0
    scan = opened(saved(tmp_path / "a.npz", clean, counts, bad_pixels=GAP.T))
    assert "bad_pixels marks pixels that hold counts, and not row 20, column 12" in told(scan)
    assert "transposed it would: give it so by --mask FILE." in told(scan)
    assert told(opened(saved(tmp_path / "b.npz", clean, counts, bad_pixels=GAP))) == ""


def test_mask_of_each_frame_and_mask_of_floats(tmp_path: Path, clean: Scan) -> None:
    counts = whole(clean)
    counts[:, GAP] = 7000
    same = np.broadcast_to(GAP, counts.shape).copy()
    assert np.array_equal(~opened(saved(tmp_path / "a.npz", clean, counts, bad_pixels=same)).good_pixels, GAP)
    same[3] = True
    same[8, 1, 1] = True
    scan = opened(saved(tmp_path / "a.npz", clean, counts, bad_pixels=same))
    also = GAP.copy()
    also[1, 1] = True
    assert np.array_equal(~scan.good_pixels, also) and scan.numbers.tolist() == [0, 1, 2, *range(4, len(clean))]
    scan = opened(saved(tmp_path / "a.npz", clean, counts, bad_pixels=GAP.astype(float)))
    assert np.array_equal(~scan.good_pixels, GAP)
    with pytest.raises(PtychoError, match=r"bad_pixels: dtype float64; booleans or whole numbers are needed"):
        opened(saved(tmp_path / "a.npz", clean, counts, bad_pixels=GAP * 0.5))


def test_masked_beam_stop_is_no_wrong_probe(tmp_path: Path, clean: Scan) -> None:
    stop = np.zeros((32, 32), bool)
    stop[11:21, 11:21] = True
    counts = whole(clean)
    assert counts[:, stop].sum() > 0.8 * counts.sum()
    counts[:, stop] = 0
    assert told(opened(saved(tmp_path / "a.npz", clean, counts, bad_pixels=stop))) == ""


@pytest.mark.parametrize("kind", ["npy", "npz", "tif", "png", "h5", "h5:"])
def test_mask_of_a_file(tmp_path: Path, clean: Scan, kind: str) -> None:
    path = tmp_path / f"m.{kind.rstrip(':')}"
    if kind == "npy":
        np.save(path, GAP)
    elif kind == "npz":
        np.savez(path, mask=GAP.astype(np.uint8), other=np.zeros(3))
    elif kind in ("tif", "png"):
        imsave(path, GAP.astype(np.uint8), check_contrast=False)
    else:
        with h5py.File(path, "w") as file:
            file["entry/mask"] = GAP.astype(np.uint32)
            if kind == "h5:":
                file["entry/flat"] = np.ones((32, 32))
    name = f"{path}:/entry/mask" if kind == "h5:" else str(path)
    own = np.zeros((32, 32), bool)
    own[0, 0] = True
    scan = opened(saved(tmp_path / "a.npz", clean, whole(clean), bad_pixels=own), mask=name)
    assert np.array_equal(~scan.good_pixels, GAP | own), "together with the mask of the scan"


@pytest.mark.parametrize(
    ("setting", "content", "words"),
    [
        ("mask", np.zeros((16, 32), bool), r"x: shape \(16, 32\); the frames are \(32, 32\)"),
        ("mask", np.ones((32, 32), bool), "x: all 32 x 32 pixels are marked bad"),
        ("mask", np.zeros(5), r"x: shape \(5,\)"),
        ("mask", np.full((32, 32), 0.5), "x: mask: dtype float64"),
        ("drop_frames", np.array([3, 49]), "x: 49 given; the numbers of frames are 0 to 48"),
        ("drop_frames", np.array([-1]), "x: -1 given"),
        ("drop_frames", np.array([0.5]), "x: shape .*whole numbers are needed"),
        ("drop_frames", np.arange(49), "x: lists all 49 frames"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, clean: Scan, setting: str, content: np.ndarray, words: str) -> None:
    path = tmp_path / "x.npy"
    np.save(path, content)
    flag = "--" + setting.replace("_", "-")
    with pytest.raises(PtychoError, match=rf"a.npz: {flag} {words.replace('x:', f'{path}:')}"):
        opened(saved(tmp_path / "a.npz", clean, whole(clean)), **{setting: str(path)})
    (tmp_path / "x.txt").write_text("nothing of the kind")
    for name, what in (("x.txt", "needed|number"), ("none.npy", "no such file"), (".", "is a folder")):
        with pytest.raises(PtychoError, match=rf"{flag} .*{what}"):
            opened(tmp_path / "a.npz", **{setting: str(tmp_path / name)})


@pytest.mark.parametrize("ending", [".txt", ".json", ".npy"])
def test_list_of_frames(tmp_path: Path, clean: Scan, ending: str) -> None:
    path = tmp_path / f"list{ending}"
    if ending == ".npy":
        np.save(path, np.array([4, 40, 4]))
    else:
        path.write_text("[4, 40]" if ending == ".json" else "# bad frames\n4, 40 # shutter\n4\n")
    scan = opened(saved(tmp_path / "a.npz", clean, whole(clean)), drop_frames=str(path))
    assert scan.numbers.tolist() == [n for n in range(len(clean)) if n not in (4, 40)]
    assert f"Left out by --drop-frames {path}: frames 4, 40." in told(scan)
    third = opened(tmp_path / "a.npz", drop_frames=str(path), every=3)
    assert third.numbers.tolist() == scan.numbers[::3].tolist()


MAP = {
    "frames": {"dataset": "frames", "measurement": "counts"},
    "positions": {"x": "x", "y": "y", "unit": "px"},
    "probe": "probe",
}


def mapped(folder: Path, scan: Scan, counts: np.ndarray) -> DataConfig:
    with h5py.File(folder / "a.h5", "w") as file:
        file["frames"], file["probe"] = counts, scan.probe
        file["y"], file["x"] = scan.positions.T
    (folder / "map.json").write_text(json.dumps(MAP))
    return DataConfig(map=str(folder / "map.json"))


def test_frames_that_stay_in_their_file(tmp_path: Path, clean: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = whole(clean)
    counts[:, GAP] = 2**32 - 1
    counts[30] = 2**32 - 1
    data = mapped(tmp_path, clean, counts)
    here = open_scan(tmp_path / "a.h5", data)
    monkeypatch.setattr("ptychopinn.files.reading.READ_ONCE", 0)
    monkeypatch.setattr(examined, "SAMPLE", 10)
    there = open_scan(tmp_path / "a.h5", data, once=True)
    assert not isinstance(there.counts, np.ndarray)
    assert np.array_equal(there.good_pixels, here.good_pixels) and there.health.summary.endswith(
        f"(10 of {len(clean)} frames looked at)"
    )
    asked = open_scan(tmp_path / "a.h5", data.model_copy(update={"drop_frames": "auto"}), once=True)
    assert np.array_equal(asked.numbers, here.numbers) and 30 not in here.numbers
    np.testing.assert_array_equal(asked.counts, here.counts)


def test_mask_of_the_first_frames_of_a_growing_scan_stays(tmp_path: Path, clean: Scan) -> None:
    counts, lines = whole(clean), list[str]()
    counts[:, GAP] = 2**32 - 1
    (tmp_path / "list.txt").write_text("1 30")
    mask = FirstMask(lines.append)
    for count in (3, 20, len(clean)):
        (tmp_path / "a.h5").unlink(missing_ok=True)
        counts[10:, 0, 0] = 2**32 - 1  # later markers change nothing
        part = counts[:count]
        data = mapped(tmp_path, clean.subset(slice(0, count)), part)
        scan, left, _ = open_growing(
            tmp_path / "a.h5", data.model_copy(update={"drop_frames": str(tmp_path / "list.txt")}), mask
        )
        assert not left and np.array_equal(~scan.good_pixels, GAP)
        assert scan.numbers.tolist() == [n for n in range(count) if n not in (1, 30)]
    assert lines == ["Masked: 63 pixels that hold 4294967295 (the largest uint32) in the first frames."]


@pytest.mark.parametrize(("dtype", "value"), [("f4", np.nan), ("int32", -1)])
def test_single_values_that_are_no_numbers_leave_on_request(
    tmp_path: Path, clean: Scan, dtype: str, value: float
) -> None:
    counts = whole(clean, dtype)
    counts[7, 2, 3] = value
    counts[9] = value
    path = saved(tmp_path / "a.npz", clean, counts, _metadata=json.dumps({"measurement": "counts"}))
    with pytest.raises(PtychoError, match=r"in frame 7; mark pixels .* or leave them out by --mask auto"):
        opened(path)
    scan = opened(path, mask="auto")
    assert 9 not in scan.numbers and len(scan) == len(clean) - 1 and np.argwhere(~scan.good_pixels).tolist() == [[2, 3]]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_frames_without_a_position_can_be_left_out(tmp_path, wrong):
    """In metres, where one wrong position would move all others, and in pixels."""
    arrays = scan_arrays(side=5, step=4, radius=8, N=32)
    x, y = arrays["xcoords"] * 1e-8, arrays["ycoords"] * 1e-8
    for unit, size in (("m", 1.0), ("px", 1e8)):
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            file["frames"], file["probe"] = arrays["diffraction"], arrays["probeGuess"]
            file["x"], file["y"] = size * np.where(np.arange(25) == 7, wrong, x), size * y
        layout = {"frames": {"dataset": "/frames", "measurement": "counts"}, "probe": "/probe"}
        layout |= {"positions": {"x": "/x", "y": "/y", "unit": unit}, "pixel_size": {"value": 1e-8, "unit": "m"}}
        (tmp_path / "map.json").write_text(json.dumps(layout))
        (tmp_path / "drop.txt").write_text("7")
        given = {"map": str(tmp_path / "map.json")}
        with pytest.raises(PtychoError, match=r"first in frame 7, in 1 of 25; --drop-frames FILE leaves"):
            open_scan(tmp_path / "scan.h5", DataConfig(**given))
        scan = open_scan(tmp_path / "scan.h5", DataConfig(**given, drop_frames=str(tmp_path / "drop.txt")))
        assert 7 not in scan.numbers
        places = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1)[scan.numbers]
        np.testing.assert_allclose(scan.positions - places, np.tile(scan.positions[0] - places[0], (24, 1)), atol=1e-6)
        request = Request(Settings.of(given), out=tmp_path / "out.npz", overwrite=True)
        with pytest.raises(PtychoError, match="first in frame 7, in 1 of 25; subset"):
            convert_file(tmp_path / "scan.h5", None, request, Geometry())
        assert not (tmp_path / "out.npz").exists()
