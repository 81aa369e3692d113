"""Interrupted trainings: nothing is lost, nothing half-written, and the end is the same."""

import contextlib
import csv
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ptychopinn.cli.app import app
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.model.bundle import Run, load_run

SMALL = ("--n-filters-scale", "0.25", "--stages", "1", "--teacher-epochs", "3", "--val-fraction", "0.1")
FLAGS = ("--nepochs", "4", *SMALL)


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


def call(folder: Path, *arguments: str) -> Any:
    """The same command in this process, where nothing needs to be killed."""
    with contextlib.chdir(folder):
        return CliRunner().invoke(app, ["train", "scan.npz", "--out", "run", *arguments])


@pytest.fixture
def folder(tmp_path, tiny_scan) -> Path:
    write_npz(tmp_path / "scan.npz", tiny_scan)
    return tmp_path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, tiny_scan) -> Run:
    folder = tmp_path_factory.mktemp("whole")
    write_npz(folder / "scan.npz", tiny_scan)
    done = call(folder, *FLAGS)
    assert done.exit_code == 0, done.stderr
    return load_run(folder / "run")


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory, tiny_scan) -> Path:
    """A finished run of two epochs. Not to be changed."""
    folder = tmp_path_factory.mktemp("two")
    write_npz(folder / "scan.npz", tiny_scan)
    assert call(folder, *SMALL, "--nepochs", "2").exit_code == 0
    return folder


@contextlib.contextmanager
def sent_after(path: Path, number: signal.Signals) -> Iterator[None]:
    """Send a signal to this process as soon as a file exists."""

    def send() -> None:
        while not path.exists() and not over.wait(0.005):
            pass
        if not over.is_set():
            os.kill(os.getpid(), number)

    over = threading.Event()
    # A signal that nobody expects any more must not end the tests.
    before = signal.signal(number, lambda *_: None)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()
        signal.signal(number, before)


def assert_stopped(folder: Path, number: signal.Signals, code: int, err: str) -> None:
    """One line names the signal and says how to go on; there is no bundle yet."""
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert number.name in err
    assert "--resume" in err
    assert not (folder / "run/wts.h5.zip").exists()


def assert_goes_on(folder: Path, whole: Run) -> Run:
    """The resumed run has every epoch once and ends as the run that was not interrupted."""
    run = load_run(folder / "run")
    assert [row["epoch"] for row in run.history] == list(range(1, 5))
    with (folder / "run/metrics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["train_loss"]]
        assert [float(row["epoch"]) for row in rows] == [row["epoch"] for row in run.history]
    assert run.history[-1]["val_loss"] == pytest.approx(whole.history[-1]["val_loss"], rel=1e-4)
    return run


def weights_of(run: Run) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in run.model.parameters()])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_with_a_checkpoint_and_says_how_to_go_on(folder, uninterrupted, number):
    with sent_after(folder / "run/checkpoints/last.ckpt", number):
        done = call(folder, *FLAGS)
    assert_stopped(folder, number, done.exit_code, done.stderr)
    done = call(folder, "--resume")
    assert done.exit_code == 0, done.stderr
    assert_goes_on(folder, uninterrupted)


@pytest.mark.slow
def test_two_processes_stop_and_go_on_and_give_the_losses_of_one(folder, uninterrupted):
    process = command(folder, "--out", "run", *FLAGS, "--set", "devices=2", "--set", "strategy=ddp")
    wait_for(folder / "run/checkpoints/last.ckpt", process)
    process.send_signal(signal.SIGTERM)
    code, out, err = finish(process)
    assert_stopped(folder, signal.SIGTERM, code, err)
    begun = len(re.findall("^epoch ", out, re.MULTILINE))
    code, _, err = finish(command(folder, "--out", "run", "--resume"))
    assert (code, err) == (0, "")
    run = assert_goes_on(folder, uninterrupted)
    for alone, together in zip(uninterrupted.history, run.history, strict=True):
        # Of the epoch that was stopped, the training loss is that of the batches after the stop.
        of_training = () if alone["epoch"] == begun + 1 else ("train_loss", "train_nll")
        for name in (*of_training, "val_loss", "val_patch_error"):
            assert together[name] == pytest.approx(alone[name], rel=1e-5), name
    assert torch.allclose(weights_of(uninterrupted), weights_of(run), rtol=0, atol=5e-5)


def assert_whole(folder: Path) -> None:
    """Every file under a final name can be read to its end."""
    for path in sorted(folder.rglob("*")):
        if path.name.startswith("."):
            continue
        match path.suffix:
            case ".json":
                assert json.loads(path.read_text())
            case ".csv":
                rows = list(csv.DictReader(path.read_text().splitlines()))
                assert all(None not in row.values() for row in rows)
            case ".ckpt":
                assert "state_dict" in torch.load(path, weights_only=True)
            case ".zip":
                load_run(path)


