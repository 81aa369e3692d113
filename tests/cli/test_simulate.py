"""``ptychopinn simulate --split`` as a user calls it."""

import re
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.api import read_scan
from tests.cli.refusing import Words, assert_refused, call

SMALL = "--N 32 --object-size 128 --probe-radius 5 --nphotons 1e4"
FILES = ["small_test.npz", "small_train.npz"]


def axes(place: Path, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions along an axis of the training and of the test part."""
    train, test = (read_scan(place / f"small_{side}.npz") for side in ("train", "test"))
    return train.positions[:, "yx".index(axis)], test.positions[:, "yx".index(axis)]


@pytest.mark.parametrize("axis", ["y", "x"])
def test_a_split_is_one_scan_in_two_files(tmp_path: Path, axis: str) -> None:
    assert call(tmp_path, f"simulate whole.npz {SMALL} --seed 3").exit_code == 0
    done = call(tmp_path, f"simulate small.npz {SMALL} --seed 3 --split {axis} --split-gap 30")
    assert (done.exit_code, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.glob("small*")) == FILES
    whole = read_scan(tmp_path / "whole.npz")
    train, test = axes(tmp_path, axis)
    assert test.min() - train.max() >= 30
    along = whole.positions[:, "yx".index(axis)]
    half = len(whole) // 2
    cut = np.sort(along)[half - 1 : half + 1].mean()
    assert (len(train), len(test)) == ((along <= cut - 15).sum(), (along >= cut + 15).sum())
    left_out = len(whole) - len(train) - len(test)
    assert 0 < left_out < len(whole) / 2
    lines = done.stdout.splitlines()
    assert lines[0] == f"{left_out} of {len(whole)} frames lie in a gap of 30 px along {axis} and are left out"
    assert [line.split(":")[0] for line in lines[1:]] == ["small_train.npz", "small_test.npz"]
    for side in ("train", "test"):
        part = read_scan(tmp_path / f"small_{side}.npz")
        with np.load(tmp_path / f"small_{side}.npz") as file:
            numbers = file["frame_numbers"]
        np.testing.assert_array_equal(part.counts, whole.counts[numbers])
        np.testing.assert_array_equal(part.positions, whole.positions[numbers])
        np.testing.assert_array_equal(part.object, whole.object)
        np.testing.assert_array_equal(part.probe, whole.probe)


def test_the_usual_gap_is_the_lit_width_of_the_probe(tmp_path: Path) -> None:
    done = call(tmp_path, f"simulate small.npz {SMALL} --split y")
    assert done.exit_code == 0, done.output
    gap = float(re.findall(r"a gap of (\S+) px", done.stdout)[0])
    scan = read_scan(tmp_path / "small_train.npz")
    assert gap == scan.support + 1
    train, test = axes(tmp_path, "y")
    assert test.min() - train.max() >= gap


def test_two_files_are_replaced_only_when_asked(tmp_path: Path) -> None:
    command = f"simulate small.npz {SMALL} --split y"
    (tmp_path / "small_test.npz").write_text("remember the milk")
    assert_refused(tmp_path, command, ("small_test.npz: exists already", "--overwrite"))
    assert call(tmp_path, f"{command} --overwrite").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert len(read_scan(tmp_path / "small_test.npz")) > 0
    (tmp_path / "small_train.npz").unlink()
    (tmp_path / "small_train.npz").mkdir()
    assert_refused(tmp_path, f"{command} --overwrite", ("small_train.npz: is a folder",))


REFUSED: dict[str, tuple[str, Words]] = {
    "another axis": ("--split z", ("--split: 'z' given", "y or x is needed")),
    "a gap without a split": ("--split-gap 3", ("--split-gap: given without --split",)),
    "a negative gap": ("--split y --split-gap -1", ("--split-gap", "greater than or equal to 0")),
    "a gap that is no number": ("--split y --split-gap nan", ("--split-gap",)),
    "a gap as wide as the scan": ("--split x --split-gap 100", ("0 and 0 of 361 frames", "a gap of 100 px along x")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_split_is_one_line(tmp_path: Path, name: str) -> None:
    flags, words = REFUSED[name]
    assert_refused(tmp_path, f"simulate small.npz {SMALL} {flags}", words)
