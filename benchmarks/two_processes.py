"""``refine`` of one scan by one process and by two: time, the same image, and what is not shared.

    python -m benchmarks.two_processes --folder /tmp/two [--frames 30000] [--epochs 14]

Every process has one thread, so two need two cores that nothing else uses. Printed are the wall times and their ratio,
the CPU-seconds of each process, and the largest difference of the images over the largest amplitude. The share that is
not parallel is that of ``t_1 = s + p``, ``t_2 = s + p / 2``, from CPU-seconds: start, pictures, what is not frames.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.scaling import family_of, write_scan
from ptychopinn.api import read_reconstruction


class Took(NamedTuple):
    """What a run took: wall seconds, and the CPU-seconds of every process that refined, the first one first."""

    seconds: float
    cpu: list[float]


def refined(scan: Path, out: Path, processes: int, epochs: int) -> Took:
    """Refine a scan by so many processes of one thread."""
    several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"] if processes > 1 else []
    line = [sys.executable, "-m", *several, "ptychopinn", "refine", str(scan), "--out", str(out), "--overwrite"]
    line += ["--epochs", str(epochs), "--set", "error_draws=0", "--accelerator", "cpu"]
    began, cpu = time.perf_counter(), dict[int, float]()
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while process.poll() is None:
        for member in family_of(process.pid):
            cpu[member] = cpu_of(member) or cpu.get(member, 0.0)
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(line)}: failed")
    seconds = time.perf_counter() - began
    return Took(seconds, [cpu[member] for member in sorted(cpu)][-processes:])


def cpu_of(process: int) -> float:
    """CPU-seconds that a process has used; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def not_shared(alone: float, together: float) -> float:
    """Share s / t_1 of ``t_1 = s + p`` and ``t_2 = s + p / 2``."""
    return max(0.0, 2 * together / alone - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="for the scan, which is used again, and the images")
    parser.add_argument("--frames", type=int, default=30_000)
    parser.add_argument("--epochs", type=int, default=14)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    scan = given.folder / f"64-{given.frames}.cxi"
    if not scan.is_file():
        write_scan(scan, 64, given.frames)
    outs = [given.folder / f"by-{processes}" for processes in (1, 2)]
    one, two = (refined(scan, out, processes, given.epochs) for processes, out in enumerate(outs, 1))
    images = [read_reconstruction(out).object for out in outs]
    apart = float(np.abs(images[0] - images[1]).max() / np.abs(images[0]).max())
    print(f"one process: {one.seconds:.1f} s, {one.cpu[0]:.1f} CPU-s")
    print(f"two: {two.seconds:.1f} s, {' and '.join(f'{each:.1f}' for each in two.cpu)} CPU-s")
    print(f"ratio of wall times: {one.seconds / two.seconds:.2f}; images differ by {apart:.1g}")
    print(f"not parallel, from CPU-s: {not_shared(one.cpu[0], max(two.cpu)):.0%}")


if __name__ == "__main__":
    main()
