"""Stacks of frames that stay in their file, and links to other files."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5, reading


@pytest.mark.parametrize(("frames", "cache"), [(1, hdf5.CACHE), (40, 2 * 40 * 256 * 256 * 4)])
def test_two_chunks_always_stay_decompressed(tmp_path: Path, frames: int, cache: int) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        shape = (40, 256, 256)
        dataset = file.create_dataset("frames", shape, np.uint32, chunks=(frames, 256, 256), compression="gzip")
        stack = hdf5.stack(dataset)
    stack.read(np.array([3]))
    assert stack._open is not None
    assert stack._open[1].id.get_access_plist().get_cache()[2] == cache


def test_no_handle_of_a_growing_file_stays_open(tmp_path: Path) -> None:
    """A refresh of a second handle spoils the chunk index of the first: it then reads other frames, or fails."""
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w", libver="latest") as file:
        frames = file.create_dataset("frames", (0, 4, 4), np.uint16, maxshape=(None, 4, 4), chunks=(1, 4, 4))
        file.swmr_mode = True
        for stop in range(8, 170, 8):
            start = len(frames)
            frames.resize(stop, axis=0)
            frames[start:] = np.arange(start, stop, dtype=np.uint16)[:, None, None]
            frames.flush()
            with hdf5.opened(path) as read:
                stack = hdf5.stack(read["frames"])
            assert stack.shape[0] == stop
            assert stack.read(np.arange(0, stop, 3))[:, 0, 0].tolist() == list(range(0, stop, 3))
            assert stack._open is None


def test_a_link_into_a_missing_file_is_named(tmp_path):
    with h5py.File(tmp_path / "dp.h5", "w") as file:
        file["dp"] = h5py.ExternalLink("gone.h5", "/entry/data")
    with pytest.raises(PtychoError, match="dp.h5: dp: not there: it is a link to gone.h5, and that file is not there"):
        reading.read(tmp_path / "dp.h5")
