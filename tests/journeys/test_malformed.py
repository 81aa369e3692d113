"""What a user can get wrong, one line each: the command refuses it with one line, exit code 2, and nothing written.

Every table below maps a name to what is wrong and to words that the line on the terminal must hold.
"""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.refusing import COUNT, Words, assert_refused, scan_arrays, write_scan


def with_entry(key: str, value: float, dtype: Any = np.float32, power: float = 1) -> dict[str, np.ndarray]:
    array = (scan_arrays()[key] ** power).astype(dtype)
    array[(1,) * array.ndim] = value
    return {key: array}


def meta(**values: Any) -> np.ndarray:
    return np.array(json.dumps(values))


def probe_as(change: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    return {"probeGuess": change(scan_arrays()["probeGuess"])}


FRAMES, FLOATS = scan_arrays()["diffraction"], scan_arrays()["diffraction"].astype(np.float32)
SCANS: dict[str, tuple[dict[str, Any], Words]] = {
    "no frames key": ({"diffraction": None}, ("neither diffraction nor diff3d", "xcoords")),
    "no x": ({"xcoords": None}, ("xcoords: not there", "positions in pixels are needed")),
    "no y": ({"ycoords": None}, ("ycoords: not there",)),
    "no probe": ({"probeGuess": None}, ("probeGuess: not there", "illumination is needed")),
    "two-dimensional frames": ({"diffraction": FRAMES[0]}, ("diffraction: shape (16, 16)", "(n, N, N)")),
    "NaN": (with_entry("diffraction", np.nan), ("diffraction: NaN or infinity",)),
    "infinity": (with_entry("diffraction", np.inf), ("diffraction: NaN or infinity",)),
    "negative counts": (with_entry("diffraction", -3, np.int32), ("diffraction: negative counts (-3)",)),
    "negative amplitudes": (
        with_entry("diffraction", -3, power=0.5),
        ("diffraction: negative amplitudes", "bad_pixels"),
    ),
    "counts beyond any detector": (
        with_entry("diffraction", 2**63, np.uint64),
        ("diffraction: 9.22e+18 counts in a pixel", "bad_pixels"),
    ),
    "frames that are not square": ({"diffraction": FRAMES[:, 1:]}, ("diffraction: shape (9, 15, 16)", "square")),
    "odd N": ({"diffraction": FRAMES[:, 1:, 1:]}, ("diffraction: shape (9, 15, 15)", "even N")),
    "no frames": (
        {"diffraction": FRAMES[:0], "xcoords": np.ones(0), "ycoords": np.ones(0)},
        ("xcoords, ycoords: no entries",),
    ),
    "complex frames": ({"diffraction": FLOATS * 1j}, ("diffraction", "complex64", "real frames")),
    "frames as text": ({"diffraction": FRAMES.astype(str)}, ("diffraction", "<U5", "real frames")),
    "pickled frames": ({"diffraction": FRAMES.astype(object)}, ("diffraction", "pickled objects are not read")),
    "frames and positions exchanged": (
        {"diffraction": scan_arrays()["xcoords"], "xcoords": FRAMES},
        ("xcoords: shape (9, 16, 16)", "one number per frame"),
    ),
    "either way a stack": (
        {"diffraction": np.ones((16,) * 3, np.uint16), "xcoords": np.arange(16), "ycoords": np.arange(16)},
        ("diffraction: shape (16, 16, 16)", "ambiguous"),
    ),
    "few positions": ({"xcoords": np.ones(5), "ycoords": np.ones(5)}, ("positions: shape (5, 2)", "9 frames")),
    "x and y of unequal length": ({"xcoords": np.ones(5)}, ("xcoords, ycoords: 5 and 9 entries",)),
    "two-dimensional x": ({"xcoords": np.ones((COUNT, 2))}, ("xcoords, ycoords: 18 and 9",)),
    "x as text": ({"xcoords": np.full(COUNT, "1.5")}, ("xcoords", "<U3", "one number per frame")),
    "NaN in y": (with_entry("ycoords", np.nan), ("positions: NaN or infinity", "frame 1")),
    "positions in no unit": (with_entry("ycoords", 1e300, float), ("positions: frame 1", "1.00e300", "--drop-frames")),
    "probe of another size": (probe_as(lambda probe: probe[1:, 1:]), ("probe: shape (1, 15, 15)", "(modes, 16, 16)")),
    "probe of a single number": ({"probeGuess": np.array(1 + 1j)}, ("probe: shape ()", "(modes, 16, 16)")),
    "no modes": (probe_as(lambda probe: probe[None][:0]), ("probe: shape (0, 16, 16)", "(modes, N, N)")),
    "dark probe": (probe_as(lambda probe: 0 * probe), ("probe: is zero everywhere", "illumination is needed")),
    "NaN probe": (probe_as(lambda probe: probe * np.nan), ("probe: holds NaN or infinity",)),
    "probe beyond float32": (probe_as(lambda probe: probe.astype(complex) * 1e300), ("probe: holds NaN or infinity",)),
    "probe beyond squares": (probe_as(lambda probe: probe * 1e17), ("probe: sum |P|^2 is 1e+38", "photons per frame")),
    "faint probe": (probe_as(lambda probe: probe * 1e-30), ("probe: sum |P|^2 is", "photons per frame")),
    "object of three axes": ({"objectGuess": np.ones((1, 40, 40))}, ("object: shape (1, 40, 40)", "(H, W)")),
    "object as text": ({"objectGuess": np.array("cell")}, ("objectGuess: dtype <U4", "complex numbers")),
    "mask of another shape": ({"bad_pixels": np.zeros((8, 8), bool)}, ("bad_pixels: shape (8, 8)", "(16, 16)")),
    "mask of floats": ({"bad_pixels": np.full((16, 16), 0.5)}, ("bad_pixels: dtype float64", "booleans")),
    "unknown measurement": (
        {"diffraction": FLOATS, "_metadata": meta(measurement="volts")},
        ("_metadata: measurement 'volts'", "counts or amplitude"),
    ),
    "pixel size as text": ({"_metadata": meta(pixel_size_m="8 nm")}, ("pixel_size_m: '8 nm' given", "valid number")),
    "pixel size in nanometres": ({"_metadata": meta(pixel_size_m=8)}, ("pixel_size_m: 8 given", "less than 1")),
    "endless pixel size": ({"_metadata": meta(pixel_size_m=10**400)}, ("pixel_size_m: 1000", "valid number")),
    "pixel size yes": ({"_metadata": meta(pixel_size_m=True)}, ("pixel_size_m: True given", "valid number")),
}


@pytest.mark.parametrize("name", SCANS)
def test_a_malformed_scan_is_refused(place: Path, name: str) -> None:
    changes, words = SCANS[name]
    write_scan(place / "bad.npz", **changes)
    command = "train bad.npz" if name == "no probe" else "infer run bad.npz"  # a run brings a probe
    assert_refused(place, f"{command} --out out", ("bad.npz: ", *words))


@pytest.mark.parametrize("name", ["no x", "no y"])
def test_frames_are_not_inspected_without_the_rest(place: Path, name: str) -> None:
    changes, words = SCANS[name]
    write_scan(place / "bad.npz", **changes)
    assert_refused(place, "inspect bad.npz", ("bad.npz: ", *words))


READERS = (
    "train {} --out out",
    "infer run {} --out out",
    "refine {} --out out",
    "baseline {} --out out",
    "compare {} --pinn run --out out",
    "compare scan.npz --pinn run --truth {} --out out",
    "overlap {} --out out",
    "inspect {}",
    "subset {} --n 4 --out new.npz",
    "convert {} new.npz",
    "export run --scan {} --out net.pt2",
    "simulate new.npz --from {}",
    "refine scan.npz --init {} --out out",
)


@pytest.mark.parametrize("command", READERS)
def test_every_command_that_reads_a_scan_refuses_a_malformed_one(place: Path, command: str) -> None:
    write_scan(place / "bad.npz", **with_entry("ycoords", np.nan), objectGuess=np.ones((60, 60), complex))
    (place / "cut.npz").write_bytes((place / "scan.npz").read_bytes()[:-200])
    if not command.startswith("convert") and "--truth" not in command and "--init" not in command:
        assert_refused(place, command.format("bad.npz"), ("bad.npz: ", "positions: ", "frame 1"))
    assert_refused(place, command.format("cut.npz"), ("cut.npz: is no readable NPZ file",))


def changed_member(content: bytes) -> bytes:
    at = content.index(b"diffraction.npy") + 400
    return content[:at] + bytes(255 - byte for byte in content[at : at + 40]) + content[at + 40 :]


FILES: dict[str, tuple[Callable[[bytes], bytes], Words]] = {
    "cut short": (lambda content: content[:-200], ("is no readable NPZ file (the archive is damaged or cut short)",)),
    "changed bytes": (changed_member, ("diffraction: cannot be read: Bad CRC-32",)),
    "no archive": (lambda content: b"y, x\n1, 2\n", ("is no readable NPZ file (it is no ZIP archive of arrays)",)),
    "a pickle": (lambda content: pickle.dumps({"diffraction": 1}), ("it is no ZIP archive of arrays",)),
    "an array of its own": (lambda content: npy(FRAMES), ("holds one bare array; an NPZ file", "is needed")),
    "an HDF5 file": (lambda content: b"\x89HDF\r\n\x1a\n" + bytes(99), ("is no readable HDF5 file",)),
    "empty": (lambda content: b"", ("is no readable NPZ file",)),
}


def npy(array: np.ndarray) -> bytes:
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    text = f"{header}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + array.tobytes()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_scan_is_refused(place: Path, name: str) -> None:
    change, words = FILES[name]
    (place / "bad.npz").write_bytes(change((place / "scan.npz").read_bytes()))
    assert_refused(place, "inspect bad.npz", ("bad.npz: ", *words))


def first(count: int) -> dict[str, np.ndarray]:
    return {key: scan_arrays()[key][:count] for key in ("diffraction", "xcoords", "ycoords")}


FAR = {"xcoords": np.array([0.0, 5e7] + [0.0] * 7), "ycoords": np.array([5e7] + [0.0] * 8)}
USELESS: dict[str, tuple[dict[str, Any], str, Words]] = {
    "one frame": (first(1), "train bad.npz --out out", ("scan: 1 frame", "at least 4")),
    "three frames": (first(3), "train bad.npz --out out --gridsize 2", ("scan: 3 frames", "at least 4")),
    "too few for groups": (first(8), "train bad.npz --out out --gridsize 3", ("gridsize: groups of 9", "a scan of 8")),
    "too few for the run": (first(3), "infer run bad.npz --out out", ("scan: 3 frames", "groups need 4")),
    "no photons": ({"diffraction": 0 * FRAMES}, "train bad.npz --out out", ("diffraction: zero everywhere",)),
    "far apart": (FAR, "train bad.npz --out out", ("positions: they reach over", "GiB are needed", "check the unit")),
    "far apart for a run": (FAR, "infer run bad.npz --out out", ("positions: they reach over", "check the unit")),
    "groups far apart": (
        {"xcoords": 100.0 * np.arange(COUNT)},
        "train bad.npz --out out --gridsize 2",
        ("positions: a frame lies", "use gridsize 1", "check the unit"),
    ),
    "groups far apart for a run": (
        {"xcoords": 100.0 * np.arange(COUNT)},
        "infer run bad.npz --out out",
        ("positions: a frame lies", "use gridsize 1", "check the unit"),
    ),
    "nothing to start from": (
        {key: None for key in ("xcoords", "ycoords", "probeGuess")},
        "simulate new.npz --from bad.npz",
        ("bad.npz: holds none of objectGuess",),
    ),
    "an odd probe": (probe_as(lambda p: p[1:, 1:]), "simulate new.npz --from bad.npz", ("probe: shape (1, 15, 15)",)),
    "a probe of no axes": ({"probeGuess": np.array(1j)}, "simulate new.npz --from bad.npz", ("probe: shape ()",)),
    "NaN positions": (with_entry("xcoords", np.nan), "simulate new.npz --from bad.npz", ("positions: frame 1",)),
}


@pytest.mark.parametrize("name", USELESS)
def test_a_scan_that_a_command_cannot_use_is_refused(place: Path, name: str) -> None:
    changes, command, words = USELESS[name]
    write_scan(place / "bad.npz", **changes)
    assert_refused(place, command, words)


SETTINGS: dict[str, tuple[str | bytes, Words]] = {
    "empty file": ("", ("is not JSON",)),
    "no JSON": ("nepochs = 3", ("is not JSON",)),
    "not finished": ('{"nepochs": 3', ("is not JSON",)),
    "an array": ("[1, 2]", ("holds an array", "an object of settings is needed")),
    "a number": ("3", ("holds a number", "an object of settings is needed")),
    "null": ("null", ("holds null", "an object of settings is needed")),
    "UTF-16": ('{"nepochs": 3}'.encode("utf-16"), ("is not JSON", "UTF-8")),
    "binary": (bytes(range(128, 200)), ("is not JSON", "UTF-8")),
    "deep nesting": ("[" * 100_000, ("nested too deeply",)),
    "deep objects": ('{"nepochs": ' * 50_000, ("nested too deeply",)),
    "an endless number": ('{"seed": ' + "1" * 9_999 + "}", ("is not JSON",)),
    "misspelt key": ('{"neighbors": 4}', ("neighbors: not a setting", "Did you mean 'neighbor_count'?")),
    "unknown key": ('{"colour": "red"}', ("colour: not a setting", "ptychopinn config schema")),
    "sections": ('{"training": {"nepochs": 3}}', ("training: not a setting",)),
    "a long key": (json.dumps({"k" * 9_999: 1}), ("kkk ...: not a setting",)),
    "a key of many lines": ('{"a\\nb\\u001b[31m\\ud800": 1}', ("not a setting", "\\x1b[31m\\ud800")),
    "a key given twice": ('{"nepochs": 3, "nepochs": 5}', ("nepochs", "twice")),
    "wrong type": ('{"nepochs": "many"}', ("nepochs: 'many' given", "valid integer")),
    "an array for a number": ('{"nepochs": [3]}', ("nepochs: [3] given", "valid integer")),
    "a long value": (json.dumps({"nepochs": [3] * 9_999}), ("nepochs: [3, 3", "... given", "valid integer")),
    "null for a number": ('{"batch_size": null}', ("batch_size: None given", "valid integer")),
    "out of range": ('{"batch_size": 0}', ("batch_size: 0 given", "greater than or equal to 1")),
    "no such choice": ('{"features": "fourier"}', ("features: 'fourier' given", "'realspace' or 'amplitude'")),
    "NaN": ('{"learning_rate": NaN}', ("learning_rate: nan given", "finite")),
    "infinity": ('{"nphotons": Infinity}', ("nphotons: inf given", "finite")),
    "number as large as infinity": ('{"nphotons": 1e999}', ("nphotons: inf given", "finite")),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_malformed_settings_are_refused(place: Path, name: str) -> None:
    text, words = SETTINGS[name]
    (place / "bad.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_refused(place, "config validate bad.json", ("bad.json: ", *words))


SET = (*(reader.format("scan.npz") for reader in READERS), "simulate new.npz", "infer run scan.npz --out out --every 2")


@pytest.mark.parametrize("command", SET)
def test_every_command_with_settings_refuses_malformed_ones(place: Path, command: str) -> None:
    for text, words in (SETTINGS["misspelt key"], SETTINGS["not finished"], SETTINGS["out of range"]):
        (place / "bad.json").write_text(str(text))
        assert_refused(place, f"{command} --config bad.json", ("bad.json: ", *words))


CALLS: dict[str, tuple[str, Words]] = {
    "unknown command": ("trian scan.npz --out out", ("trian: no such command", "Did you mean 'train'?")),
    "unknown flag": ("train scan.npz --out out --epochs 3", ("--epochs",)),
    "flag without a value": ("train scan.npz --out out --nepochs", ("--nepochs", "requires an argument")),
    "flag of another type": ("train scan.npz --out out --nepochs few", ("--nepochs", "valid integer")),
    "flag that is NaN": ("train scan.npz --out out --learning-rate nan", ("learning_rate: nan given", "finite")),
    "--set without a value": ("train scan.npz --out out --set nepochs", ("--set nepochs: NAME=VALUE is needed",)),
    "--set that is deep": (f"train scan.npz --out out --set seed={'[' * 9_999}", ("--set: seed: '[[", "... given")),
    "--set of no setting": ("train scan.npz --out out --set colour=red", ("--set: colour: not a setting",)),
    "scan of a file with one": ("inspect scan.npz --scan-index 3", ("scan_index: not there", "omit it")),
    "no --out": ("train scan.npz", ("--out",)),
    "no scan": ("train --out out", ("Missing argument 'scan'",)),
    "one argument too many": ("inspect scan.npz scan.npz", ("scan.npz",)),
    "missing scan": ("train absent.npz --out out", ("absent.npz: no such file",)),
    "scan that is a folder": ("inspect empty", ("empty: is a folder", "a scan file is needed")),
    "scan inside a file": ("inspect scan.npz/inner.npz", ("scan.npz/inner.npz", "Not a directory")),
    "missing settings": ("train scan.npz --out out --config absent.json", ("absent.json: cannot be read: No such",)),
    "settings in a folder": ("config validate empty", ("empty: cannot be read: Is a directory",)),
    "settings that exist": ("config init notes.txt", ("notes.txt: exists already", "another name")),
    "gridsize 4": ("train scan.npz --out out --gridsize 4", ("gridsize: 4 given", "1, 2 or 3")),
    "few neighbours": (
        "train scan.npz --out out --gridsize 2 --neighbor-count 2",
        ("neighbor_count: 2 given", "at least 3"),
    ),
    "many neighbours": (
        "train scan.npz --out out --gridsize 2 --neighbor-count 9",
        ("neighbor_count: 9 neighbours asked of a scan of 9 frames", "at most 8"),
    ),
    "oversampling of single frames": (
        "train scan.npz --from scratch --out out --n-groups 10",
        ("n_groups: 10 groups of one frame asked of 9 frames", "gridsize 2 or 3"),
    ),
    "few frames by --every": ("train scan.npz --out out --every 4", ("scan: 3 frames", "at least 4")),
    "negative --every": ("inspect scan.npz --every -1", ("every: -1 given", "greater than or equal to 1")),
    "odd crop": ("train scan.npz --out out --crop 11", ("crop: 11 given", "even number from 8 to 16")),
    "crop beyond the frame": ("infer run scan.npz --out out --crop 18", ("crop: 18 given", "even number from 8 to 16")),
    "tiny crop": ("inspect scan.npz --crop 4", ("crop: 4 given", "greater than or equal to 8")),
    "counts as amplitude": ("inspect scan.npz --measurement amplitude", ("uint16 means counts", "--measurement")),
    "no time": ("train scan.npz --out out --max-seconds 0", ("max_seconds: 0.0 given", "greater than 0")),
    "no time for a demo": ("demo --out out --max-seconds 0", ("--max-seconds", "greater than or equal to 1")),
    "negative seed": ("train scan.npz --out out --seed -1", ("seed: -1 given", "greater than or equal to 0")),
    "no GPU": ("train scan.npz --out out --accelerator cuda", ("accelerator: cuda", "use auto or cpu")),
    "no GPU for a run": ("infer run scan.npz --out out --accelerator cuda", ("accelerator: cuda", "use auto or cpu")),
    "unknown device": ("train scan.npz --out out --accelerator tpu", ("accelerator: 'tpu' given", "'cuda'")),
    "--out is a file": ("train scan.npz --out notes.txt", ("notes.txt: is a file", "--out needs a folder")),
    "--out not empty": ("train scan.npz --out run", ("run: is not empty; give another --out.",)),
    "--out of somebody else": ("infer run scan.npz --out foreign --overwrite", ("foreign: was not written by",)),
    "wrong call with --overwrite": ("train scan.npz --out run --overwrite --every 9", ("scan: 1 frame", "at least 4")),
    "demo into a foreign folder": ("demo --out foreign --overwrite", ("foreign: was not written by ptychopinn",)),
    "nothing to resume": ("train scan.npz --out out --resume", ("--resume", "out", "holds no run")),
    "resume of somebody else": ("train scan.npz --out foreign --resume", ("--resume", "foreign", "holds no run")),
    "resume with settings": ("train scan.npz --out run --resume --config run/settings.json", ("--resume", "--config")),
    "picture of another kind": ("inspect scan.npz --out scan.jpg", ("scan.jpg", "must end in .png")),
    "picture that exists": ("inspect scan.npz --out old.png", ("old.png: exists already", "--overwrite")),
    "simulation of another kind": ("simulate scan.h5", ("scan.h5", "must end in .npz")),
    "simulation over a file": ("simulate scan.npz", ("scan.npz: exists already", "--overwrite")),
    "probe beyond its frame": ("simulate new.npz --N 32 --probe-radius 33", ("probe_radius: 33 px", "N = 32")),
    "probe of no size": ("simulate new.npz --probe-radius 1e-300", ("probe_radius: 1e-300 px", "from 1 to half")),
    "object within a patch": ("simulate new.npz --object-size 60", ("object: 60 pixels are too few",)),
    "endless raster": ("simulate new.npz --step 1e-9", ("step: 1e-09 px", "a larger step is needed")),
    "raster beyond memory": ("simulate new.npz --object-size 1024 --step 1 --N 512", ("GiB are needed",)),
    "jitter beyond the object": ("simulate new.npz --step 1e9", ("object: 256 pixels are too few", "jitter")),
    "blinding light": ("simulate new.npz --nphotons 1e300", ("nphotons: 1e+300 given", "at most 1e+15")),
    "no light": ("simulate new.npz --nphotons 0", ("nphotons: 0.0 given", "greater than 0")),
    "endless curvature": ("simulate new.npz --probe-curvature 1e308", ("probe_curvature: 1e+308 rad given",)),
    "missing object": ("simulate new.npz --from absent.npz", ("absent.npz: no such file",)),
    "object in a bundle": ("simulate new.npz --from run/wts.h5.zip", ("wts.h5.zip", "holds none of objectGuess")),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_refused(place: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command, words = CALLS[name]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_refused(place, command, words)


@pytest.mark.parametrize(("frames", "word"), [(10, "ask for at most 9"), (3, "at least 4")])
def test_a_subsample_must_fit_the_scan(place: Path, frames: int, word: str) -> None:
    (place / "settings.json").write_text(json.dumps({"n_subsample": frames}))
    assert_refused(place, "train scan.npz --out out --config settings.json", (f"{frames} frames", word))


def test_validation_must_leave_frames(place: Path) -> None:
    (place / "settings.json").write_text(json.dumps({"val_fraction": 0.9}))
    arrays = {key: np.concatenate([value] * 3) for key, value in first(COUNT).items()}
    write_scan(place / "long.npz", **arrays)
    words = ("val_fraction: 0.9 given", "leaves 3 of 27 frames", "at least 4")
    assert_refused(place, "train long.npz --out out --config settings.json", words)
