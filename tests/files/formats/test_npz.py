"""NPZ scans: what a file means, the way there and back, and one sentence for every file that means nothing."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.formats.npz import read_object_and_probe, write_npz, write_npz_files
from ptychopinn.scan.scan import Scan
from tests.helpers import read_npz

COUNT, SIZE = 6, 16


def whole_numbers(dtype: Any = np.uint16) -> np.ndarray:
    return np.random.default_rng(0).poisson(20.0, (COUNT, SIZE, SIZE)).astype(dtype)


def floats() -> np.ndarray:
    """Positive, not whole, not anyone's square."""
    return np.random.default_rng(1).uniform(0.1, 3.0, (COUNT, SIZE, SIZE)).astype(np.float32)


def meta(**values: Any) -> np.ndarray:
    return np.array(json.dumps(values))


def save(folder: Path, **changes: Any) -> Path:
    """A valid file with some of its arrays changed, or left out where None is given."""
    rng = np.random.default_rng(2)
    arrays = {
        "diffraction": whole_numbers(),
        "xcoords": rng.uniform(10, 30, COUNT),
        "ycoords": rng.uniform(40, 60, COUNT),
        "probeGuess": rng.standard_normal((SIZE, SIZE, 2)).astype(np.float32) @ np.array([1, 1j], dtype=np.complex64),
        **changes,
    }
    path = folder / "scan.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


@pytest.mark.parametrize("key", ["diffraction", "diff3d"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint64])
@pytest.mark.parametrize("measurement", [None, "counts"])
def test_whole_numbers_are_counts(tmp_path, key, dtype, measurement):
    frames = whole_numbers(dtype)
    scan = read_npz(save(tmp_path, **{"diffraction": None, key: frames}), measurement)
    np.testing.assert_array_equal(scan.counts, frames)
    assert scan.notes == ()


