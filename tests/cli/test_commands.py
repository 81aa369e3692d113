"""The commands as a user calls them, on a small scan."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from ptychopinn.cli.app import app

pytestmark = pytest.mark.usefixtures("quick_pictures")

COMMANDS = (
    "simulate",
    "train",
    "pretrain",
    "infer",
    "overlap",
    "baseline",
    "compare",
    "inspect",
    "export",
    "config",
    "demo",
)
SMALL = ("--n-filters-scale", 0.25, "--stages", 1)
LONGEST_HELP = 100
"""Lines of a terminal 100 columns wide."""


def call(*arguments: object, cwd: Path) -> Any:
    """Run a command in this process."""
    with contextlib.chdir(cwd):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a simulated scan, a short run and an image of it."""
    folder = tmp_path_factory.mktemp("work")
    steps = (
        ("simulate", "star.npz", "--N", 32, "--object-size", 96, "--probe-radius", 7, "--nphotons", "1e5"),
        ("train", "star.npz", "--out", "run", "--nepochs", 2, "--teacher-epochs", 5, *SMALL),
        ("infer", "run", "star.npz", "--out", "image"),
    )
    for step in steps:
        done = call(*step, cwd=folder)
        assert done.exit_code == 0, done.stderr
        assert done.stderr == ""
    return folder


def test_simulate_writes_a_scan_with_its_truth(workplace: Path) -> None:
    with np.load(workplace / "star.npz") as file:
        assert file["diffraction"].dtype == np.uint16
        assert file["objectGuess"].shape == (96, 96)
        assert file["probeGuess"].shape == (1, 32, 32)


def test_train_leaves_a_complete_run(workplace: Path) -> None:
    names = {path.name for path in (workplace / "run").iterdir()}
    expected = {"wts.h5.zip", "settings.json", "provenance.json", "metrics.csv", "checkpoints", "loss.png", "probe.png"}
    assert expected | {"live.html"} == names
    settings = json.loads((workplace / "run/settings.json").read_text())
    assert settings["nepochs"] == 2
    sources = json.loads((workplace / "run/provenance.json").read_text())["sources"]
    assert sources["nepochs"] == "flag"
    assert sources["gridsize"] == "default"


def test_train_says_what_it_does_not_do_as_asked(workplace: Path) -> None:
    usual = ("train", "star.npz", "--teacher-epochs", 0, "--n-filters-scale", 0.1, "--stages", 1, "--nepochs", 2)
    done = call(*usual, "--out", "short", "--max-seconds", 0.01, "--batch-size", 100, "--nphotons", 1e4, cwd=workplace)
    assert done.exit_code == 0, done.stderr
    assert "Ended early, in epoch 1 of 2, after 0.01 s (--max-seconds).\n" in done.stdout
    assert "batch_size" not in done.stdout
    assert "--nphotons 10000 is not used: diffraction holds counts, not amplitudes.\n" in done.stdout
    done = call(*usual, "--out", "whole", "--max-seconds", 100, "--batch-size", 1000, cwd=workplace)
    assert "Ended early" not in done.stdout
    assert "batch_size: 1000 given, but an epoch has 322 groups: one batch takes them all.\n" in done.stdout
    done = call("baseline", "star.npz", "--out", "one", "--batch-size", 200, "--epochs", 1, cwd=workplace)
    assert "--batch-size 200: the scan has 169 frames; one update takes them all.\n" in done.stdout


def test_an_interrupted_run_is_to_be_resumed_first(workplace: Path, tmp_path: Path) -> None:
    shutil.copytree(workplace / "run", tmp_path / "run")
    (tmp_path / "run/wts.h5.zip").unlink()
    done = call("infer", "run", workplace / "star.npz", "--out", "image", cwd=tmp_path)
    assert done.exit_code == 2
    assert "finish it first: ptychopinn train star.npz --out run --resume." in done.stderr


def test_version(tmp_path: Path) -> None:
    done = call("--version", cwd=tmp_path)
    assert (done.exit_code, done.stdout) == (0, f"ptychopinn {version('ptychopinn')}\n")


