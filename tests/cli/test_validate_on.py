"""``train --validate-on``: the other half of a split, its hash, its curve, and what is refused."""

import csv
import hashlib
import json
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from ptychopinn import api
from ptychopinn.cli.app import app
from ptychopinn.errors import PtychoError
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.scan.scan import Scan

TINY = "--n-filters-scale 0.25 --stages 1 --nepochs 2 --teacher-epochs 2 --synthetic-fraction 0 --batch-size 8"
CALL = f"train train.npz --validate-on test.npz {TINY} --accelerator cpu --out run"


def call(folder: Path, line: str) -> Any:
    with chdir(folder):
        return CliRunner().invoke(app, line.split())


@pytest.fixture(scope="module")
def trained(tiny_scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the halves of a scan, and a run on the first. Not to be changed."""
    folder = tmp_path_factory.mktemp("validated")
    for name, part in zip(("train", "test"), tiny_scan.split("y"), strict=True):
        write_npz(folder / f"{name}.npz", part)
    result = call(folder, CALL)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_the_second_scan_is_recorded_with_its_hash_and_its_curve(trained: Path) -> None:
    record = json.loads((trained / "run/provenance.json").read_text())
    digest = hashlib.sha256((trained / "test.npz").read_bytes()).hexdigest()
    frames = len(np.load(trained / "test.npz")["xcoords"])
    assert record["validation"] == {"scan": "test.npz", "sha256": digest, "frames": frames}
    assert record["settings"]["val_fraction"] == 0
    assert record["sources"]["val_fraction"] == "data"
    with (trained / "run/metrics.csv").open() as stream:
        epochs = [row for row in csv.DictReader(stream) if row["train_loss"]]
    assert len(epochs) == 2
    assert all(float(row[name]) > 0 for row in epochs for name in ("val_loss", "val_nll", "val_patch_error", "lr"))
    assert imread(trained / "run/loss.png").std() > 0.05
    assert api.load_run(trained / "run").held_out.size == 0


def test_a_run_goes_on_with_the_same_second_scan(folder: Path) -> None:
    result = call(folder, "train train.npz --out run --resume --nepochs 3")
    assert result.exit_code == 0, result.output
    assert len(api.load_run(folder / "run").history) == 3


def test_a_run_does_not_go_on_with_another_second_scan(folder: Path) -> None:
    with np.load(folder / "test.npz") as data:
        np.savez(folder / "test.npz", **{**data, "xcoords": data["xcoords"] + 1})
    result = call(folder, "train train.npz --out run --resume --nepochs 3")
    assert result.exit_code == 2
    assert "test.npz: is not the scan that run was validated on" in result.output
    result = call(folder, "train train.npz --out run --resume --validate-on train.npz")
    assert result.exit_code == 2
    assert "validate_on 'train.npz' given, but run was begun with 'test.npz'" in result.output


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--validate-on train.npz", "are trained on"),
        ("--validate-on missing.npz", "missing.npz: no such file"),
        ("--validate-on test.npz --val-fraction 0.1", "--val-fraction: has no effect with --validate-on"),
    ],
)
def test_what_cannot_be_validated_on_is_refused(trained: Path, line: str, words: str) -> None:
    result = call(trained, f"train train.npz --out new {line}")
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert result.output.count("\n") == 1
    assert not (trained / "new").exists()


def test_the_python_function_takes_a_scan(tiny_scan: Scan) -> None:
    first, second = tiny_scan.split("y")
    tiny = {"n_filters_scale": 0.25, "stages": 1, "nepochs": 1, "teacher_epochs": 0, "accelerator": "cpu"}
    run = api.train(first, validate_on=second, **tiny)
    assert run.history[0]["val_nll"] > 0
    with pytest.raises(PtychoError, match="val_fraction: has no effect with validate_on"):
        api.train(first, validate_on=second, val_fraction=0.1)
    with pytest.raises(PtychoError, match="validate_on: str given; a Scan"):
        api.train(first, validate_on="test.npz")  # type: ignore[arg-type]