@pytest.mark.parametrize("told", [{"_metadata": meta(measurement="counts")}, {}], ids=["file", "flag"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_counts_where_something_says_so(tmp_path, told, dtype):
    frames = floats().astype(dtype)
    scan = read_npz(save(tmp_path, diffraction=frames, **told), None if told else "counts")
    np.testing.assert_array_equal(scan.counts, frames.astype(np.float32))
    assert scan.notes == ()


@pytest.mark.parametrize(
    ("told", "flag", "assumed"),
    [
        ({"_metadata": meta(measurement="amplitude")}, None, False),
        ({}, "amplitude", False),
        ({"_metadata": meta(measurement="counts")}, "amplitude", False),
        ({}, None, True),
        ({"_metadata": meta(comment="nothing about it")}, None, True),
        ({"_metadata": np.array([json.dumps({"measurement": "amplitude"})])}, None, False),
        ({"_metadata": np.array(json.dumps({"measurement": "amplitude"}).encode())}, None, False),
    ],
    ids=["file", "flag", "flag against file", "nothing", "other metadata", "array of one", "bytes"],
)
def test_other_floats_are_amplitudes_and_the_notes_say_what_was_assumed(tmp_path, told, flag, assumed):
    scan = read_npz(save(tmp_path, diffraction=floats(), **told), flag)
    np.testing.assert_allclose(scan.counts, floats() ** 2, rtol=1e-6)
    says = "diffraction is float32 and nothing says what it holds: taken as amplitude."
    assert (says in scan.notes) == assumed
    assert "No --nphotons: the squared amplitudes are taken as photons." in scan.notes


@pytest.mark.parametrize("nphotons", [1e2, 1e7])
def test_nphotons_gives_amplitudes_their_scale(tmp_path, nphotons):
    path = save(tmp_path, diffraction=floats())
    scan = read_npz(path, nphotons=nphotons)
    assert scan.photons == pytest.approx(nphotons, rel=1e-5)
    ratio = scan.counts / floats() ** 2
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-5)
    assert f"Amplitudes scaled to {nphotons:g} photons per frame." in scan.notes


def test_whole_numbers_are_no_amplitudes(tmp_path):
    with pytest.raises(PtychoError) as error:
        read_npz(path := save(tmp_path), "amplitude")
    expected = f"{path}: diffraction: dtype uint16 means counts, but --measurement amplitude was given."
    assert str(error.value) == expected


@pytest.mark.parametrize("measurement", ["counts", "amplitude"])
@pytest.mark.parametrize("marker", [np.nan, np.inf, -1.0])
def test_bad_pixels_do_not_count_whatever_they_hold(tmp_path, measurement, marker):
    bad = np.random.default_rng(3).random((SIZE, SIZE)) < 0.2
    marked, zeroed = floats(), floats()
    marked[:, bad], zeroed[:, bad] = marker, 0
    scan = read_npz(save(tmp_path, diffraction=marked, bad_pixels=bad), measurement, 1e4)
    plain = read_npz(save(tmp_path, diffraction=zeroed), measurement, 1e4)
    np.testing.assert_array_equal(scan.good_pixels, ~bad)
    np.testing.assert_array_equal(scan.counts, plain.counts)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_bad_pixels_of_signed_counts(tmp_path, dtype):
    bad = np.zeros((SIZE, SIZE), dtype=dtype)
    bad[3, 4:9] = 1
    frames = whole_numbers(np.int32)
    frames[:, 3, 4:9] = -1
    scan = read_npz(save(tmp_path, diffraction=frames, bad_pixels=bad))
    assert scan.good_pixels.dtype == bool
    assert scan.counts.min() == 0
    np.testing.assert_array_equal(scan.counts[:, bad == 0], frames[:, bad == 0])


@pytest.mark.parametrize(
    ("stored", "modes"), [((SIZE, SIZE), 1), ((1, SIZE, SIZE), 1), ((3, SIZE, SIZE), 3), ((SIZE, SIZE, 1), 1)]
)
def test_probes_of_all_usual_shapes(tmp_path, stored, modes):
    values = np.random.default_rng(4).standard_normal(stored) * (1 + 2j)
    probe = read_npz(save(tmp_path, probeGuess=values)).probe
    assert probe.dtype == np.complex64
    np.testing.assert_array_equal(probe, values.reshape(modes, SIZE, SIZE).astype(np.complex64))


def test_positions_are_y_then_x_and_metadata_has_the_pixel(tmp_path):
    path = save(tmp_path, xcoords=np.arange(COUNT), ycoords=np.arange(COUNT) + 0.5, _metadata=meta(pixel_size_m=3e-8))
    scan = read_npz(path)
    np.testing.assert_array_equal(scan.positions, np.stack([np.arange(6) + 0.5, np.arange(6)], axis=-1))
    assert scan.positions.dtype == np.float64
    assert scan.pixel_size_m == 3e-8
    assert scan.object is None
    assert read_npz(save(tmp_path, objectGuess=np.ones((80, 70)))).object.dtype == np.complex64


def example(counts: np.ndarray) -> Scan:
    """A scan with every field that a file can hold."""
    rng = np.random.default_rng(5)
    probe, image = (
        (rng.standard_normal(shape) * np.exp(1j * rng.uniform(0, 6, shape))).astype(np.complex64)
        for shape in ((2, SIZE, SIZE), (70, 66))
    )
    mask = rng.random((SIZE, SIZE)) < 0.9
    return Scan(counts * mask, rng.uniform(8, 50, (COUNT, 2)), probe, image, mask, 1.7e-8)


@pytest.mark.parametrize(
    ("counts", "stored"),
    [
        (whole_numbers(np.uint8), np.uint8),
        (whole_numbers(np.float32), np.uint16),
        (whole_numbers(np.float64) * 4_000, np.uint32),
        (whole_numbers(np.int64), np.int64),
        (floats(), np.float32),
    ],
    ids=["uint8", "whole floats", "large whole floats", "int64", "floats"],
)
def test_there_and_back(tmp_path, counts, stored):
    scan, path = example(counts), tmp_path / "deep" / "scan.npz"
    write_npz(path, scan)
    with np.load(path) as file:
        assert file["diffraction"].dtype == stored
    again = read_npz(path)
    for name in ("counts", "positions", "probe", "object", "good_pixels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scan, name))
    assert again.pixel_size_m == scan.pixel_size_m
    assert again.notes == ()
    assert [entry.name for entry in path.parent.iterdir()] == ["scan.npz"]


@pytest.mark.parametrize("told", ["bilinear", "cubic", "fourier", None])
def test_a_simulated_scan_says_how_it_was_made(tmp_path, tiny_scan, told):
    path = tmp_path / "scan.npz"
    write_npz(path, replace(tiny_scan, interpolation=told))
    assert read_npz(path).interpolation == told
    write_npz(path, read_npz(path).subset(slice(0, 9)))
    assert read_npz(path).interpolation == told


def test_what_is_unknown_is_left_out(tmp_path):
    path = tmp_path / "scan.npz"
    write_npz(path, replace(example(whole_numbers()), object=None, good_pixels=None, pixel_size_m=None))
    with np.load(path) as file:
        assert set(file.files) == {"diffraction", "xcoords", "ycoords", "probeGuess", "_metadata"}
    scan = read_npz(path)
    assert (scan.object, scan.good_pixels, scan.pixel_size_m) == (None, None, None)


def test_a_part_of_a_scan_says_which_frames_it_has(tmp_path):
    part = example(whole_numbers()).subset(np.array([4, 1]))
    write_npz(tmp_path / "part.npz", part)
    with np.load(tmp_path / "part.npz") as file:
        assert file["frame_numbers"].tolist() == [4, 1]
    again = read_npz(tmp_path / "part.npz")
    np.testing.assert_array_equal(again.counts, part.counts)
    assert again.numbers.tolist() == [0, 1]


@pytest.mark.parametrize("broken", ["first", "second"])
def test_of_two_files_both_are_written_or_none(tmp_path, broken):
    paths = {name: tmp_path / name / "scan.npz" for name in ("first", "second")}
    paths["first"].parent.mkdir()
    paths["first"].write_text("older")
    scan = example(whole_numbers())
    write_npz_files(dict.fromkeys(paths.values(), scan))
    for path in paths.values():
        np.testing.assert_array_equal(read_npz(path).counts, scan.counts)
        path.write_text("older")
    paths[broken] = paths[broken] / "below a file"
    with pytest.raises(RunFailedError, match="below a file: cannot be written: "):
        write_npz_files(dict.fromkeys(paths.values(), scan))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.read_text() for path in files} == {"older"} and len(files) == 2


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailedError, match=r"scan\.npz: cannot be written: "):
        write_npz(tmp_path / "file" / "scan.npz", example(whole_numbers()))


