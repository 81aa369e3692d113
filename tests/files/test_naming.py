"""Pipes and devices are no inputs: no reader waits for one, or reads without an end."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.files import frames_files, hdf5
from ptychopinn.files.checkpoint import load_checkpoint
from ptychopinn.files.conventions.own_folder import opened_file
from ptychopinn.files.detector.masks import _values
from ptychopinn.files.formats.registry import recognise
from ptychopinn.files.naming import check_plain
from ptychopinn.files.npz_arrays import NpzArrays
from ptychopinn.files.output_folder import file_hash
from ptychopinn.files.reading import Reading, probe_of, read
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.model.bundle import load_run

READERS: dict[str, Callable[[Path], object]] = {
    "scan": read,
    "npy": lambda path: read(path, Reading(format="npy")),
    "raw": lambda path: read(path, Reading(format="raw")),
    "frames": lambda path: frames_files.read(path, 1) or read(path),
    "probe": lambda path: probe_of(path, False),
    "hdf5": lambda path: hdf5.opened(path).__enter__(),
    "any HDF5": opened_file,
    "npz": NpzArrays,
    "format": recognise,
    "mask": lambda path: _values(path, None, False),
    "hash": file_hash,
    "checkpoint": load_checkpoint,
    "image": read_reconstruction,
    "network": load_run,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("ending", [".npz", ".h5", ".npy", ".raw"])
def test_no_reader_takes_what_is_no_file(tmp_path: Path, reader: str, kind: str, ending: str) -> None:
    path = tmp_path / f"scan{ending}"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    signal.alarm(20)  # a reader that waits ends the tests
    try:
        with pytest.raises(PtychoError, match=rf"scan{ending}: is a pipe or a device; a file is needed"):
            READERS[reader](path)
    finally:
        signal.alarm(0)


def test_files_folders_and_what_is_not_there_are_left_to_their_readers(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("file", "link", "loop", "nothing", "."):
        check_plain(tmp_path / name)
