"""Memory of a training and an inference on an HDF5 file of any size.

    python benchmarks/memory_of_a_large_file.py --gigabytes 2 --folder /tmp/large

Writes a CXI file that repeats the counts of a simulated scan, trains for a few seconds and infers, each in a process of
its own, and prints the most memory that each of them held which no file backs.
"""

import argparse
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptychopinn.files import formats
from ptychopinn.files.npz import record_of
from ptychopinn.frames import Frames
from ptychopinn.simulation import raster

SMALL = ("--set", "stages=1", "--set", "n_filters_scale=0.1", "--set", "depth=1", "--accelerator", "cpu")


class Repeated:
    """The frames of a scan, again and again."""

    def __init__(self, frames: np.ndarray, count: int) -> None:
        self.frames, self.shape, self.dtype = frames, (count, *frames.shape[1:]), frames.dtype

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.frames[rows % len(self.frames)]


def write(path: Path, gigabytes: float) -> int:
    """A file of about so many bytes of counts; how many frames it has."""
    import ptychopinn

    scan = ptychopinn.simulate(N=128, object_size=192, step=8, nphotons=1e4)
    count = int(gigabytes * 1e9 / (2 * scan.N**2))
    edge = int(np.sqrt(count) * 4) + scan.N
    positions = np.resize(raster((edge, edge), scan.N, 4.0, 0.2, 0), (count, 2))
    counts = Frames.of(Repeated(scan.counts.astype(np.uint16), count))
    record = replace(record_of(scan), counts=counts, positions=positions, object=None)
    formats.write(path, "cxi", formats.prepared(record, "cxi", formats.Completion(dummy=True)))
    return count


def most_memory(line: list[str]) -> tuple[float, float]:
    """Gigabytes that a process held at most, without pages of files, and its seconds."""
    started, most = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, "-m", "ptychopinn", *line], stdout=subprocess.DEVNULL)
    ended = threading.Event()
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        most = max(most, *(int(row.split()[1]) for row in status.splitlines() if row.startswith("RssAnon")), 0)
        ended.wait(0.05)
    if process.wait():
        raise SystemExit(f"{' '.join(line)}: failed")
    return most * 1024 / 1e9, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    path, run = given.folder / "large.cxi", str(given.folder / "run")
    frames = write(path, given.gigabytes)
    limits = ["--max-seconds", str(given.seconds), "--teacher-epochs", "0", "--synthetic-fraction", "0"]
    for line in (
        ["train", str(path), "--out", run, *limits, "--val-fraction", "0.001", *SMALL],
        ["infer", run, str(path), "--out", str(given.folder / "image"), "--set", "inference_batch_size=16"],
    ):
        memory, seconds = most_memory(line)
        print(f"{line[0]}: {frames} frames, {given.gigabytes:g} GB: {memory:.2f} GB of memory, {seconds:.0f} s")


if __name__ == "__main__":
    main()