def with_entry(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[(0,) * array.ndim] = value
    return array


MALFORMED = {
    "no frames key": ({"diffraction": None}, ("diffraction", "diff3d", "xcoords")),
    "one frame": ({"diffraction": whole_numbers()[0]}, ("diffraction", "(16, 16)")),
    "scalar": ({"diffraction": np.array(3), "bad_pixels": np.array(True)}, ("diffraction", "()")),
    "not square": ({"diffraction": whole_numbers()[:, :, 1:]}, ("diffraction", "(6, 16, 15)", "even N")),
    "odd": ({"diffraction": whole_numbers()[:, 1:, 1:]}, ("diffraction", "(6, 15, 15)", "even N")),
    "no pixels": ({"diffraction": whole_numbers()[:, :0, :0]}, ("diffraction", "(6, 0, 0)")),
    "no frames": ({"diffraction": floats()[:0]}, ("diffraction", "no frames")),
    "complex": ({"diffraction": floats() * 1j}, ("diffraction", "complex64")),
    "text": ({"diffraction": np.full((COUNT, SIZE, SIZE), "a")}, ("diffraction", "<U1")),
    "NaN": ({"diffraction": with_entry(floats(), np.nan)}, ("diffraction", "NaN or infinity")),
    "infinity": ({"diffraction": with_entry(floats(), np.inf)}, ("diffraction", "NaN or infinity")),
    "overflow": ({"diffraction": floats() * np.float32(1e30)}, ("diffraction", "NaN or infinity")),
    "negative amplitudes": ({"diffraction": with_entry(floats(), -1)}, ("diffraction", "negative", "bad_pixels")),
    "negative counts": ({"diffraction": with_entry(whole_numbers(np.int32), -1)}, ("diffraction", "negative", "-1")),
    "dark": ({"diffraction": 0 * floats()}, ("diffraction", "zero everywhere")),
    "no x": ({"xcoords": None}, ("xcoords", "not there")),
    "no y": ({"ycoords": None}, ("ycoords", "not there")),
    "short x": ({"xcoords": np.ones(5)}, ("xcoords", "5 and 6")),
    "few positions": ({"xcoords": np.ones(5), "ycoords": np.ones(5)}, ("positions", "(5, 2)", "6 frames")),
    "no positions": ({"xcoords": np.ones(0), "ycoords": np.ones(0)}, ("xcoords", "no entries")),
    "2-d x": ({"xcoords": np.ones((COUNT, 2))}, ("xcoords", "12 and 6")),
    "text x": ({"xcoords": np.full(COUNT, "1.0")}, ("xcoords", "<U3")),
    "NaN y": ({"ycoords": with_entry(np.ones(COUNT), np.nan)}, ("positions", "frame 0", "NaN")),
    "no probe": ({"probeGuess": None}, ("probeGuess", "not there")),
    "small probe": ({"probeGuess": np.ones((8, 8))}, ("probe", "(1, 8, 8)", "(modes, 16, 16)")),
    "flat probe": ({"probeGuess": np.ones(16)}, ("probe", "(16,)")),
    "text probe": ({"probeGuess": np.array("none")}, ("probeGuess", "<U4")),
    "dark probe": ({"probeGuess": np.zeros((16, 16))}, ("probe", "zero everywhere")),
    "NaN probe": ({"probeGuess": np.full((16, 16), np.nan)}, ("probe", "NaN or infinity")),
    "3-d object": ({"objectGuess": np.ones((1, 60, 60))}, ("object", "(1, 60, 60)")),
    "NaN object": ({"objectGuess": np.full((60, 60), np.nan)}, ("object", "NaN or infinity")),
    "text object": ({"objectGuess": np.array("none")}, ("objectGuess", "<U4")),
    "mask of another size": ({"bad_pixels": np.zeros((8, 8), dtype=bool)}, ("bad_pixels", "(8, 8)", "(16, 16)")),
    "mask of floats": ({"bad_pixels": np.full((16, 16), 0.5)}, ("bad_pixels", "float64")),
    "strange measurement": (
        {"diffraction": floats(), "_metadata": meta(measurement="volts")},
        ("_metadata", "measurement", "volts", "counts or amplitude"),
    ),
    "strange pixel": ({"_metadata": meta(pixel_size_m="small")}, ("_metadata", "pixel_size_m", "small")),
    "negative pixel": ({"_metadata": meta(pixel_size_m=-1e-8)}, ("_metadata", "pixel_size_m", "-1e-08")),
    "pickled": ({"ycoords": np.array([None] * COUNT)}, ("ycoords", "pickled objects are not read")),
}


def assert_one_sentence(error: PtychoError, path: Path, words: tuple[str, ...]) -> None:
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_gets_one_sentence(tmp_path, name):
    changes, words = MALFORMED[name]
    path = save(tmp_path, **changes)
    with pytest.raises(PtychoError) as error:
        read_npz(path, nphotons=1e4)
    assert_one_sentence(error.value, path, words)
    assert error.value.exit_code == 2


def damaged(kind: str, folder: Path) -> Path:
    """A path that holds no readable archive."""
    path = save(folder)
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "folder":
        path = folder
    elif kind == "bare array":
        with path.open("wb") as stream:
            np.save(stream, np.ones(3))
    else:
        at = len(content) // 4
        flipped = content[:at] + bytes(255 - byte for byte in content[at : at + 40]) + content[at + 40 :]
        contents = {
            "empty": b"",
            "text": b"y, x\n1, 2\n",
            "cut short": content[:-200],
            "changed bytes": flipped,
            "pickle": pickle.dumps({"diffraction": 1}),
        }
        path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("missing", "no such file"),
        ("folder", "is a folder; a scan file is needed"),
        ("empty", "no readable NPZ file"),
        ("text", "no readable NPZ file"),
        ("cut short", "no readable NPZ file"),
        ("pickle", "no readable NPZ file"),
        ("changed bytes", "diffraction: cannot be read"),
        ("bare array", "one bare array"),
    ],
)
def test_a_damaged_file_gets_one_sentence(tmp_path, kind, word):
    path = damaged(kind, tmp_path)
    with pytest.raises(PtychoError) as error:
        read_npz(path)
    assert_one_sentence(error.value, path, (word,))


