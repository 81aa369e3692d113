"""``ptychopinn baseline`` as a user calls it."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.cli.refusing import Words, assert_refused, call, scan_arrays, write_scan

pytestmark = pytest.mark.usefixtures("quick_pictures")


def bright(path: Path, **changes: Any) -> None:
    """A scan that a few epochs can read: positions further apart than those of the small one."""
    arrays = scan_arrays()
    write_scan(path, xcoords=arrays["xcoords"] * 1.1, **changes)


@pytest.mark.parametrize("engine", ["lsqml", "dm"])
def test_every_engine_fills_a_folder(place: Path, engine: str) -> None:
    bright(place / "scan.npz")
    done = call(place, f"baseline scan.npz --out out --engine {engine} --epochs 3 --seed 4")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    lines = done.stdout.splitlines()
    assert any(line.startswith("Warning: 9 frames hold") for line in lines)
    assert any(line.startswith("epoch 1 of 3: loss ") for line in lines)
    assert lines[-1] == "Image: out/reconstruction.h5 and out/reconstruction.png"
    names = {path.name for path in (place / "out").iterdir()}
    pictures = {"reconstruction.png", "patterns.png", "frames.png", "frames.csv", "loss.png", "probe.png"}
    assert names == {"provenance.json", "reconstruction.h5", "reconstruction.npz", "loss.csv", *pictures}
    table = (place / "out/loss.csv").read_text().splitlines()
    assert table[0] == "epoch,loss"
    assert [row.split(",")[0] for row in table[1:]] == ["1", "2", "3"]
    record = json.loads((place / "out/provenance.json").read_text())
    assert record["command"] == "baseline"
    assert (record["settings"]["engine"], record["sources"]["engine"]) == (engine, "flag")
    assert (record["settings"]["seed"], record["settings"]["epochs"]) == (4, 3)
    assert record["settings"]["baseline_batch_size"] == (100 if engine == "dm" else 1)
    assert record["sources"]["baseline_batch_size"] == "data"
    with np.load(place / "out/reconstruction.npz") as file:
        assert str(file["probe_of"]) == "scan"


def test_what_is_refined_is_written_and_gone_on_from(place: Path) -> None:
    bright(place / "scan.npz")
    flags = "--epochs 2 --refine-probe --refine-positions --noise-model poisson --batch-size 4 --quiet"
    done = call(place, f"baseline scan.npz --out first {flags}")
    assert (done.exit_code, done.stdout) == (0, "Image: first/reconstruction.h5 and first/reconstruction.png\n")
    with np.load(place / "first/reconstruction.npz") as npz, h5py.File(place / "first/reconstruction.h5") as h5:
        assert np.array_equal(npz["probe"], h5["probe"][()])
        assert npz["probe"].shape == (1, 16, 16)
        assert not np.array_equal(npz["positions"][:, 1], scan_arrays()["xcoords"] * 1.1)
    done = call(place, "baseline scan.npz --out second --epochs 1 --init first/reconstruction.npz")
    assert done.exit_code == 0, done.output
    assert json.loads((place / "second/provenance.json").read_text())["init"] == "first/reconstruction.npz"


REFUSED: dict[str, tuple[str, Words]] = {
    "no folder": ("baseline scan.npz", ("--out",)),
    "no scan": ("baseline absent.npz --out out", ("absent.npz", "no such file")),
    "unknown engine": ("baseline scan.npz --out out --engine raar", ("engine: 'raar' given", "'lsqml'")),
    "no epochs": ("baseline scan.npz --out out --epochs 0", ("epochs: 0 given", "greater than or equal to 1")),
    "epochs as text": ("baseline scan.npz --out out --epochs many", ("--epochs", "valid int")),
    "no frames per update": ("baseline scan.npz --out out --batch-size 0", ("--batch-size: 0 given",)),
    "unknown noise": ("baseline scan.npz --out out --noise-model cauchy", ("noise_model: 'cauchy' given",)),
    "noise that the engine lacks": (
        "baseline scan.npz --out out --engine rpie --noise-model poisson",
        ("noise_model: poisson given with engine rpie", "lsqml or autodiff"),
    ),
    "negative seed": ("baseline scan.npz --out out --seed -1", ("seed: -1 given",)),
    "unknown device": ("baseline scan.npz --out out --accelerator tpu", ("accelerator: 'tpu' given",)),
    "a used folder": ("baseline scan.npz --out run", ("run: is not empty; give another --out.",)),
    "a folder of others": ("baseline scan.npz --out foreign --overwrite", ("foreign: was not written by ptychopinn",)),
    "no image to start from": ("baseline scan.npz --out out --init absent.npz", ("absent.npz", "no such file")),
    "a text to start from": ("baseline scan.npz --out out --init notes.txt", ("notes.txt: is no readable HDF5 file",)),
    "a scan to start from": ("baseline scan.npz --out out --init scan.npz", ("scan.npz: is a scan, no image",)),
    "an empty folder to start from": ("baseline scan.npz --out out --init empty", ("empty: holds no reconstruction",)),
    "an unknown setting": ("baseline scan.npz --out out --set epoch=3", ("epoch: not a setting", "'epochs'")),
    "an unknown flag": ("baseline scan.npz --out out --nepochs 3", ("--nepochs",)),
    "one frame": ("baseline scan.npz --out out --n-subsample 1", ("1 frames lie at one position",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_one_line(place: Path, name: str) -> None:
    assert_refused(place, *REFUSED[name])
