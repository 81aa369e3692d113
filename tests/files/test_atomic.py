"""A file is there whole or not at all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptychopinn.errors import RunFailedError
from ptychopinn.files.atomic import writing


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("before", [None, "old"])
def test_the_file_appears_when_the_block_ends(tmp_path, before):
    path = tmp_path / "new" / "result.txt"
    if before is not None:
        path.parent.mkdir()
        path.write_text(before)
    with writing(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("whole")
        assert (path.read_text() if path.exists() else None) == before
    assert path.read_text() == "whole"
    assert names(path.parent) == ["result.txt"]


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt, SystemExit, RunFailedError])
@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("written", [True, False])
def test_an_exception_leaves_things_as_they_were(tmp_path, exception, before, written):
    path = tmp_path / "result.txt"
    if before is not None:
        path.write_text(before)
    with pytest.raises(exception, match="stopped"), writing(path) as temporary:
        if written:
            temporary.write_text("half")
        raise exception("stopped")
    assert names(tmp_path) == ([] if before is None else ["result.txt"])
    assert before is None or path.read_text() == before


def test_a_full_disk_is_a_failed_run(tmp_path):
    path = tmp_path / "result.txt"
    with pytest.raises(RunFailedError) as error, writing(path) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert str(error.value) == f"{path}: cannot be written: No space left on device."
    assert error.value.exit_code == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("below", ["result.txt", "deep/result.txt"])
def test_a_parent_that_is_a_file(tmp_path, below):
    (tmp_path / "file").write_text("here before")
    path = tmp_path / "file" / below
    with pytest.raises(RunFailedError) as error, writing(path) as temporary:
        temporary.write_text("never")
    assert str(error.value).startswith(f"{path}: cannot be written: ")
    assert (tmp_path / "file").read_text() == "here before"


def test_a_folder_under_the_final_name(tmp_path):
    path = tmp_path / "result"
    path.mkdir()
    with pytest.raises(RunFailedError, match="cannot be written"), writing(path) as temporary:
        temporary.write_text("never")
    assert names(tmp_path) == ["result"]
    assert names(path) == []


def test_a_block_that_writes_nothing(tmp_path):
    with (
        pytest.raises(RunFailedError, match="cannot be written: nothing was written"),
        writing(tmp_path / "result.txt"),
    ):
        pass
    assert names(tmp_path) == []


def test_names_as_long_as_the_file_system_allows(tmp_path):
    for name in ("x" * 255, "é" * 127, "y" * 201):
        with writing(tmp_path / name) as temporary:
            temporary.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"
    with pytest.raises(RunFailedError, match="cannot be written: File name too long"), writing(tmp_path / ("x" * 300)):
        raise AssertionError("begun")
    assert len(names(tmp_path)) == 3


def test_what_is_no_plain_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(RunFailedError, match="device or pipe"), writing(path):
            raise AssertionError("begun")
        assert path.exists()
        assert not path.is_file()


def part_of(path: Path) -> Path:
    """The temporary file that a process leaves when it is killed while it writes."""
    code = f"""
import os, signal
from pathlib import Path
from ptychopinn.files.atomic import writing
with writing(Path({str(path)!r})) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    before = set(path.parent.iterdir())
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (left,) = set(path.parent.iterdir()) - before
    return left


def test_parts_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    path, other = tmp_path / "result.txt", tmp_path / "other.txt"
    dead, foreign = part_of(path), part_of(other)
    with writing(path) as living:
        living.write_text("first")
        assert not dead.exists()
        with writing(path) as second:
            second.write_text("second")
        assert living.read_text() == "first"
    assert path.read_text() == "first"
    assert names(tmp_path) == sorted([foreign.name, "result.txt"])


@pytest.mark.parametrize(("age", "stays"), [(0, True), (2 * 86400, False)])
def test_parts_of_another_machine_count_as_left_after_a_day(tmp_path, age, stays):
    path = tmp_path / "result.txt"
    part = tmp_path / f".result.txt.{'0' * 8}-{'a' * 16}.part"
    part.write_text("half")
    os.utime(part, (time.time() - age,) * 2)
    with writing(path) as temporary:
        temporary.write_text("whole")
    assert part.exists() == stays


def test_planted_links_are_not_followed(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("years of work")
    folder = tmp_path / "shared"
    folder.mkdir()
    for name in (f".result.txt.{os.getpid()}.part", f".result.txt.{'0' * 8}-{'a' * 16}.part"):
        (folder / name).symlink_to(precious)
    (folder / "result.txt").symlink_to(precious)
    with writing(folder / "result.txt") as temporary:
        temporary.write_text("new")
    assert precious.read_text() == "years of work"
    assert (folder / "result.txt").read_text() == "new"
    with pytest.raises(RunFailedError, match="took its temporary file away"), writing(folder / "b.txt") as temporary:
        temporary.write_text("new")
        temporary.unlink()
        temporary.symlink_to(precious)
    assert precious.read_text() == "years of work"


@pytest.mark.skipif(subprocess.run(["unshare", "-Urpf", "true"], check=False).returncode != 0, reason="no namespaces")
def test_writers_with_the_same_process_number_do_not_meet(tmp_path):
    """Two containers write one file: whichever comes last, the file is whole."""
    code = f"""
import os, sys
from pathlib import Path
from ptychopinn.files.atomic import writing
for _ in range(20):
    with writing(Path({str(tmp_path / "result.bin")!r})) as temporary, temporary.open("wb") as stream:
        for _ in range(200):
            stream.write(sys.argv[1].encode() * 1000)
            stream.flush()
print(os.getpid())
"""
    command = ["unshare", "-Urpf", sys.executable, "-c", code]
    writers = [subprocess.Popen([*command, letter], stdout=subprocess.PIPE, text=True) for letter in "ab"]
    numbers = [writer.communicate(timeout=120)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert numbers[0] == numbers[1]
    found = (tmp_path / "result.bin").read_bytes()
    assert found in (b"a" * 200_000, b"b" * 200_000)
    assert names(tmp_path) == ["result.bin"]


def test_folders_in_one_another_without_end_are_refused(tmp_path):
    path = tmp_path / ("x/" * 2000) / "result.txt"
    with pytest.raises(RunFailedError, match="more than 256 folders in one another"), writing(path):
        pass
    assert names(tmp_path) == []
