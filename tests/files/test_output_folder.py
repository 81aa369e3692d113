"""Output folders: made, marked, and replaced only where they are ours."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest

from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.output_folder import (
    LOCK,
    PROVENANCE,
    file_hash,
    leads,
    write_json,
    write_provenance,
)
from ptychopinn.files.replacing import holding


def make(folder: Path, overwrite: bool = False) -> None:
    with holding(folder, "train", overwrite) as place:
        place.publish(lambda new: None)


def ours(folder: Path) -> Path:
    """A folder with a mark, a file, a sub-folder and a link to something outside."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_text("weights")
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("data")
    (folder / "probe.png").symlink_to(outside)
    write_provenance(folder, "train", {"scan": "scan.npz"})
    return folder


@pytest.mark.parametrize("overwrite", [False, True])
def test_new_and_empty_folders_are_made(tmp_path, overwrite):
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        make(folder, overwrite)
        assert list(folder.iterdir()) == []


def test_our_own_folder_is_emptied_only_when_asked(tmp_path):
    folder = ours(tmp_path / "run")
    with pytest.raises(PtychoError) as error:
        make(folder)
    assert str(error.value) == (
        f"{folder}: is not empty; give another --out, or --overwrite to replace it, or --resume to go on with it."
    )
    assert (folder / "checkpoints" / "last.ckpt").read_text() == "weights"
    make(folder, overwrite=True)
    assert list(folder.iterdir()) == []
    assert (tmp_path / "outside" / "precious.txt").read_text() == "data"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_folder_of_someone_else_stays(tmp_path, overwrite, hidden):
    theirs = tmp_path / ("." * hidden + "thesis.txt")
    theirs.write_text("years of work")
    with pytest.raises(PtychoError, match="was not written by ptychopinn" if overwrite else "is not empty"):
        make(tmp_path, overwrite)
    assert theirs.read_text() == "years of work"


def test_a_folder_named_like_the_mark_is_no_mark(tmp_path):
    (tmp_path / PROVENANCE).mkdir()
    with pytest.raises(PtychoError, match="was not written by ptychopinn"):
        make(tmp_path, overwrite=True)


def test_the_folder_one_stands_in_can_be_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(ours(tmp_path / "run"))
    make(Path("."), overwrite=True)
    write_json(Path("settings.json"), {})
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["settings.json"]


def test_a_linked_folder_stays_a_link(tmp_path):
    folder, link = ours(tmp_path / "run"), tmp_path / "latest"
    link.symlink_to(folder)
    make(link, overwrite=True)
    assert link.is_symlink()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_no_folder(tmp_path, overwrite):
    path = tmp_path / "file"
    path.write_text("kept")
    with pytest.raises(PtychoError, match=r"is a file; --out needs a folder\.$"):
        make(path, overwrite)
    with pytest.raises(PtychoError, match="cannot be made, file is a file"):
        make(path / "below", overwrite)
    assert path.read_text() == "kept"


def test_provenance_says_who_when_and_from_what(tmp_path):
    write_provenance(tmp_path, "infer", {"scan": "scan.npz", "settings": {"crop": None}})
    record = json.loads((tmp_path / PROVENANCE).read_text(encoding="utf-8"))
    assert record["command"] == "infer"
    assert record["ptychopinn"] == metadata.version("ptychopinn")
    assert record["settings"] == {"crop": None}
    assert abs(datetime.fromisoformat(record["date"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "values.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 10_000])
def test_hash_is_sha256_of_the_content(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert file_hash(path) == hashlib.sha256(content).hexdigest()


def test_what_we_did_not_write_is_never_removed(tmp_path):
    folder = ours(tmp_path / "run")
    (folder / "notes.txt").write_text("the sample was wet")
    with pytest.raises(PtychoError, match=r"run: ptychopinn did not write notes\.txt; move it away"):
        make(folder, overwrite=True)
    assert (folder / "notes.txt").read_text() == "the sample was wet"
    assert (folder / "checkpoints" / "last.ckpt").read_text() == "weights"


@pytest.mark.parametrize("name", ["checkpoints/notes.txt", "patterns.png", "tensorboard/mine/events.txt", "a/b"])
def test_that_holds_below_and_for_what_another_command_writes(tmp_path, name):
    path = ours(tmp_path / "run") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(PtychoError, match=f"ptychopinn did not write {name}"):
        make(tmp_path / "run", overwrite=True)
    assert path.read_text() == "mine"


def test_a_folder_may_list_what_is_ours(tmp_path):
    folder = ours(tmp_path / "run")
    for name in ("a [1].npz", "a 1.npz"):
        (folder / name).write_text("frames")
    write_provenance(folder, "train", {"files": ["a [1].npz"]})
    with pytest.raises(PtychoError, match=r"ptychopinn did not write a 1\.npz"):
        make(folder, overwrite=True)
    (folder / "a 1.npz").unlink()
    make(folder, overwrite=True)
    assert list(folder.iterdir()) == []


def test_a_command_replaces_only_what_it_wrote_itself(tmp_path):
    folder = ours(tmp_path / "run")
    with (
        pytest.raises(PtychoError, match="was written by 'train', and 'infer' does not replace it"),
        holding(folder, "infer", overwrite=True),
    ):
        raise AssertionError("replaced")
    assert (folder / "checkpoints" / "last.ckpt").read_text() == "weights"


def test_a_folder_made_in_vain_is_removed_and_no_other(tmp_path):
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there", tmp_path / "a" / "b"):
        with pytest.raises(ZeroDivisionError), holding(folder, "train"):
            assert folder.is_dir()
            raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_what_a_killed_process_left_is_no_obstacle(tmp_path):
    for name in (LOCK, ".provenance.json.4711.part"):
        (tmp_path / name).write_text("")
    make(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [False, True])
def test_a_folder_is_held_by_one_writer(tmp_path, keep):
    with holding(tmp_path / "run", "train"):
        with (
            pytest.raises(PtychoError, match="another process writes here"),
            holding(tmp_path / "run", "train", keep=keep),
        ):
            raise AssertionError("two writers")
        assert (tmp_path / "run" / LOCK).exists()
    make(tmp_path / "run")


def test_the_lock_ends_with_a_failure_and_what_was_written_stays(tmp_path):
    with pytest.raises(ZeroDivisionError), holding(tmp_path, "train"):
        write_provenance(tmp_path, "train", {})
        raise ZeroDivisionError
    assert [entry.name for entry in tmp_path.iterdir()] == [PROVENANCE]
    with holding(tmp_path, "train", keep=True):
        assert (tmp_path / PROVENANCE).exists()
    make(tmp_path, overwrite=True)


def test_a_folder_that_cannot_be_made_is_one_line():
    with pytest.raises(RunFailedError, match="^/proc/nobody: cannot be made: .*\\.$"):
        make(Path("/proc/nobody"))


@pytest.mark.parametrize(("name", "value", "expected"), [("RANK", "1", False), ("LOCAL_RANK", "0", True)])
def test_one_of_several_processes_leads(monkeypatch, name, value, expected):
    for variable in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(variable, raising=False)
    assert leads()
    monkeypatch.setenv(name, value)
    assert leads() == expected
