"""HDF5 on disks that are full at any moment: an error, never a crash; the older file stays."""

import errno
import io
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.errors import RunFailedError
from ptychopinn.files import hdf5
from ptychopinn.files.written_hdf5 import WrittenFile, _Sink, writing_hdf5

FRAMES = np.random.default_rng(0).integers(0, 1000, (40, 32, 32)).astype(np.uint16)


def fill(file: h5py.File) -> None:
    frames = file.create_dataset("entry/data", FRAMES.shape, "u2", chunks=(1, 32, 32), compression="gzip", shuffle=True)
    for number, frame in enumerate(FRAMES):
        frames[number] = frame
    file["image"] = np.ones((200, 200), np.complex64)
    file["link"] = h5py.SoftLink("/image")
    file["entry"].attrs["name"] = "x" * 1000


def test_what_is_written_is_read_by_any_library(tmp_path: Path) -> None:
    with writing_hdf5(tmp_path / "a.h5") as file:
        fill(file)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["entry/data"], FRAMES)
        assert file["link"].shape == (200, 200)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("begin", [0, 1])
def test_every_size_of_a_full_disk(tmp_path: Path, begin: int) -> None:
    """In a process of its own, as the fault that this is for ends the process."""
    path = tmp_path / "a.h5"
    path.write_text("old")
    with writing_hdf5(tmp_path / "b.h5") as file:
        fill(file)
    whole = (tmp_path / "b.h5").stat().st_size
    limits = [*range(begin * 700, 6000, 1400), *range(6000 + begin * 9000, whole, 18000), whole - 1]
    code = f"""
import resource, sys
from pathlib import Path
from ptychopinn.errors import RunFailedError
from ptychopinn.files.written_hdf5 import writing_hdf5
from tests.files.test_written_hdf5 import fill
for limit in {limits}:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        with writing_hdf5(Path({str(path)!r})) as file:
            fill(file)
    except RunFailedError as error:
        assert str(error) == {f"{path}: cannot be written: File too large."!r}, error
    else:
        sys.exit(f"{{limit}}: written")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert path.read_text() == "old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.h5", "b.h5"]


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_older_file(tmp_path: Path, exception: type[BaseException]) -> None:
    (tmp_path / "a.h5").write_text("old")
    with pytest.raises(exception), writing_hdf5(tmp_path / "a.h5") as file:
        fill(file)
        raise exception
    assert (tmp_path / "a.h5").read_text() == "old"


def test_much_is_not_kept_in_memory(tmp_path: Path) -> None:
    """Frames are written until the first error, for which their writer asks."""
    counts = np.ones((9000, 64, 64), np.uint8)
    with _Full(str(tmp_path / "a"), "w+b") as stream, WrittenFile(_Sink(stream)) as file:
        with pytest.raises(OSError, match="No space"):
            hdf5.write_frames(file, "a/b", counts)
        assert not (file["a/b"][-1]).any()


class _Full(io.FileIO):
    """A disk that takes some bytes of a write, then none."""

    left = 5

    def write(self, data: object) -> int:
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = bytes(data)[: self.left]  # type: ignore[call-overload]
        self.left -= len(part)
        return super().write(part)


def test_after_an_error_reads_give_what_was_written(tmp_path: Path) -> None:
    with _Full(str(tmp_path / "a"), "w+b") as stream:
        sink = _Sink(stream)
        sink.write(b"abc")
        assert sink.write(b"defg") == 4
        assert isinstance(sink.error, OSError)
        sink.seek(1)
        sink.write(b"X")
        buffer = bytearray(10)
        sink.seek(0)
        sink.readinto(buffer)
        assert bytes(buffer) == b"aXcdefg\0\0\0"
        assert sink.seek(0, io.SEEK_END) == 7


def test_ctrl_c_while_hdf5_closes_is_told_afterwards(tmp_path: Path) -> None:
    class Interrupted(_Full):
        def write(self, data: object) -> int:
            raise KeyboardInterrupt

    with Interrupted(str(tmp_path / "a"), "w+b") as stream:
        sink = _Sink(stream)
        with h5py.File(sink, "w") as file:
            file["x"] = np.ones(10)
    assert isinstance(sink.error, KeyboardInterrupt)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailedError, match="cannot be written: "), writing_hdf5(tmp_path / "file/a.h5"):
        raise AssertionError("begun")