@pytest.mark.slow
def test_five_kills_in_a_row(folder):
    moments = random.Random(1)
    flags = [*SMALL, "--nepochs", "150"]
    arguments = ["--out", "run", *flags]
    for _ in range(5):
        process = command(folder, *arguments)
        wait_for(folder / "run/provenance.json", process)
        time.sleep(moments.uniform(0.5, 8.0))
        assert process.poll() is None
        process.kill()
        finish(process)
        assert_whole(folder / "run")
        arguments = ["--out", "run", "--resume"]
    code, _, err = finish(command(folder, *arguments))
    assert code == 0, err
    assert_whole(folder / "run")
    history = load_run(folder / "run").history
    assert [row["epoch"] for row in history] == list(range(1, 151))
    (folder / "run").rename(folder / "killed")
    assert call(folder, *flags).exit_code == 0
    assert history[-1]["val_loss"] == pytest.approx(load_run(folder / "run").history[-1]["val_loss"], rel=0.01)


def test_two_runs_cannot_share_a_folder(folder):
    first = command(folder, "--out", "run", *SMALL, "--nepochs", "2000")
    wait_for(folder / "run/checkpoints/last.ckpt", first)
    for flags, words in ((("--resume",), "another process writes here"), ((), "is not empty")):
        done = call(folder, *flags)
        assert done.exit_code == 2
        assert len(done.stderr.strip().splitlines()) == 1
        assert words in done.stderr
    first.kill()
    finish(first)


def test_a_finished_run_is_not_trained_again_but_may_go_on(folder):
    assert call(folder, *SMALL, "--nepochs", "2").exit_code == 0
    run = load_run(folder / "run")
    done = call(folder, "--resume")
    assert done.exit_code == 0, done.stderr
    assert "epoch " not in done.stdout
    assert load_run(folder / "run").history == run.history
    assert call(folder, "--resume", "--nepochs", "3").exit_code == 0
    longer = load_run(folder / "run")
    assert longer.history[:2] == run.history
    assert len(longer.history) == 3
    sources = longer.provenance["sources"]
    assert (sources["nepochs"], sources["stages"], sources["gridsize"]) == ("flag", "flag", "default")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--gridsize", "2"), "--resume: gridsize 2 given, but run was begun with 1"),
        (("--set", "scheduler=plateau"), "--resume: scheduler 'plateau' given"),
        (("--nepochs", "1"), "nepochs: 1 given, but 2 epochs are begun already"),
        (("--set", "enable_checkpointing=false"), "--resume: run was trained with enable_checkpointing false"),
        (("--overwrite",), "--resume: continues with the settings of the run"),
    ],
)
def test_what_decided_the_run_so_far_cannot_change(two_epochs, flags, words):
    done = call(two_epochs, "--resume", *flags)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_damaged_checkpoint_is_named(folder):
    assert call(folder, *SMALL, "--nepochs", "1").exit_code == 0
    last = folder / "run/checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    done = call(folder, "--resume", "--nepochs", "2")
    assert done.exit_code == 2
    assert "run/checkpoints/last.ckpt: is damaged; put best.ckpt in its place" in done.stderr


def test_resume_needs_a_run_and_its_scan(folder, tiny_scan):
    done = call(folder, "--resume")
    assert done.exit_code == 2
    assert "--resume: run holds no run" in done.stderr
    assert not (folder / "run").exists()
    assert call(folder, *SMALL, "--nepochs", "1").exit_code == 0
    write_npz(folder / "scan.npz", tiny_scan.subset(slice(0, 50)))
    done = call(folder, "--resume")
    assert done.exit_code == 2
    assert "not the scan" in done.stderr


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(folder):
    assert call(folder, *SMALL, "--nepochs", "1").exit_code == 0
    last = folder / "run/checkpoints/last.ckpt"
    before, bundle = last.read_bytes(), (folder / "run/wts.h5.zip").read_bytes()
    # A limit on the size of a file is to the writer what a full disk is: a write that fails half way.
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))
    try:
        done = call(folder, "--resume", "--nepochs", "2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert done.exit_code == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert re.search(r"run/checkpoints/\S+\.ckpt: cannot be written: File too large", done.stderr)
    assert (last.read_bytes(), (folder / "run/wts.h5.zip").read_bytes()) == (before, bundle)
    assert not [path for path in folder.rglob("*") if path.name.endswith(".part")]
    assert call(folder, "--resume", "--nepochs", "2").exit_code == 0
