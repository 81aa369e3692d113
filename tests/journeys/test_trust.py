"""Nothing is lost: full disks, kills, output that nobody takes, inputs as outputs; every call is a process."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptychopinn.files.reconstruction import read_reconstruction

CALL = (sys.executable, "-m", "ptychopinn")
FIT = ("--epochs", "2", "--error-draws", "0", "--subpixel", "bilinear")
IN_NAMESPACE = ("unshare", "-Urm", "bash", "-ec")

needs_namespaces = pytest.mark.skipif(
    subprocess.run([*IN_NAMESPACE, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode != 0,
    reason="no namespaces",
)


def call(*arguments: Any, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    more = {"capture_output": True, **more}
    return subprocess.run([*CALL, *map(str, arguments)], cwd=cwd, text=True, check=False, timeout=300, **more)


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ptychopinn: ")
    for word in words:
        assert re.search(word, lines[0]), lines[0]


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small scan and the image that ``refine`` makes of it."""
    folder = tmp_path_factory.mktemp("trust")
    size = ("--N", 32, "--object-size", 80, "--step", 8, "--probe-radius", 8)
    assert call("simulate", "star.npz", *size, cwd=folder).returncode == 0
    assert call("refine", "star.npz", "--out", "image", *FIT, cwd=folder).returncode == 0
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "work"))


