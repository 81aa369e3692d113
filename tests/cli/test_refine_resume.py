"""``refine --resume``, and what a signal leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.config import Settings
from ptychopinn.files.output_folder import file_hash
from ptychopinn.files.reconstruction import read_reconstruction
from tests.cli.refusing import call

pytestmark = pytest.mark.usefixtures("quick_pictures")

FLAGS = "--epochs 60 --set error_draws=0 --set tolerance=0 --set accelerator=cpu"


@pytest.fixture
def scan(place: Path) -> Path:
    """A scan of 64 frames of 32 x 32 pixels."""
    line = "simulate star.npz --N 32 --object-size 80 --probe-radius 7 --step 6 --nphotons 1e5"
    assert call(place, line).exit_code == 0
    return place


def stopped(folder: Path, number: signal.Signals, more: str = "") -> tuple[int, str]:
    """Exit code and error of a refinement that gets a signal once it has a checkpoint."""
    line = [sys.executable, "-m", "ptychopinn", *f"refine star.npz --out out --quiet {FLAGS} {more}".split()]
    process = subprocess.Popen(line, cwd=folder, stderr=subprocess.PIPE, text=True, env=os.environ)
    end = time.monotonic() + 120
    while not (folder / "out/checkpoint.pt").is_file() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(number)
    error = process.communicate(timeout=120)[1]
    return process.returncode, error


@pytest.mark.slow
def test_a_killed_fit_goes_on(scan: Path) -> None:
    assert call(scan, f"refine star.npz --out whole {FLAGS}").exit_code == 0
    assert not (scan / "whole/checkpoint.pt").exists()
    assert stopped(scan, signal.SIGKILL)[0] == -signal.SIGKILL
    assert not (scan / "out/reconstruction.h5").exists()
    done = call(scan, f"refine star.npz --out out {FLAGS}")
    assert (done.exit_code, "--resume to go on with it" in done.stderr) == (2, True), done.output
    done = call(scan, "refine star.npz --out out --resume")
    assert done.exit_code == 0, done.output
    one, two = (read_reconstruction(scan / name) for name in ("whole", "out"))
    assert np.array_equal(one.object, two.object)
    assert not (scan / "out/checkpoint.pt").exists()


@pytest.mark.slow
def test_a_signal_leaves_the_image_so_far_and_a_way_on(scan: Path) -> None:
    code, error = stopped(scan, signal.SIGTERM)
    told = "refine: stopped by SIGTERM; the image so far is in out; go on with the same command and --resume.\n"
    assert code == 1
    # Of a fit that is not finished nobody says why it is poor.
    assert error.splitlines(keepends=True)[-1] == f"ptychopinn: {told}"
    assert "would explain" not in error
    assert np.isfinite(read_reconstruction(scan / "out").object).all()
    for line, words in {
        "refine star.npz --out out --resume --subpixel bilinear": "subpixel 'bilinear' given, but out was begun with",
        "refine scan.npz --out out --resume": "is not the scan that out was fitted to",
        "refine star.npz --out out --resume --overwrite": "omit --config and --overwrite",
        "refine star.npz --out out --resume --init out": "--init: has no effect with --resume",
    }.items():
        done = call(scan, line)
        assert (done.exit_code, words in done.stderr) == (2, True), done.output
    done = call(scan, "refine star.npz --out out --resume --epochs 70")
    assert done.exit_code == 0, done.output
    assert "asked for (70)" in done.stdout


@pytest.mark.slow
def test_a_stopped_fit_lies_beside_a_finished_image(scan: Path) -> None:
    assert call(scan, "refine star.npz --out out --epochs 20 --error-draws 1").exit_code == 0
    before = (scan / "out/reconstruction.h5").read_bytes()
    for _ in range(2):
        code, error = stopped(scan, signal.SIGTERM, "--overwrite")
        assert code == 1
        assert "the image so far is in out-unfinished, and out keeps the finished one" in error.splitlines()[-1]
        assert (scan / "out/reconstruction.h5").read_bytes() == before
        assert np.isfinite(read_reconstruction(scan / "out-unfinished").object).all()
        (scan / "out/checkpoint.pt").rename(scan / "kept.pt")
    (scan / "kept.pt").rename(scan / "out/checkpoint.pt")
    assert call(scan, "refine star.npz --out out --resume").exit_code == 0
    assert (scan / "out/reconstruction.h5").read_bytes() != before
    assert not (scan / "out/checkpoint.pt").exists()


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint at all"])
def test_a_folder_without_a_checkpoint_is_refused(scan: Path, content: bytes | None) -> None:
    if content is not None:
        (scan / "out").mkdir()
        (scan / "out/checkpoint.pt").write_bytes(content)
    done = call(scan, "refine star.npz --out out --resume")
    assert done.exit_code == 2
    assert done.stderr.startswith("ptychopinn: out/checkpoint.pt: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "held", [{}, {"origin": "["}, {"origin": "[]"}, {"origin": 5}, {"origin": "{}", "progress": {}}]
)
def test_a_checkpoint_of_something_else_is_refused(scan: Path, held: dict[str, object]) -> None:
    (scan / "out").mkdir()
    torch.save(held, scan / "out/checkpoint.pt")
    done = call(scan, "refine star.npz --out out --resume")
    told = "ptychopinn: out/checkpoint.pt: cannot be read as a checkpoint; start again with --overwrite.\n"
    assert (done.exit_code, done.stderr) == (2, told)


@pytest.mark.parametrize("parts", [None, (), ("image", "probe", "positions")])
def test_a_checkpoint_of_another_shape_is_refused(scan: Path, parts: tuple[str, ...] | None) -> None:
    settings = Settings().changed(engine="native").flat()
    origin = {
        "sha256": file_hash(scan / "star.npz"),
        "settings": settings,
        "sources": dict.fromkeys(settings, "default"),
    }
    estimate = None if parts is None else {name: torch.zeros(2, 2) for name in parts}
    progress = {"estimate": estimate, "best": None, "velocity": None, "blank": True}
    (scan / "out").mkdir()
    torch.save({"origin": json.dumps(origin), "progress": progress}, scan / "out/checkpoint.pt")
    done = call(scan, "refine star.npz --out out --resume")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert "checkpoint.pt: cannot be read as a checkpoint" in done.stderr


@pytest.mark.slow
def test_two_processes_give_the_image_of_one(scan: Path) -> None:
    images = []
    flags = "--epochs 30 --error-draws 2 --accelerator cpu --refine-probe --refine-positions --quiet"
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, start in (("alone", []), ("both", together)):
        line = [sys.executable, *start, "-m", "ptychopinn", *f"refine star.npz --out {name} {flags}".split()]
        done = subprocess.run(line, cwd=scan, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        images.append(read_reconstruction(scan / name))
    one, two = images
    lit = one.coverage > 0.1 * one.coverage.max()
    for name in ("object", "amplitude_std", "phase_std"):
        apart = (getattr(two, name) - getattr(one, name))[lit]
        assert np.sqrt(np.mean(np.abs(apart) ** 2)) < 1e-4, name
    np.testing.assert_allclose(two.positions, one.positions, atol=1e-3)
    assert two.deviance == pytest.approx(one.deviance, rel=1e-5)
