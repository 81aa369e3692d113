"""Memory of a training and an inference on HDF5 files of any size.

    python benchmarks/memory_of_a_large_file.py --folder /tmp/large --gigabytes 20
    python benchmarks/memory_of_a_large_file.py --folder /tmp/many --frames 10000 100000 1000000

With ``--gigabytes`` the file is a scan of 128 x 128 pixels with steps of 4 px, so that the field grows with it; a
training of limited time and an inference run on it. With ``--frames`` each file passes ever again over one field of
224 x 224 pixels, with frames of 32 x 32, so that only the number of frames grows; an inference runs on each. Every
command is a process of its own. Printed are its largest resident memory (VmHWM: with its libraries, without what the
system keeps of files) and the part of it that no file backs (RssAnon).
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

import ptychopinn
from ptychopinn.files.formats import cxi, registry
from ptychopinn.files.formats.npz import record_of
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import raster

SMALL = ("--set", "stages=1", "--set", "n_filters_scale=0.1", "--set", "depth=1", "--accelerator", "cpu")
BRIEF = ("--teacher-epochs", "0", "--synthetic-fraction", "0", "--val-fraction", "0.001")


def write(
    path: Path, scan: Scan, count: int, positions: np.ndarray, dtype: type[np.unsignedinteger] = np.uint32
) -> int:
    """A CXI file of so many frames, which repeat those of a scan, without compression.

    Returns:
        Their number.
    """
    if path.exists():
        return count
    one = replace(record_of(scan), counts=scan.counts[:1], positions=positions[:1], object=None)
    registry.write(path, "cxi", registry.prepared(one, "cxi", Geometry(dummy=True)))
    with h5py.File(path, "r+") as file:
        pixel = float(file[f"{cxi.PTYCHODUS}/object_pixel_height_m"][()])
        places, units = file[cxi.TRANSLATIONS[0]][0, :2], dict(file[cxi.TRANSLATIONS[0]].attrs)
        for name in (cxi.TRANSLATIONS[0], f"{cxi.DETECTOR}/data"):
            del file[name]
        moves = (positions - positions[0])[:, ::-1] * pixel
        file[cxi.TRANSLATIONS[0]] = np.pad(places + moves, ((0, 0), (0, 1)))
        file[cxi.TRANSLATIONS[0]].attrs.update(units)
        shape = (count, scan.N, scan.N)
        data = file.create_dataset(f"{cxi.DETECTOR}/data", shape, dtype, chunks=(1, scan.N, scan.N))
        frames = scan.counts.astype(dtype)
        for start in range(0, count, len(frames)):
            data[start : start + len(frames)] = frames[: count - start]
    return count


def growing_field(path: Path, gigabytes: float) -> int:
    """A file of so many bytes of frames of 128 x 128, on a field that grows with it, where they do not belong."""
    scan = ptychopinn.simulate(N=128, object_size=192, step=3, nphotons=1e4)
    count = int(gigabytes * 1e9 / (4 * scan.N**2))
    edge = int(np.sqrt(count) * 4) + scan.N
    return write(path, scan, count, np.resize(raster((edge, edge), scan.N, 4.0, 0.2, 0), (count, 2)))


def same_field(path: Path, count: int) -> int:
    """So many frames of 32 x 32: passes over one field, each with the counts that belong to its places."""
    scan = ptychopinn.simulate(N=32, object_size=224, probe_radius=7, step=1.9, nphotons=1e5)
    scan = scan.subset(slice(0, 10_000))
    return write(path, scan, count, np.resize(scan.positions, (count, 2)))


class Needed(NamedTuple):
    """What a command needed: memory in MB, wall time in seconds."""

    resident: float
    anonymous: float
    seconds: float

    def __str__(self) -> str:
        memory = f"{self.resident:.0f} MB resident, {self.anonymous:.0f} MB of it anonymous"
        return f"{memory}, {self.seconds:.0f} s"


def run(*line: str) -> Needed:
    """Run a command in a process of its own and watch its memory."""
    started, peak, anonymous = time.perf_counter(), 0, 0
    process = subprocess.Popen([sys.executable, "-m", "ptychopinn", *line], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        rows = {name: value.split() for name, _, value in (row.partition(":") for row in status.splitlines())}
        peak = max(peak, int(rows.get("VmHWM", ["0"])[0]))
        anonymous = max(anonymous, int(rows.get("RssAnon", ["0"])[0]))
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(line)}: failed")
    return Needed(peak * 1024 / 1e6, anonymous * 1024 / 1e6, time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="for files; those that are there are used again")
    parser.add_argument("--gigabytes", type=float)
    parser.add_argument("--frames", type=int, nargs="*", default=[])
    parser.add_argument("--seconds", type=float, default=20.0, help="of training")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    model, limits = str(given.folder / "run"), ("--max-seconds", str(given.seconds))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.gigabytes:
        path = given.folder / "large.cxi"
        frames = growing_field(path, given.gigabytes)
        print(f"{frames} frames of 128 x 128, {given.gigabytes:g} GB of counts", flush=True)
        print("train:", run("train", str(path), "--out", model, *BRIEF, *limits, *SMALL, "--overwrite"), flush=True)
        print("infer:", run("infer", model, str(path), "--out", str(given.folder / "image"), "--overwrite"), flush=True)
    for number, count in enumerate(given.frames):
        path = given.folder / f"{count}.cxi"
        same_field(path, count)
        if not number and not given.gigabytes:
            run("train", str(path), "--out", model, *BRIEF, *limits, *SMALL, "--overwrite")
        needed = run("infer", model, str(path), "--out", str(given.folder / f"image{count}"), "--overwrite")
        print(f"infer, {count} frames of 32 x 32: {needed}", flush=True)


if __name__ == "__main__":
    main()