@pytest.mark.slow
@pytest.mark.parametrize("kibibytes", [1, 20, 120])
def test_files_that_may_not_grow_leave_the_older_result(place: Path, kibibytes: int) -> None:
    before = content(place / "image")
    limit = (kibibytes * 1024,) * 2
    arguments = ("refine", "star.npz", "--out", "image", "--overwrite", *FIT)
    done = call(*arguments, cwd=place, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert_one_line(done, 1, "image/.*: cannot be written: File too large; what was there is intact")
    after = content(place / "image")
    after.pop("checkpoint.pt", None)  # where it fitted, --resume goes on from it
    assert after == before
    assert {entry.name for entry in place.iterdir()} == {"star.npz", "image"}


@pytest.mark.slow
@needs_namespaces
@pytest.mark.parametrize("command", ["refine", "overlap"])
def test_a_full_disk_keeps_the_older_result_and_saves_the_new_one(place: Path, command: str) -> None:
    fit = " ".join(FIT) if command == "refine" else ""
    script = f"""
        mkdir disk shelter after; mount -t tmpfs -o size=800k none disk
        {" ".join(CALL)} {command} star.npz --out disk/image {fit}
        cp -r disk/image before; head -c 900k /dev/zero > disk/filler || true
        export TMPDIR=$PWD/shelter
        {" ".join(CALL)} {command} star.npz --out disk/image --overwrite {fit} 2> errors && exit 9 || echo $? > code
        cp -r disk/image after; ls -A disk > names
    """
    done = subprocess.run([*IN_NAMESPACE, script], cwd=place, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (place / "code").read_text() == "1\n"
    errors = (place / "errors").read_text()
    assert len(errors.splitlines()) == 1, errors
    assert "No space left on device; what was there is intact, and the new result is in " in errors
    assert content(place / "after/image") == content(place / "before")
    assert set((place / "names").read_text().split()) == {"image", "filler"}
    (kept,) = (place / "shelter").glob(f"ptychopinn-{command}-*")
    assert content(kept).keys() == content(place / "before").keys()
    if command == "refine":
        assert np.isfinite(read_reconstruction(kept).object).all()


@pytest.mark.slow
@needs_namespaces
@pytest.mark.parametrize("name", ["out.npz", "out.cxi", "out.h5"])
@pytest.mark.parametrize("kibibytes", [8, 40])
def test_a_file_that_does_not_fit_is_one_line(place: Path, name: str, kibibytes: int) -> None:
    """No crash of the HDF5 library, and no half file."""
    script = f"""
        mkdir disk; mount -t tmpfs -o size={kibibytes}k none disk
        echo old > disk/{name}
        {" ".join(CALL)} convert star.npz disk/{name} --dummy-geometry --overwrite 2> errors && exit 9 || echo $? > code
        cat disk/{name} > after; ls -A disk > names
    """.replace("--dummy-geometry", "" if name == "out.npz" else "--dummy-geometry")
    done = subprocess.run([*IN_NAMESPACE, script], cwd=place, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (place / "code").read_text() == "1\n"
    assert (place / "errors").read_text() == f"ptychopinn: disk/{name}: cannot be written: No space left on device.\n"
    assert (place / "after").read_text() == "old\n"
    assert (place / "names").read_text() == f"{name}\n"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["| head -1", ">&- 2>&-", ">/dev/full 2>/dev/full", "2>&1 | true"])
def test_a_fit_goes_on_when_nobody_takes_its_output(place: Path, how: str) -> None:
    script = f"{' '.join(CALL)} refine star.npz --out new {' '.join(FIT)} {how}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=place, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert content(place / "new").keys() == content(place / "image").keys()
    read_reconstruction(place / "new")


def test_a_list_that_is_lost_is_an_error(tmp_path: Path) -> None:
    """What a call only prints must arrive; a reader that has enough of it is no error."""
    with Path("/dev/full").open("w") as full:
        done = call("config", "schema", cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert_one_line(done, 1, "standard output: cannot be written: No space left on device; lines are missing")
    script = f"{' '.join(CALL)} config schema | head -1; exit ${{PIPESTATUS[0]}}"
    read = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (read.returncode, read.stdout, read.stderr) == (0, "{\n", "")


def test_a_closed_stream_is_no_file_of_ours(tmp_path: Path) -> None:
    """With ``>&-`` the next file that is opened would get the number of standard output."""
    code = "from ptychopinn.cli.streams import keep_streams; keep_streams(); print(open('new', 'w').fileno() > 2)"
    script = f"{sys.executable} -c \"{code}; import os; os.write(1, b'noise')\" >&- 2>&-"
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True)
    assert (tmp_path / "new").read_bytes() == b""


INPUTS: dict[str, Sequence[str]] = {
    "refine --init": ("refine", "star.npz", "--init", "image", "--out", "image", "--overwrite"),
    "refine --probe": ("refine", "star.npz", "--probe", "image/reconstruction.h5", "--out", "image", "--overwrite"),
    "refine --config": ("refine", "star.npz", "--config", "image/s.json", "--out", "image", "--overwrite"),
    "convert --probe": ("convert", "star.npz", "other.npz", "--probe", "other.npz", "--overwrite"),
    "convert by a link": ("convert", "star.npz", "link.npz", "--overwrite"),
    "convert by a hard link": ("convert", "star.npz", "hard.npz", "--overwrite"),
    "convert --frames": ("convert", "star.npz", "other.npz", "--frames", "other.npz", "--overwrite"),
    "subset --mask": ("subset", "star.npz", "--out", "other.npz", "--n", "9", "--mask", "other.npz", "--overwrite"),
    "simulate --from": ("simulate", "star.npz", "--from", "star.npz", "--overwrite"),
    "overlap": ("overlap", "image/star.npz", "--out", "image", "--overwrite"),
    "compare": ("compare", "image", "star.npz", "--out", "image", "--overwrite"),
    "export": ("export", "run.pt2", "--out", "run.pt2", "--overwrite"),
}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", INPUTS.values(), ids=list(INPUTS))
def test_inputs_are_never_outputs(place: Path, arguments: Sequence[str]) -> None:
    shutil.copy(place / "star.npz", place / "other.npz")
    (place / "link.npz").symlink_to("star.npz")
    os.link(place / "star.npz", place / "hard.npz")
    (place / "run.pt2").write_text("a run")
    (place / "image/s.json").write_text("{}")
    shutil.copy(place / "star.npz", place / "image/star.npz")
    before = content(place)
    assert_one_line(call(*arguments, cwd=place), 2, "is read by this call, and would be replaced|lies in image")
    assert content(place) == before


@pytest.mark.parametrize("name", ["pipe.npz", "device.npz"])
def test_pipes_and_devices_are_no_outputs(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "device.npz").symlink_to("/dev/null")
    done = call("simulate", name, "--overwrite", cwd=tmp_path)
    assert_one_line(done, 2, f"{name}: is a device or a pipe")
    assert not Path("/dev/null").is_file()


def test_names_that_the_file_system_refuses(tmp_path: Path) -> None:
    for arguments in (("simulate", f"{'x' * 300}.npz"), ("inspect", f"{'x' * 300}.npz", "--out", "a.png")):
        assert_one_line(call(*arguments, cwd=tmp_path), 2, "x: File name too long|xx.npz: .*name too long")


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_a_training_keeps_the_older_run_until_its_first_checkpoint(place: Path, logger: str) -> None:
    train = ("train", "star.npz", "--out", "run", "--teacher-epochs", "1", "--stages", "1", "--logger", logger)
    assert call(*train, "--nepochs", 2, cwd=place).returncode == 0
    before = content(place / "run")
    longer = [*CALL, *train, "--nepochs", "2000", "--overwrite"]
    with subprocess.Popen(longer, cwd=place, stdout=subprocess.PIPE, text=True, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("teacher"):
                break
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()
    assert process.returncode == 1, said
    if "nothing was saved, and run holds the earlier run" in said:
        assert content(place / "run") == before
    assert call(*train, "--nepochs", 3, "--overwrite", cwd=place).returncode == 0
    after = content(place / "run")
    assert after.keys() - {name for name in after if "tfevents" in name} == before.keys() - {
        name for name in before if "tfevents" in name
    }
    assert all(after[name] != before[name] for name in ("wts.h5.zip", "provenance.json"))
    assert {entry.name for entry in place.iterdir()} == {"star.npz", "image", "run"}


@pytest.mark.slow
def test_an_output_folder_that_is_removed_meanwhile(place: Path) -> None:
    (place / "work").mkdir()
    arguments = [*CALL, "refine", "../star.npz", "--out", "new", "--epochs", "60", "--error-draws", "0"]
    environment = {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen(
        arguments, cwd=place / "work", stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        while not (place / "work/new/.lock").exists():
            time.sleep(0.01)
        assert process.stdout is not None
        process.stdout.readline()
        shutil.rmtree(place / "work")
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    (kept,) = place.glob("ptychopinn-refine-*")
    assert errors.splitlines()[-1].endswith(f"the new result is in {kept}.")
    read_reconstruction(kept)


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [700, 1500])
def test_libraries_that_do_not_fit_in_memory_are_one_line(place: Path, megabytes: int) -> None:
    limit = (megabytes * 2**20,) * 2
    arguments = ("refine", "star.npz", "--out", "new", *FIT)
    done = call(*arguments, cwd=place, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit))
    assert_one_line(done, 1, "out of memory; .* GiB are there")
    assert not (place / "new").exists()