def test_infer_writes_the_same_image_twice_over(workplace: Path) -> None:
    with np.load(workplace / "image/reconstruction.npz") as npz, h5py.File(workplace / "image/reconstruction.h5") as h5:
        for name in ("object", "origin", "coverage", "positions"):
            assert np.array_equal(npz[name], h5[name][()])
        assert npz["object"].dtype == np.complex64
        assert npz["object"].shape == npz["coverage"].shape
        assert float(npz["deviance_per_pixel"]) == h5.attrs["deviance_per_pixel"]
    assert (workplace / "image/reconstruction.png").stat().st_size > 10_000


def test_inspect_prints_and_draws(workplace: Path) -> None:
    done = call("inspect", "star.npz", cwd=workplace)
    assert done.exit_code == 0, done.stderr
    for word in ("frames", "photons per frame", "probe", "overlap"):
        assert word in done.stdout
    assert (workplace / "star-inspect.png").stat().st_size > 10_000


def test_settings_of_a_run_can_be_used_again(workplace: Path) -> None:
    done = call("train", "star.npz", "--out", "again", "--config", "run/settings.json", "--nepochs", 1, cwd=workplace)
    assert done.exit_code == 0, done.stderr
    sources = json.loads((workplace / "again/provenance.json").read_text())["sources"]
    assert sources["nepochs"] == "flag"
    assert sources["gridsize"] == "run/settings.json"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("infer", "run", "absent.npz", "--out", "x"), ("absent.npz", "no such file")),
        (("infer", "absent", "star.npz", "--out", "x"), ("absent", "no such file")),
        (("infer", "run", "star.npz", "--out", "image"), ("image", "--overwrite")),
        (("infer", "run", "star.npz", "--out", "run", "--batch", "2"), ("--batch",)),
        (("train", "star.npz", "--out", "run"), ("run", "or --overwrite to replace it, or --resume to go on")),
        (("infer", "run", "star.npz", "--out", "run"), ("run: is not empty; give another --out.",)),
        (("train", "star.npz", "--out", "."), ("star.npz: lies in ., which is to be filled",)),
        (("baseline", "star.npz", "--out", "x", "--batch-size", "0"), ("command line: --batch-size: 0 given",)),
        (("refine", "star.npz", "--out", "x", "--max-seconds", "0"), ("command line: --max-seconds: 0.0 given",)),
        (("train", "star.npz", "--out", "x", "--gridsize", "5"), ("gridsize", "5")),
        (("train", "star.npz", "--out", "x", "--crop", "31"), ("crop", "31", "even")),
        (("train", "star.npz", "--out", "x", "--config", "star.npz"), ("star.npz", "JSON")),
        (("train", "star.npz"), ("--out",)),
        (("simulate", "star.npz"), ("star.npz", "--overwrite")),
        (("simulate", "scan.h5"), (".npz",)),
        (("simulate", "new.npz", "--object-size", "60"), ("object", "60")),
        (("inspect", "run/wts.h5.zip"), ("wts.h5.zip",)),
        (("inspect", "run"), ("run: is a folder; a scan file is needed.",)),
        (("demo", "--out", ".", "--overwrite"), ("not written by ptychopinn",)),
        (("trian",), ("trian",)),
        (("train", "star.npz", "--out", "x", "--no-such-flag", "0.1"), ("--no-such-flag",)),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    workplace: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = sorted(workplace.rglob("*"))
    done = call(*arguments, cwd=workplace)
    assert done.exit_code == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert sorted(workplace.rglob("*")) == before


def test_debug_shows_the_traceback(workplace: Path) -> None:
    command = [sys.executable, "-m", "ptychopinn.cli.app", "--debug", "infer", "run", "absent.npz", "--out", "x"]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=120)
    assert "Traceback" in done.stderr
    assert done.returncode != 0


