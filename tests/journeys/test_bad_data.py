"""Data that once passed in silence: no light, dead frames, NaN, still motors, a short truth, broken metadata."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptychopinn.files import reading
from tests.cli.refusing import COUNT, SIZE, Words, assert_refused, call, scan_arrays, write_scan

pytestmark = pytest.mark.usefixtures("quick_pictures")

FRAMES = scan_arrays()["diffraction"]
FLOATS = {"diffraction": FRAMES.astype(np.float32), "_metadata": np.array('{"measurement": "counts"}')}
DARK: dict[str, Any] = {"diffraction": 0 * FRAMES}
BAD: dict[str, Any] = {"bad_pixels": np.ones((SIZE, SIZE), bool)}
STILL: dict[str, Any] = {"xcoords": np.full(COUNT, 20.0), "ycoords": np.full(COUNT, 25.0)}
NO_LIGHT = ("diffraction: zero everywhere; frames with photons are needed",)
ALL_BAD = ("bad.npz: bad_pixels: all 16 x 16 pixels are marked bad", "the other way round?")
ONE_PLACE = ("one position", "are needed")

REFUSED: dict[str, tuple[dict[str, Any], str, Words]] = {
    "dark, infer": (DARK, "infer run bad.npz --out out", NO_LIGHT),
    "dark, train": (DARK, "train bad.npz --out out", NO_LIGHT),
    "dark, refine": (DARK, "refine bad.npz --out out", NO_LIGHT),
    "dark, baseline": (DARK, "baseline bad.npz --engine rpie --out out", NO_LIGHT),
    "dark, compare": (DARK, "compare bad.npz --pinn run --out out", NO_LIGHT),
    "dark, nothing left": (DARK, "infer run bad.npz --out out --set drop_dark=true", ("bad.npz: ", *NO_LIGHT)),
    "masked, infer": (BAD, "infer run bad.npz --out out", ALL_BAD),
    "masked, train": (BAD, "train bad.npz --out out", ALL_BAD),
    "masked, refine": (BAD, "refine bad.npz --out out", ALL_BAD),
    "masked, inspect": (BAD, "inspect bad.npz --out new.png", ALL_BAD),
    "still, train": (STILL, "train bad.npz --out out", ("all 9 frames", "y 25.0, x 20.0", *ONE_PLACE)),
    "still, refine": (STILL, "refine bad.npz --out out", ONE_PLACE),
    "still, baseline": (STILL, "baseline bad.npz --engine rpie --out out", ONE_PLACE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_image_is_refused(place: Path, name: str) -> None:
    changes, command, words = REFUSED[name]
    write_scan(place / "bad.npz", **changes)
    assert_refused(place, command, words)


def dead(*frames: int) -> np.ndarray:
    counts = FRAMES.copy()
    counts[list(frames)] = 0
    return counts


ONE, TWO = ((5,), "(frame 5)"), ((2, 7), "(the first is frame 2)")


@pytest.mark.parametrize(
    ("command", "dark"),
    [
        ("infer run dead.npz --out image", ONE),
        ("inspect dead.npz --out new.png", TWO),
        ("refine dead.npz --out refined --epochs 3", TWO),
        ("baseline dead.npz --engine rpie --epochs 1 --out rpie", ONE),
    ],
)
def test_some_dead_frames_are_named_and_can_be_left_out(
    place: Path, command: str, dark: tuple[tuple[int, ...], str]
) -> None:
    frames, first = dark
    write_scan(place / "dead.npz", diffraction=dead(*frames))
    done = call(place, command)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"no photon in {len(frames)} of 9 frames {first}" in done.stdout
    assert done.stdout.count("no photon in") == 1
    assert "--set drop_dark=true leaves them out" in done.stdout
    shutil.rmtree(place / command.split()[-1], ignore_errors=True)
    done = call(place, f"{command.replace('--out ', '--out second_')} --set drop_dark=true")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "no photon in" not in done.stdout
    assert f"Left out: {len(frames)} of 9 frames, which hold no photon." in done.stdout


def test_of_a_part_of_a_scan_dead_frames_have_the_numbers_of_the_file(place: Path) -> None:
    write_scan(place / "dead.npz", diffraction=dead(1, 6))
    done = call(place, "infer run dead.npz --out image --every 2")
    assert "no photon in 1 of 5 frames (frame 6)" in done.stdout


def test_a_scan_with_light_in_all_frames_is_not_warned_about(place: Path) -> None:
    for command in ("infer run scan.npz --out image", "inspect scan.npz --out new.png"):
        done = call(place, command)
        assert done.exit_code == 0, done.stderr
        assert "photon in" not in done.stdout
        assert "one position" not in done.stdout and "different positions" not in done.stdout


@pytest.mark.parametrize("out", ["new.npz", "new.cxi --dummy-geometry", "new.h5 --dummy-geometry"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "diffraction: NaN or infinity in frame 3"),
        (np.inf, "diffraction: NaN or infinity in frame 3"),
        (-2.0, "diffraction: negative counts (-2.0) in frame 3"),
    ],
)
def test_convert_writes_no_frames_that_are_no_counts(place: Path, out: str, value: float, words: str) -> None:
    counts = FLOATS["diffraction"].copy()
    counts[3, 2, 2] = value
    write_scan(place / "bad.npz", **FLOATS | {"diffraction": counts})
    assert_refused(place, f"convert bad.npz {out}", ("bad.npz: ", words))
    mask = np.zeros((SIZE, SIZE), bool)
    mask[2, 2] = True
    write_scan(place / "masked.npz", **FLOATS | {"diffraction": counts, "bad_pixels": mask})
    done = call(place, f"convert masked.npz {out}")
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_negative_amplitude_is_named_by_its_frame(place: Path) -> None:
    roots = np.sqrt(FLOATS["diffraction"])
    roots[4, 1, 1] = -3
    write_scan(place / "bad.npz", diffraction=roots)
    assert_refused(place, "inspect bad.npz --out new.png", ("diffraction: negative amplitudes (-3.0) in frame 4",))


def test_motors_that_did_not_move_are_warned_about(place: Path) -> None:
    write_scan(place / "still.npz", **STILL)
    write_scan(place / "line.npz", xcoords=STILL["xcoords"])
    for command in ("infer run {0}.npz --out {0}", "inspect {0}.npz --out {0}.png"):
        done = call(place, command.format("still"))
        assert done.exit_code == 0, done.stderr
        assert "all 9 frames lie at one position, y 25.0, x 20.0 (did the motors move?)" in done.stdout
        done = call(place, command.format("line"))
        assert done.exit_code == 0, done.stderr
        assert "the 9 frames lie at 3 different positions only; did a motor not move" in done.stdout


TRUTH = np.ones((36, 34), np.complex64)
"""Of the size that the lit 12 x 12 pixels around positions 20 to 26 need, and a little more."""


def test_a_truth_must_lie_under_all_frames_of_a_supervised_training(place: Path) -> None:
    flags = "--model-type supervised --nll-weight 0 --nepochs 1 --n-filters-scale 0.1 --stages 1 --accelerator cpu"
    write_scan(place / "bad.npz", objectGuess=TRUTH[:, :27])
    words = ("objectGuess: 36 x 27 pixels", "for 6 of 9 frames", "y 20.0, x 23.0", "a truth under all frames")
    assert_refused(place, f"train bad.npz --out out {flags}", words)
    write_scan(place / "low.npz", objectGuess=TRUTH, ycoords=scan_arrays()["ycoords"] - 18)
    assert_refused(place, f"train low.npz --out out {flags}", ("objectGuess: 36 x 34 pixels", "y 2.0"))
    write_scan(place / "good.npz", objectGuess=TRUTH)
    done = call(place, f"train good.npz --out out {flags}")
    assert (done.exit_code, done.stderr) == (0, "")
    # Unsupervised, an object of any size is nobody's business.
    done = call(place, f"train bad.npz --out other {flags} --model-type pinn --nll-weight 1 --teacher-epochs 0")
    assert (done.exit_code, done.stderr) == (0, "")


METADATA: dict[str, tuple[np.ndarray, Words]] = {
    "no JSON": (np.array("measurement: counts"), ("_metadata: is not JSON: ",)),
    "cut short": (np.array('{"measurement": "cou'), ("_metadata: is not JSON: ",)),
    "a list": (np.array("[1]"), ("_metadata: holds an array; an object of metadata such as {", "is needed")),
    "a number": (np.array(3.0), ("_metadata: shape (), dtype float64", "is needed")),
    "two texts": (np.array(["{}", "{}"]), ("_metadata: shape (2,)",)),
    "deep": (np.array("[" * 99_999), ("_metadata: is nested too deeply",)),
    "energy as text": (
        np.array('{"photon_energy_eV": "8 keV"}'),
        ("_metadata: photon_energy_eV: '8 keV'", "number"),
    ),
    "endless distance": (
        np.array(json.dumps({"detector_object_distance_m": 10**400})),
        ("valid number",),
    ),
    "one pitch": (
        np.array('{"detector_pixel_m": 1e-6}'),
        ("detector_pixel_m: 1e-06 given", "An array is"),
    ),
    "three pitches": (
        np.array('{"detector_pixel_m": [1, 2, 3]}'),
        ("[1, 2, 3] given", "fewer entries"),
    ),
    "volts": (np.array('{"measurement": "volts"}'), ("_metadata: measurement 'volts'; counts or amplitude",)),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_cannot_be_read_are_refused(place: Path, name: str) -> None:
    value, words = METADATA[name]
    write_scan(place / "bad.npz", _metadata=value)
    assert_refused(place, "infer run bad.npz --out out", ("bad.npz: ", *words))
    assert_refused(place, "convert bad.npz new.npz", ("bad.npz: ", *words))


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".cxi", ".dat", ""])
def test_an_npz_file_is_known_by_what_it_holds(place: Path, suffix: str) -> None:
    shutil.copy(place / "scan.npz", place / f"named{suffix}")
    done = call(place, f"convert named{suffix} new.npz")
    assert (done.exit_code, done.stderr) == (0, "")
    counts = reading.read(place / "new.npz").counts
    assert counts is not None
    np.testing.assert_array_equal(counts[:], FRAMES)


def test_what_is_neither_is_refused_by_its_name(place: Path) -> None:
    (place / "text.h5").write_text("y, x\n1, 2\n")
    assert_refused(place, "inspect text.h5 --out new.png", ("text.h5: is no readable HDF5 file",))


def test_our_files_hold_as_many_frames_as_rows(place: Path) -> None:
    arrays = {key: np.concatenate([value] * 3) for key, value in scan_arrays().items() if key != "probeGuess"}
    write_scan(place / "long.npz", **arrays)
    for command in ("subset long.npz --n 16 --out part.npz", "convert part.npz again.npz", "inspect again.npz"):
        done = call(place, command)
        assert (done.exit_code, done.stderr) == (0, "")
    assert "16 of 16 x 16 pixels" in done.stdout
    with np.load(place / "again.npz") as again, np.load(place / "part.npz") as part:
        np.testing.assert_array_equal(again["diffraction"], part["diffraction"])
        assert np.isin(part["diffraction"].sum(axis=(1, 2)), FRAMES.sum(axis=(1, 2))).all()


def test_arrays_that_are_not_read_are_named(place: Path) -> None:
    write_scan(place / "more.npz", mask=np.zeros((SIZE, SIZE), bool), Photons=np.array(3))
    done = call(place, "inspect more.npz --out new.png")
    assert "Not read, of unknown meaning: Photons, mask." in done.stdout


def test_what_floats_were_taken_for_is_said(place: Path) -> None:
    write_scan(place / "whole.npz", diffraction=FRAMES.astype(np.float64))
    write_scan(place / "roots.npz", diffraction=np.sqrt(FRAMES))
    for name, flags, taken in (
        ("whole", "", "whole numbers, so taken as counts"),
        ("whole", "--measurement counts", None),
        ("roots", "", "the squares of its values are whole numbers, so taken as amplitude"),
    ):
        done = call(place, f"inspect {name}.npz --out new.png --overwrite {flags}")
        assert (done.exit_code, done.stderr) == (0, "")
        assert ("nothing says what it holds" in done.stdout) == (taken is not None)
        assert taken is None or taken in " ".join(done.stdout.split())
