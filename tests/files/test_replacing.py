"""Older results stay until new ones are there; new ones appear as a whole, or somewhere that is said."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.output_folder import LOCK, write_json, write_provenance
from ptychopinn.files.replacing import holding

FILES = [f"reconstruction.{ending}" for ending in ("h5", "npz", "png")]


def result(folder: Path, text: str) -> None:
    for name in FILES:
        write_json(folder / name, {"of": text})
    write_provenance(folder, "refine", {})


def older(folder: Path) -> Path:
    with holding(folder, "refine") as place:
        place.publish(lambda new: result(new, "old"))
    return folder


def content(folder: Path) -> set[str]:
    found = {entry.name for entry in folder.iterdir()} - {LOCK}
    assert found == {*FILES, "provenance.json"}
    return {(folder / name).read_text() for name in FILES}


def test_older_results_stay_until_new_ones_are_there(tmp_path: Path) -> None:
    folder = older(tmp_path / "run")
    before = content(folder)
    with pytest.raises(ZeroDivisionError), holding(folder, "refine", overwrite=True):
        raise ZeroDivisionError
    assert content(folder) == before
    with holding(folder, "refine", overwrite=True) as place:

        def write(new: Path) -> None:
            result(new, "new")
            assert {(folder / name).read_text() for name in FILES} == before
            with pytest.raises(PtychoError, match="another process writes"), holding(folder, "refine", overwrite=True):
                raise AssertionError("held twice")

        place.publish(write)
        with pytest.raises(PtychoError, match="another process writes"), holding(folder, "refine", overwrite=True):
            raise AssertionError("held twice")
        assert (folder / LOCK).exists()
    assert content(folder) == {'{\n "of": "new"\n}\n'}
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("place_of", ["beside", "one stands in it", "link"])
def test_a_folder_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place_of: str) -> None:
    folder = older(tmp_path / "run")
    folder.chmod(0o2750)
    shown = folder
    if place_of == "one stands in it":
        monkeypatch.chdir(folder)
        shown = Path(".")
    if place_of == "link":
        shown = tmp_path / "latest"
        shown.symlink_to(folder)
    with holding(shown, "refine", overwrite=True) as place:
        place.publish(lambda new: result(new, "new"))
    assert content(folder) == content(shown) == {'{\n "of": "new"\n}\n'}
    assert folder.stat().st_mode & 0o7777 == 0o2750
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["latest"] * (place_of == "link") + ["run"]


def test_what_came_meanwhile_stays_and_the_result_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shelter").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "shelter"))
    folder = tmp_path / "run"
    with pytest.raises(RunFailedError, match="is not empty") as error, holding(folder, "refine") as place:
        (folder / "notes.txt").write_text("mine")
        place.publish(lambda new: result(new, "new"))
    assert [entry.name for entry in folder.iterdir()] == ["notes.txt"]
    kept = re.search(r"the new result is in (.*)\.$", str(error.value))
    assert kept is not None
    assert content(Path(kept[1])) == {'{\n "of": "new"\n}\n'}


@pytest.mark.parametrize("gone", ["folder", "parent"])
def test_a_folder_that_was_removed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    (tmp_path / "shelter").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "shelter"))
    monkeypatch.chdir(tmp_path / "work")
    with holding(Path("run"), "refine") as place:
        for entry in Path("run").iterdir():
            entry.unlink()
        Path("run").rmdir()
        if gone == "parent":
            (tmp_path / "work").rmdir()
            with pytest.raises(RunFailedError, match=f"run: cannot be written: .*is in {tmp_path / 'shelter'}"):
                place.publish(lambda new: result(new, "new"))
        else:
            place.publish(lambda new: result(new, "new"))
    found = next((tmp_path / "shelter").iterdir()) if gone == "parent" else tmp_path / "work/run"
    assert content(found) == {'{\n "of": "new"\n}\n'}


def test_single_files_wait_for_one_that_is_worth_it(tmp_path: Path) -> None:
    folder = older(tmp_path / "run")
    begun = []
    with holding(folder, "refine", overwrite=True) as place:
        place.when_begun(lambda: begun.append(True))
        place.put("provenance.json", lambda path: write_provenance(path.parent, "refine", {"new": 1}))
        for number in range(2):
            place.put("loss.csv", lambda path, number=number: path.write_text(f"{number}"))
        assert (place.waits, begun, content(folder)) == (True, [], {'{\n "of": "old"\n}\n'})
        place.put("reconstruction.h5", lambda path: path.write_text("new"), ready=True)
        assert (place.waits, begun) == (False, [True])
        place.put("loss.png", lambda path: path.write_text("at once"))
        names = {"provenance.json": None, "loss.csv": "1", "reconstruction.h5": "new", "loss.png": "at once"}
        assert {entry.name for entry in folder.iterdir()} == {*names, LOCK}
        assert all(text is None or (folder / name).read_text() == text for name, text in names.items())
        place.publish(lambda new: write_json(new / "frames.csv", {}))  # beside them
    assert {entry.name for entry in folder.iterdir()} == {*names, "frames.csv"}


WRITER = """
import sys
from pathlib import Path
from ptychopinn.files.replacing import holding
from tests.files.test_replacing import result
folder = Path(sys.argv[1])
print("ready", flush=True)
for number in range(10**9):
    with holding(folder, "refine", overwrite=True) as place:
        place.publish(lambda new: result(new, str(number)))
"""


def test_a_kill_at_any_moment_leaves_one_whole_result(tmp_path: Path) -> None:
    folder = older(tmp_path / "run")
    for number in range(12):
        command = [sys.executable, "-c", WRITER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.05 + 0.0137 * number)
            os.kill(process.pid, signal.SIGKILL)
        assert len(content(folder)) == 1
    with holding(folder, "refine", overwrite=True) as place:
        place.publish(lambda new: result(new, "last"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    assert content(folder) == {'{\n "of": "last"\n}\n'}
