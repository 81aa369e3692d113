"""Reading frames: a whole NPZ, and an HDF5 stack that stays in its file, batch by batch."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.floors import Work
from ptychopinn import api
from ptychopinn.files import hdf5
from ptychopinn.files.formats import npz
from ptychopinn.scan.frames import Frames
from ptychopinn.scan.scan import Scan

BATCH = 32


@pytest.fixture(scope="module")
def scan(N: int, tiny: bool) -> Scan:
    """Frames of a simulated scan, repeated to 2^24 pixels (64 MB as float32)."""
    few = api.simulate(N=N, object_size=2 * N + 32, step=N / 8, nphotons=1e5, probe_radius=N / 5)
    count = (2**17 if tiny else 2**24) // N**2 + 1  # N frames of N x N could be read in two orders
    rows = np.arange(count) % len(few)
    return replace(few.subset(rows), object=None)


def reading(scan: Scan, stored: int, place: str) -> Work:
    pixels = len(scan) * scan.N**2
    formula = f"{stored + 4} N^2 bytes a frame: stored ones read from {place}, float32 written"
    return Work(len(scan), "frames", formula, bytes=(stored + 4) * pixels)


def test_npz(measure, scan: Scan, tmp_path: Path) -> None:
    path = tmp_path / "scan.npz"
    npz.write_npz(path, scan)
    work = reading(scan, 2, "the page cache, as if they were not compressed")
    found = measure(lambda: api.read_scan(path).frames(slice(None)), work=work, rounds=3)
    assert np.array_equal(found.numpy(), scan.counts)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_hdf5_in_batches(measure, scan: Scan, tmp_path: Path, compression: str) -> None:
    path = tmp_path / "scan.h5"
    options = hdf5.OPTIONS if compression == "gzip" else {}
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=scan.counts.astype(np.uint16), chunks=(1, scan.N, scan.N), **options)

    def read() -> list[Tensor]:
        with h5py.File(path) as file:  # a stack keeps what it has decompressed: every round has its own
            lazy = replace(scan, counts=Frames.of(hdf5.stack(file["data"])))
        return [lazy.frames(slice(first, first + BATCH)) for first in range(0, len(lazy), BATCH)]

    parts = measure(read, work=reading(scan, 2, "the page cache"), rounds=3)
    assert np.array_equal(torch.cat(parts).numpy(), scan.counts)
