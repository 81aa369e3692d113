"""``ptychopinn infer --follow`` beside a process that writes as a detector does."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.evaluation.metrics import score
from ptychopinn.files import reading, record
from ptychopinn.files.formats import registry
from ptychopinn.files.formats.npz import record_of
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.inference.infer import infer
from ptychopinn.model.bundle import Run, save_run
from ptychopinn.scan.scan import Scan
from tests.cli.refusing import assert_one_line, assert_refused, call, write_scan

pytestmark = pytest.mark.usefixtures("quick_pictures")

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


FRAMES, POSITIONS = "entry_1/instrument_1/detector_1/data", "entry_1/sample_1/geometry_1/translation"
FOLLOW = "infer run growing.cxi --out image --follow --set follow_interval=0 --accelerator cpu"
WRITTEN = {
    "provenance.json",
    "reconstruction.h5",
    "reconstruction.npz",
    "reconstruction.png",
    "patterns.png",
    "live.html",
}


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
    record = registry.prepared(replace(record_of(scan), object=None), "cxi", Geometry(dummy=True))
    registry.write(tmp_path / "whole.cxi", "cxi", record)
    return tmp_path


@pytest.mark.parametrize(
    ("then", "ends"),
    [
        pytest.param("close", "--follow-timeout 1.5", marks=pytest.mark.slow),
        ("stay", "--follow-frames 64 --follow-timeout 60"),
        ("stay", "--follow-timeout 3"),
    ],
)
@pytest.mark.parametrize("probe", ["its own", pytest.param("that of the run", marks=pytest.mark.slow)])
def test_a_growing_scan_becomes_the_image_of_the_whole(beamline, tiny_scan, tiny_run, then, ends, probe):
    if probe == "that of the run":
        with h5py.File(beamline / "whole.cxi", "r+") as file:
            del file["entry_1/image_1"], file["entry_1/instrument_1/source_1/illumination"]
    with writing(beamline, then):
        done = call(beamline, f"{FOLLOW} {ends}")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert done.stdout.count(" frames: image/live.png") >= 2
    assert {path.name for path in (beamline / "image").iterdir()} == WRITTEN
    assert json.loads((beamline / "image/provenance.json").read_text())["frames"] == 64
    found, expected = read_reconstruction(beamline / "image"), infer(tiny_run, tiny_scan)
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


def spoil(folder: Path, dataset: str, row: int, value: float) -> None:
    """Change the file that the detector will have written: all values of a frame or of a position."""
    with h5py.File(folder / "whole.cxi", "r+") as file:
        values, units = file[dataset][()].astype("f4" if dataset == FRAMES else "f8"), dict(file[dataset].attrs)
        values[row] = value
        del file[dataset]
        file[dataset] = values
        file[dataset].attrs.update(units)


@pytest.mark.parametrize(
    ("dataset", "row", "value", "words"),
    [
        (FRAMES, 30, np.nan, "diffraction: NaN or infinity in frame 30"),
        pytest.param(FRAMES, 3, -1, "diffraction: negative counts (-1.0) in frame 3", marks=pytest.mark.slow),
        (POSITIONS, 30, np.nan, "frame 30: positions: NaN"),
        pytest.param(POSITIONS, 30, -1e30, "frame 30: positions: NaN", marks=pytest.mark.slow),
        pytest.param(POSITIONS, 3, 1.0, "px away from the middle of the other frames", marks=pytest.mark.slow),
        pytest.param(POSITIONS, 63, -1.0, "px away from the middle of the other frames", marks=pytest.mark.slow),
    ],
)
def test_a_bad_frame_or_position_is_left_out(beamline, dataset, row, value, words):
    spoil(beamline, dataset, row, value)
    with writing(beamline, "close"):
        done = call(beamline, f"{FOLLOW} --follow-timeout 2")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    said = [line for line in done.stdout.splitlines() if words in line]
    assert [line.startswith("waiting: ") for line in said] == [True, False]
    assert f"left out, frame {row}: " in said[1] or f"left out: frame {row}: " in said[1]
    assert {path.name for path in (beamline / "image").iterdir()} == WRITTEN
    provenance = json.loads((beamline / "image/provenance.json").read_text())
    found = read_reconstruction(beamline / "image")
    assert provenance["frames"] == len(found.positions) == 63
    assert provenance["left_out"] == ([row] if row < 63 else [])
    assert np.isfinite(found.object).all()
    assert found.deviance == provenance["deviance_per_pixel"]


@pytest.mark.parametrize("frames", [pytest.param(20, marks=pytest.mark.slow), 64])
def test_the_image_does_not_need_the_file_any_more(beamline, frames):
    script = WRITER.replace("list(range(5, 64, 20)) + [64]", f"[{frames}]")
    script += f"os.rename('growing.cxi', 'moved.cxi') if {frames} == 64 else os.remove('growing.cxi')\n"
    with subprocess.Popen(
        [sys.executable, "-c", f"import os\n{script}", "close"], cwd=beamline, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        done = call(beamline, f"{FOLLOW} --follow-timeout 2")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert done.stdout.count("growing.cxi: cannot be read at the end (No such file or directory)") == 1
    assert f"{frames} frames in" in done.stdout
    assert "deviance per pixel unknown" in done.stdout
    assert done.stdout.count("data: cannot be read: no such file or directory.\n") >= 2
    assert {path.name for path in (beamline / "image").iterdir()} == WRITTEN - {"patterns.png"}
    provenance = json.loads((beamline / "image/provenance.json").read_text(), parse_constant=pytest.fail)
    assert (provenance["frames"], provenance["sha256"], provenance["deviance_per_pixel"]) == (frames, None, None)
    assert len(read_reconstruction(beamline / "image").positions) == frames


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_scan_and_its_image_is_written(beamline, number):
    with writing(beamline, "stay"):
        command = [sys.executable, "-m", "ptychopinn", *FOLLOW.split(), "--follow-timeout", "600"]
        with subprocess.Popen(command, cwd=beamline, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follower:
            assert follower.stdout is not None
            assert any(b"64 frames: " in row for row in follower.stdout)
            follower.send_signal(number)
            if number == signal.SIGTERM:
                follower.send_signal(number)  # as a batch system does that ends a group
            out, err = follower.communicate(timeout=60)
    assert (follower.returncode, err) == (0, b"")
    assert out.splitlines()[0].startswith(f"{number.name}: the scan is over".encode())
    assert {path.name for path in (beamline / "image").iterdir()} == WRITTEN
    assert json.loads((beamline / "image/provenance.json").read_text())["frames"] == 64


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
    registry.write(beamline / "scan.h5", "ptychodus-product", product(beamline))
    cases = {
        "scan.npz": ("scan.npz: NPZ scan; only a CXI file",),
        "scan.h5": ("scan.h5: product of ptychodus; only a CXI file", "--map"),
        "notes.txt": ("notes.txt",),
        "nowhere.cxi": (
            "nowhere.cxi",
            "no such file",
        ),
        ".": ("ptychopinn: .: is a folder; the HDF5 file to which the detector appends is needed",),
        "whole.cxi --probe scan.h5.gone": ("scan.h5.gone",),
        "whole.cxi --map notes.txt": ("notes.txt: is not JSON",),
        "whole.cxi --n-subsample 9": ("--n-subsample needs a complete scan",),
        "whole.cxi --refine": ("--refine needs the whole scan",),
    }
    for given, words in cases.items():
        assert_refused(beamline, f"infer run {given} --out image --follow", words)
    assert_refused(beamline, "infer run whole.cxi --out image --follow-frames 3", ("--follow-frames", "--follow"))


def product(folder: Path) -> record.Record:
    record = reading.read(folder / "whole.cxi")
    return registry.prepared(record, "ptychodus-product", Geometry(dummy=True), with_frames=False)


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


def test_a_crop_that_no_frame_has_is_refused_at_once(beamline):
    began = time.monotonic()
    line = "infer run whole.cxi --out image --follow --follow-timeout 600 --crop 64 --accelerator cpu"
    assert_refused(beamline, line, ("whole.cxi: crop: 64 given; an even number from 8 to 32 is needed",))
    assert time.monotonic() - began < 60


def test_a_probe_of_another_size_is_refused_at_once(beamline):
    write_scan(beamline / "scan.npz")
    began = time.monotonic()
    line = "infer run whole.cxi --out image --follow --follow-timeout 600 --probe scan.npz --accelerator cpu"
    assert_refused(beamline, line, ("whole.cxi: probe: shape (1, 16, 16); (modes, 32, 32) is needed",))
    assert time.monotonic() - began < 60