def test_a_simulation_takes_what_is_there(tmp_path):
    image = np.ones((60, 50)) * 1j
    found = read_object_and_probe(save(tmp_path, objectGuess=image, diffraction=np.array("not looked at")))
    assert set(found) == {"object", "probe", "positions"}
    np.testing.assert_array_equal(found["object"], image)
    assert found["probe"].shape == (1, SIZE, SIZE)
    assert found["positions"].shape == (COUNT, 2)
    assert read_object_and_probe(save(tmp_path, xcoords=None, probeGuess=None)) == {}


@pytest.mark.parametrize(
    "name", ["3-d object", "NaN object", "text object", "dark probe", "NaN probe", "flat probe", "short x", "2-d x"]
)
def test_a_simulation_refuses_parts_that_a_scan_would_refuse(tmp_path, name):
    changes, (key, *_) = MALFORMED[name]
    path = save(tmp_path, **changes)
    with pytest.raises(PtychoError) as error:
        read_object_and_probe(path)
    assert_one_sentence(error.value, path, (key,))


def test_start_positions_are_checked_and_said_to_be_unused(tmp_path):
    start = np.arange(COUNT, dtype=np.float64)
    assert read_npz(save(tmp_path, xcoords=start, xcoords_start=start)).notes == ()
    scan = read_npz(save(tmp_path, xcoords=start, xcoords_start=start + 1))
    assert scan.notes == ("xcoords_start: differs from xcoords, which is used.",)
    with pytest.raises(PtychoError, match="ycoords_start: shape"):
        read_npz(save(tmp_path, ycoords_start=start[:-1]))