def test_python_runs_the_package_as_the_command() -> None:
    runs = [[sys.executable, "-m", name, "--help"] for name in ("ptychopinn", "ptychopinn.cli.app")]
    package, app_file = (subprocess.run(run, capture_output=True, text=True, timeout=120) for run in runs)
    assert (package.returncode, package.stderr) == (0, "")
    assert package.stdout == app_file.stdout
    assert package.stdout.startswith("Usage: ptychopinn ")
    wrong = subprocess.run([*runs[0][:-1], "trian"], capture_output=True, text=True, timeout=120)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "ptychopinn: trian: no such command. Did you mean 'train'?\n"


@pytest.mark.parametrize("command", ["", *COMMANDS, "config init", "config validate", "config schema"])
def test_help_fits_its_width_and_ends_with_an_example(command: str) -> None:
    line = [sys.executable, "-m", "ptychopinn.cli.app", *command.split(), "--help"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "100"})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.rstrip().splitlines()
    assert len(lines) <= LONGEST_HELP
    assert max(map(len, lines)) <= 100
    assert lines[-1].strip().startswith(f"Example: ptychopinn {command}".rstrip())


def example(command: str, cwd: Path) -> list[str]:
    return call(*command.split(), "--help", cwd=cwd).stdout.rstrip().splitlines()[-1].split()[2:]


@pytest.mark.parametrize(
    "command",
    [
        "simulate",
        "inspect",
        "infer",
        "export",
        "overlap",
        "baseline",
        "config init",
        "config validate",
        "config schema",
    ],
)
def test_the_examples_run(command: str, workplace: Path, tmp_path: Path) -> None:
    shutil.copytree(workplace / "run", tmp_path / "run")
    if command != "simulate":
        shutil.copy(workplace / "star.npz", tmp_path)
    if command == "config validate":
        shutil.copy(workplace / "run/settings.json", tmp_path)
    done = call(*example(command, tmp_path), cwd=tmp_path)
    assert done.exit_code == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "demo"])
def test_the_longer_examples_run(command: str, workplace: Path, tmp_path: Path) -> None:
    shutil.copy(workplace / "star.npz", tmp_path)
    done = call(*example(command, tmp_path), cwd=tmp_path)
    assert done.exit_code == 0, done.stderr


def test_any_setting_can_be_given_by_set(workplace: Path) -> None:
    flags = ("--nepochs", 1, "--teacher-epochs", 0, "--set", "scheduler=constant", "--set", "gradient-clip-val=null")
    done = call("train", "star.npz", "--out", "assigned", *flags, *SMALL, cwd=workplace)
    assert done.exit_code == 0, done.stderr
    record = json.loads((workplace / "assigned/provenance.json").read_text())
    assert (record["settings"]["scheduler"], record["settings"]["gradient_clip_val"]) == ("constant", None)
    assert (record["sources"]["scheduler"], record["sources"]["n_groups"]) == ("flag", "data")
    for assignment, words in (
        ("schedular=constant", "--set: schedular: not a setting. Did you mean 'scheduler'?"),
        ("scheduler", "--set scheduler: NAME=VALUE is needed."),
        ("nepochs=3", "--set nepochs: given as a flag too."),
    ):
        done = call("train", "star.npz", "--out", "wrong", "--nepochs", 1, "--set", assignment, cwd=workplace)
        assert (done.exit_code, done.stderr) == (2, f"ptychopinn: {words}\n")


def test_settings_are_written_checked_and_described(tmp_path: Path) -> None:
    done = call("config", "init", "settings.json", cwd=tmp_path)
    assert (done.exit_code, done.stdout) == (0, "Settings: settings.json\n")
    values = json.loads((tmp_path / "settings.json").read_text())
    assert call("config", "validate", "settings.json", cwd=tmp_path).stdout.startswith("settings.json: ")
    assert call("config", "init", "settings.json", cwd=tmp_path).exit_code == 2
    schema = json.loads(call("config", "schema", cwd=tmp_path).stdout)
    assert set(schema["properties"]) == set(values)
    assert all("description" in entry for entry in schema["properties"].values())
    (tmp_path / "settings.json").write_text('{"gridsize": 5}')
    done = call("config", "validate", "settings.json", cwd=tmp_path)
    assert done.exit_code == 2
    assert done.stderr.startswith("ptychopinn: settings.json: gridsize: 5 given.")
