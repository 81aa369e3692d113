"""Compressions of HDF5 that work here, and how fast they are read."""

import io
import time
from typing import Any, Final

import h5py
import hdf5plugin
import numpy as np

FILTERS: Final[dict[str, dict[str, Any]]] = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "lzf": {"compression": "lzf"},
    "bitshuffle with lz4": dict(hdf5plugin.Bitshuffle()),
    "blosc": dict(hdf5plugin.Blosc()),
    "lz4": dict(hdf5plugin.LZ4()),
    "zstd": dict(hdf5plugin.Zstd()),
}
"""Those of detectors and of beamlines' writers, as arguments of ``create_dataset``."""

FRAMES: Final = (64, 256, 256)
"""Of counts written and read back, one frame a chunk."""


def reading_speeds() -> dict[str, float | str]:
    """Megabytes of counts read per second through every filter, in memory; the error of one that does not work."""
    counts = np.random.default_rng(0).poisson(2, FRAMES).astype(np.uint16)
    found: dict[str, float | str] = {}
    for name, options in FILTERS.items():
        try:
            found[name] = _speed(counts, options)
        except (OSError, ValueError, RuntimeError) as error:
            found[name] = str(error).splitlines()[0]
    return found


def _speed(counts: np.ndarray[Any, np.dtype[np.uint16]], options: dict[str, Any]) -> float:
    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        written.create_dataset("data", data=counts, chunks=(1, *FRAMES[1:]), **options)
    with h5py.File(file, "r") as stored:
        began = time.perf_counter()
        same = np.array_equal(stored["data"][()], counts)
        seconds = time.perf_counter() - began
    if not same:
        raise ValueError("what is read differs from what was written")
    return counts.nbytes / 1e6 / seconds