def test_one_scan_of_several_is_read(tmp_path):
    index = np.array([7, 3, 7, 7, 3, 7])
    scan = read_npz(path := save(tmp_path, scan_index=index), scan_index=7)
    assert scan.numbers.tolist() == [0, 2, 3, 5]
    np.testing.assert_array_equal(scan.counts, whole_numbers()[index == 7])
    for asked, words in ((None, "several scans in one file"), (5, "--scan-index 5 given")):
        with pytest.raises(PtychoError, match=f"scan_index: {words}; give --scan-index as one of 3, 7"):
            read_npz(path, scan_index=asked)
    assert len(read_npz(save(tmp_path, scan_index=np.full(COUNT, 4)))) == COUNT
    with pytest.raises(PtychoError, match="scan_index: not there"):
        read_npz(save(tmp_path), scan_index=1)
    with pytest.raises(PtychoError, match="scan_index: shape"):
        read_npz(save(tmp_path, scan_index=index[:-1]))


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64, np.float64])
def test_probe_and_object_are_single_precision(tmp_path, dtype):
    values = np.random.default_rng(5).uniform(1, 2, (SIZE, SIZE)).astype(dtype)
    scan = read_npz(save(tmp_path, probeGuess=values, objectGuess=values))
    assert scan.probe.dtype == scan.object.dtype == np.complex64
    np.testing.assert_allclose(scan.object, values, rtol=1e-7)
