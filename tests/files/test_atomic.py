"""A file is there whole or not at all."""

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
    with pytest.raises(RunFailedError, match="cannot be written: No such file"), writing(tmp_path / "result.txt"):
        pass
    assert names(tmp_path) == []
