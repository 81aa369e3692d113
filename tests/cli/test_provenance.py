"""NPZ files of simulations and views say how they were made, and parts of them keep it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptychopinn.config import DataConfig
from ptychopinn.files.output_folder import file_hash
from ptychopinn.files.reading import files_of
from tests.cli.refusing import call

pytestmark = pytest.mark.usefixtures("quick_pictures")


def made(path: Path) -> Any:
    with np.load(path) as file:
        return json.loads(file["_metadata"].item()).get("provenance")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    flags = "--N 32 --object-size 112 --probe-radius 7 --nphotons 1e4 --seed 5 --step 6 --split x --split-gap 24"
    for line in (
        f"simulate scan.npz {flags}",
        "overlap scan_train.npz scan_test.npz --out view --overlap 0.6 --n-subsample 40 --subsample-seed 3",
    ):
        done = call(folder, line)
        assert done.exit_code == 0, done.stderr
    return folder


def test_a_simulation(place: Path) -> None:
    for side in ("train", "test"):
        found = made(place / f"scan_{side}.npz")
        assert (found["command"], found["nphotons"], found["seed"], found["step"]) == ("simulate", 1e4, 5, 6)
        assert (found["split"], found["split_axis"], found["split_gap"]) == (side, "x", 24)


def test_a_view_says_what_it_kept_and_of_what(place: Path) -> None:
    found = made(place / "view/scan_test.npz")
    measured = json.loads((place / "view/scan_test_metrics.json").read_text())
    assert found["command"] == "overlap"
    assert found["view"] == {"overlap": 0.6, "n_subsample": 40, "subsample_seed": 3, "sequential_sampling": False}
    assert found["selection"] == measured["selection"]
    assert found["from"]["file"] == "scan_test.npz"
    assert found["from"]["sha256"] == file_hash(place / "scan_test.npz")
    assert found["from"]["provenance"] == made(place / "scan_test.npz")


def test_parts_and_copies_keep_it(place: Path) -> None:
    for line in (
        "subset scan_train.npz --out part.npz --n 12 --overwrite",
        "convert scan_train.npz copy.npz --overwrite",
        "overlap part.npz --out again --overwrite",
    ):
        done = call(place, line)
        assert done.exit_code == 0, done.stderr
    assert made(place / "part.npz") == made(place / "copy.npz") == made(place / "scan_train.npz")
    assert made(place / "again/part.npz")["from"]["provenance"] == made(place / "scan_train.npz")


def test_a_simulation_from_a_file_names_it_and_no_setting_without_effect(place: Path) -> None:
    done = call(place, "simulate like.npz --from scan_train.npz --nphotons 1e3")
    assert done.exit_code == 0, done.stderr
    found = made(place / "like.npz")
    assert found["from"] == {"file": "scan_train.npz", "sha256": file_hash(place / "scan_train.npz")}
    assert found["nphotons"] == 1e3
    assert not {"object", "object_size", "probe_radius", "step", "split"} & found.keys()


@pytest.mark.parametrize("value", [3, "text", [1], None])
def test_what_is_no_object_is_not_taken(place: Path, value: Any) -> None:
    with np.load(place / "scan_train.npz") as file:
        arrays = dict(file)
    arrays["_metadata"] = np.array(json.dumps({"measurement": "counts", "order": "nyx", "provenance": value}))
    np.savez(place / "odd.npz", **arrays)
    done = call(place, "convert odd.npz plain.npz --overwrite")
    assert done.exit_code == 0, done.stderr
    assert made(place / "plain.npz") is None


def test_equal_calls_make_equal_files(place: Path) -> None:
    for name in ("a", "b"):
        assert call(place, f"simulate {name}.npz --N 32 --object-size 80 --probe-radius 7").exit_code == 0
    assert file_hash(place / "a.npz") == file_hash(place / "b.npz")


@pytest.mark.parametrize(
    "mask", ["mask.npy", "auto:mask.npy", "inverted:mask.npy", "mask.h5:data", "auto:mask.h5:data"]
)
def test_every_file_that_a_scan_is_read_from_is_known(tmp_path: Path, monkeypatch: Any, mask: str) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mask.npy", "mask.h5", "bad.txt", "probe.npz"):
        (tmp_path / name).touch()
    data = DataConfig(mask=mask, drop_frames="bad.txt", probe="probe.npz", frames="absent.h5")
    found = [str(path) for path in files_of(data)]
    assert sorted(found) == sorted(["probe.npz", "bad.txt", "mask.h5" if "h5" in mask else "mask.npy"])
    assert files_of(DataConfig(mask="auto", drop_frames="auto")) == []
