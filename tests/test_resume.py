"""Interrupted trainings: nothing is lost, nothing half-written, and the end is the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptychopinn.bundle import load_run
from ptychopinn.files.npz import write_npz

FLAGS = (
    "--nepochs",
    "12",
    "--n-filters-scale",
    "0.25",
    "--stages",
    "1",
    "--teacher-epochs",
    "3",
    "--val-fraction",
    "0.1",
)


def command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    call = [sys.executable, "-m", "ptychopinn.cli.app", "train", "scan.npz", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        call, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path, tiny_scan) -> Path:
    write_npz(tmp_path / "scan.npz", tiny_scan)
    return tmp_path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, tiny_scan) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("whole")
    write_npz(folder / "scan.npz", tiny_scan)
    code, _, err = finish(command(folder, "--out", "run", *FLAGS))
    assert code == 0, err
    return load_run(folder / "run").history[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_with_a_checkpoint_and_says_how_to_go_on(folder, uninterrupted, number):
    process = command(folder, "--out", "run", *FLAGS)
    wait_for(folder / "run/checkpoints/last.ckpt", process)
    process.send_signal(number)
    code, _, err = finish(process)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert signal.Signals(number).name in err
    assert "--resume" in err
    assert not (folder / "run/wts.h5.zip").exists()
    code, _, err = finish(command(folder, "--out", "run", "--resume"))
    assert code == 0, err
    history = load_run(folder / "run").history
    assert history[-1]["epoch"] == 12
    assert history[-1]["val_loss"] == pytest.approx(uninterrupted["val_loss"], rel=0.1)


@pytest.mark.slow
def test_five_kills_in_a_row(folder, uninterrupted):
    moments = random.Random(1)
    arguments = ["--out", "run", *FLAGS]
    for _ in range(5):
        process = command(folder, *arguments)
        wait_for(folder / "run/provenance.json", process)
        time.sleep(moments.uniform(0.5, 8.0))
        process.kill()
        finish(process)
        for path in (folder / "run").rglob("*"):
            if path.suffix == ".json":
                json.loads(path.read_text())
        arguments = ["--out", "run", "--resume"]
    code, _, err = finish(command(folder, *arguments))
    assert code == 0, err
    assert load_run(folder / "run").history[-1]["val_loss"] == pytest.approx(uninterrupted["val_loss"], rel=0.01)


def test_two_runs_cannot_share_a_folder(folder):
    first = command(folder, "--out", "run", *FLAGS)
    wait_for(folder / "run/checkpoints/last.ckpt", first)
    for flags in (("--resume",), ()):
        code, _, err = finish(command(folder, "--out", "run", *flags))
        assert code == 2
        assert len(err.strip().splitlines()) == 1
    first.kill()
    finish(first)


def test_resume_needs_a_run_and_its_scan(folder, tiny_scan):
    code, _, err = finish(command(folder, "--out", "absent", "--resume"))
    assert code == 2
    assert "absent" in err
    code, _, err = finish(command(folder, "--out", "run", *FLAGS[2:], "--nepochs", "1"))
    assert code == 0, err
    write_npz(folder / "scan.npz", tiny_scan.subset(slice(0, 50)))
    code, _, err = finish(command(folder, "--out", "run", "--resume"))
    assert code == 2
    assert "not the scan" in err
