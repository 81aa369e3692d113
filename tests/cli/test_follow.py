"""``ptychopinn infer --follow`` beside a process that writes as a detector does."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.bundle import Run, save_run
from ptychopinn.files import formats
from ptychopinn.files.npz import record_of
from ptychopinn.inference import infer, load_reconstruction
from ptychopinn.metrics import score
from ptychopinn.scan import Scan
from tests.cli.refusing import assert_one_line, assert_refused, call, write_scan

WRITER = """
import sys, time
from pathlib import Path
import h5py

frames, positions = "entry_1/instrument_1/detector_1/data", "entry_1/sample_1/geometry_1/translation"
with h5py.File("whole.cxi") as whole, h5py.File("growing.cxi", "w", libver="latest") as file:
    for name in whole:
        whole.copy(name, file)
    for name in (frames, positions):
        values, units = whole[name], dict(whole[name].attrs)
        del file[name]
        shape = values.shape[1:]
        file.create_dataset(name, (0, *shape), values.dtype, maxshape=(None, *shape), chunks=(1, *shape))
        file[name].attrs.update(units)
    file.swmr_mode = True
    print("ready", flush=True)
    for stop in list(range(5, 64, 20)) + [64]:
        for name in (frames, positions):
            start = len(file[name])
            file[name].resize(stop, axis=0)
            file[name][start:] = whole[name][start:stop]
            file[name].flush()
            time.sleep(0.02)
        # However slow the machine is, the scan is seen while it grows.
        waited = 0
        while not Path("image/live.png").exists() and waited < 30:
            time.sleep(0.05)
            waited += 0.05
    if sys.argv[1] == "stay":
        sys.stdin.read()
"""


@contextmanager
def writing(folder: Path, then: str) -> Iterator[None]:
    """A detector that appends 64 frames, then closes the file or stays."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", WRITER, then], cwd=folder, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.fixture
def beamline(tmp_path: Path, tiny_scan: Scan, tiny_run: Run) -> Path:
    """A folder with a run of gridsize 1 and the file that the detector will have written."""
    save_run(tmp_path / "run", tiny_run)
    (tmp_path / "run/provenance.json").write_text("{}")
    # Frames from the right to the left: the corner of the scan moves as it grows.
    scan = tiny_scan.subset(np.arange(64).reshape(8, 8).T[::-1].ravel())
    record = formats.prepared(replace(record_of(scan), object=None), "cxi", formats.Completion(dummy=True))
    formats.write(tmp_path / "whole.cxi", "cxi", record)
    return tmp_path


@pytest.mark.parametrize(
    ("then", "ends"),
    [
        pytest.param("close", "--follow-timeout 1.5", marks=pytest.mark.slow),
        ("stay", "--follow-frames 64 --follow-timeout 60"),
        ("stay", "--follow-timeout 3"),
    ],
)
def test_a_growing_scan_becomes_the_image_of_the_whole(beamline, tiny_scan, tiny_run, then, ends):
    with writing(beamline, then):
        line = f"infer run growing.cxi --out image --follow {ends} --set follow_interval=0 --accelerator cpu"
        done = call(beamline, line)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert done.stdout.count(" frames: image/live.png") >= 2
    names = {path.name for path in (beamline / "image").iterdir()}
    assert names == {"provenance.json", "reconstruction.h5", "reconstruction.npz", "reconstruction.png", "patterns.png"}
    assert json.loads((beamline / "image/provenance.json").read_text())["frames"] == 64
    found, expected = load_reconstruction(beamline / "image"), infer(tiny_run, tiny_scan)
    # The file puts its first frame elsewhere, by a part of a pixel: positions agree up to one common move.
    order = np.arange(64).reshape(8, 8).T[::-1].ravel()
    moved = found.positions - tiny_scan.positions[order]
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-6)
    shift = np.round(moved[0]).astype(int)
    truth = tiny_scan.object[tiny_scan.scan_box]
    box = tuple(slice(part.start + by, part.stop + by) for part, by in zip(tiny_scan.scan_box, shift, strict=True))
    window = found.window((400, 400))[box]
    errors = [score(image, truth).complex_error for image in (window, expected.window((80, 80))[tiny_scan.scan_box])]
    assert errors[0] == pytest.approx(errors[1], rel=0.02)
    assert found.deviance == pytest.approx(expected.deviance, rel=0.02)


@pytest.mark.slow
def test_a_killed_follower_leaves_a_folder_that_overwrite_replaces(beamline):
    with writing(beamline, "stay"):
        line = "-m ptychopinn infer run growing.cxi --out image --follow --set follow_interval=0 --accelerator cpu"
        with subprocess.Popen(
            [sys.executable, *line.split()], cwd=beamline, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as follower:
            assert follower.stdout is not None
            assert any(b"live.png" in row for row in follower.stdout)
            follower.kill()
    assert (beamline / "image/live.png").read_bytes().endswith(b"IEND\xaeB`\x82")
    done = call(beamline, "infer run whole.cxi --out image --overwrite --quiet --accelerator cpu")
    assert done.exit_code == 0, done.output
    assert not (beamline / "image/live.png").exists()


def test_only_what_can_grow_is_followed(beamline):
    write_scan(beamline / "scan.npz")
    (beamline / "notes.txt").write_text("remember the milk")
    formats.write(beamline / "scan.h5", "ptychodus-product", product(beamline))
    cases = {
        "scan.npz": ("scan.npz: NPZ scan; only a CXI file",),
        "scan.h5": ("scan.h5: product of ptychodus; only a CXI file", "--map"),
        "notes.txt": ("notes.txt",),
        "nowhere.cxi": (
            "nowhere.cxi",
            "no such file",
        ),
        "whole.cxi --n-subsample 9": ("--n-subsample needs a scan that is complete",),
        "whole.cxi --refine": ("--refine needs the whole scan",),
    }
    for given, words in cases.items():
        assert_refused(beamline, f"infer run {given} --out image --follow", words)
    assert_refused(beamline, "infer run whole.cxi --out image --follow-frames 3", ("--follow-frames", "--follow"))


def product(folder: Path) -> formats.Record:
    record = formats.read(folder / "whole.cxi")
    return formats.prepared(record, "ptychodus-product", formats.Completion(dummy=True), with_frames=False)


def test_a_detector_that_does_not_run_is_no_scan(beamline):
    script = WRITER.replace("[64]", "[]").replace("range(5, 64, 20)", "range(0)")
    subprocess.run([sys.executable, "-c", script, "close"], cwd=beamline, check=True, stdout=subprocess.DEVNULL)
    done = call(beamline, "infer run growing.cxi --out image --follow --follow-timeout 0.3 --accelerator cpu")
    assert_one_line(done)
    assert "growing.cxi" in done.stderr
    assert not (beamline / "image").exists()


def test_groups_are_not_followed(beamline, template):
    done = call(beamline, f"infer {template} whole.cxi --out image --follow --follow-timeout 0.3 --accelerator cpu")
    assert_one_line(done)
    assert "trained with gridsize 2" in done.stderr
    assert not (beamline / "image").exists()


def test_one_process_follows(beamline, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert_refused(beamline, "infer run whole.cxi --out image --follow", ("--follow: one process",))
