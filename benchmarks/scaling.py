"""Time and memory of ``infer`` and ``refine`` against frames, frame size, width of the network and processes.

    python -m benchmarks.scaling measure --folder /tmp/scaling [--only frames] [--longest 100]
    python -m benchmarks.scaling draw

``measure`` writes generated scans to the folder, runs a command on each as a process of its own and keeps a
row per run in ``benchmarks/results/scaling.json``; what is there already is not run again. The networks are not
trained: their time does not depend on their weights. CPU-seconds count, which others on the machine hardly change.
``draw`` makes ``docs/images/scaling.png`` and prints the tables.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
STORE = Path(__file__).parent / "results" / "scaling.json"
PICTURE = ROOT / "docs" / "images" / "scaling.png"
STEP = 4
"""Pixels between neighbouring frames at N = 64, in proportion at other sizes; the field grows with the frames."""

NARROW = {"stages": 1, "n_filters_scale": 0.25, "depth": 1}
"""A network that costs little, to reach many frames."""


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        series: what is varied.
        frames: of the scan.
        N: their edge.
        network: "default" or "narrow".
        width: ``n_filters_scale`` of the network.
        processes: that torchrun starts.
        command: ``infer``; or ``refine`` or ``baseline`` (LSQML), from vacuum.
        epochs: of a fit; 0: ``EPOCHS``.
    """

    series: str
    frames: int
    N: int = 64
    network: str = "default"
    width: float = 1.0
    processes: int = 1
    command: str = "infer"
    epochs: int = 0

    @property
    def key(self) -> str:
        values = asdict(self)
        if self.command == "infer":
            del values["command"]
        if not self.epochs:
            del values["epochs"]
        return "-".join(str(value) for value in values.values())


CASES = (
    *(Case("frames", count) for count in (1_000, 3_000, 10_000, 100_000)),
    *(Case("N", count, N=N) for N, count in ((32, 1_000), (64, 1_000), (128, 400), (256, 100))),
    *(Case("width", 3_000, width=width) for width in (0.25, 0.5, 1.0, 2.0)),
    *(Case("frames", count, N=32, network="narrow", width=0.25) for count in (1_000, 10_000, 100_000, 1_000_000)),
    *(Case("processes", 100_000, processes=processes) for processes in (1, 2)),
    *(Case("refine", count, command="refine") for count in (1_000, 10_000, 30_000, 100_000)),
    *(Case("brief", count, command="refine", epochs=2) for count in (1_000, 10_000, 30_000, 100_000, 1_000_000)),
    *(Case("refine processes", 10_000, processes=processes, command="refine") for processes in (1, 2)),
    *(Case("lsqml", count, command="baseline") for count in (1_000, 10_000)),
)

EPOCHS = {"refine": 14, "baseline": 3}
"""Of the fits: for ``refine`` 9 of projections, one to linearise, 3 products and one to try the step."""


def write_scan(path: Path, N: int, count: int, lines: int = 16) -> None:
    """A CXI file of so many frames on a field that grows with their number.

    The object repeats itself after ``lines`` steps, so that few simulated frames are those of every place of the field.
    """
    from benchmarks.memory_of_a_large_file import write
    from ptychopinn.physics.probe import curved_disc
    from ptychopinn.scan.simulation import simulate

    step, rng = STEP * N // 64, np.random.default_rng(0)
    edge = lines * step
    frequency = np.fft.fftfreq(edge)
    smooth = np.exp(-(frequency[:, None] ** 2 + frequency[None, :] ** 2) / (2 * 0.06**2))
    loss, phase = np.fft.ifft2(np.fft.fft2(rng.standard_normal((2, edge, edge))) * smooth).real
    tile = (1 - 0.2 * (loss - loss.min()) / np.ptp(loss)) * np.exp(0.4j * phase / phase.std())
    image = np.tile(tile, (N // edge + 4,) * 2).astype(np.complex64)
    places = step * np.stack(np.mgrid[:lines, :lines], axis=-1).reshape(-1, 2)
    moves = rng.uniform(-0.2, 0.2, places.shape) * step
    first = edge * -(-N // edge)
    probe = curved_disc(N, 12.0 * N / 64, 2.5).numpy()
    scan = simulate(image, probe, first + places + moves, nphotons=1e5, interpolation="fourier")
    across = lines * max(1, round(np.sqrt(count) / lines))
    row, column = np.divmod(np.arange(count), across)
    of_tile = (row % lines) * lines + column % lines
    positions = N + step * np.stack([row, column], axis=1) + moves[of_tile]
    repeated = np.resize(np.arange(lines * across), min(count, lines * across))
    write(path, scan.subset(of_tile[repeated] if count >= lines * across else of_tile), count, positions, np.uint16)


def write_run(folder: Path, scan: Path, case: Case) -> None:
    """A bundle of a network that is not trained."""
    from ptychopinn import api
    from ptychopinn.config import Settings
    from ptychopinn.model import bundle
    from ptychopinn.model.model import PtychoModel
    from ptychopinn.scan.illumination import Illumination

    shape = NARROW if case.network == "narrow" else {}
    settings = Settings.of({**shape, "n_filters_scale": case.width})
    folder.mkdir()
    light = Illumination.of(api.read_scan(scan).subset(slice(0, 64)))
    bundle.save_run(folder, bundle.Run(PtychoModel(settings.model).eval(), light, settings))


def run(case: Case, folder: Path) -> dict[str, Any]:
    """Seconds and the largest resident memory of a process, and what ``infer`` says of its steps."""
    model, image = (folder / f"{name}-{case.key}" for name in ("run", "image"))
    scan = folder / f"{case.N}-{case.frames}.cxi"
    if not scan.is_file():
        write_scan(scan, case.N, case.frames)
    several = ("torch.distributed.run", "--standalone", f"--nproc-per-node={case.processes}", "-m")
    launch = several if case.processes > 1 else ()
    threads = str(max(1, cores() // case.processes) if case.command == "infer" else 1)
    line = [sys.executable, "-m", *launch, "ptychopinn", case.command, "--out", image, "--accelerator", "cpu"]
    if case.command == "infer":
        write_run(model, scan, case)
        line += [model, scan]
    else:
        line += [scan, "--epochs", str(case.epochs or EPOCHS[case.command]), "--set", "error_draws=0"]
    began, peak, asked, cpu, read = time.perf_counter(), 0, 0, cpu_of_children(), read_of_children()
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": threads})
    while process.poll() is None:
        family = family_of(process.pid)
        peak = max(peak, resident_of(family))
        asked = max(asked, sum(map(asked_for, family)))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{case}: failed")
    seconds = time.perf_counter() - began
    steps = json.loads((image / "provenance.json").read_text(encoding="utf-8"))["seconds"]
    found = {"seconds": seconds, "cpu_seconds": cpu_of_children() - cpu, "peak_bytes": peak, "steps": steps}
    reads = {"bytes_read": read_of_children() - read, "bytes_asked": asked}
    return asdict(case) | found | {"threads": int(threads), **reads}


def cpu_of_children() -> float:
    """Seconds that the processes which were started and have ended kept cores busy."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def read_of_children() -> int:
    """Bytes that the processes which were started and have ended read from a disk, not from its cache."""
    return 512 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock


def family_of(process: int) -> dict[int, dict[str, str]]:
    """Process and descendants, by number, with the rows of their ``/proc/PID/status``."""
    rows: dict[int, dict[str, str]] = {}
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # it has just ended
            continue
        rows[int(path.parent.name)] = dict(line.split(":", 1) for line in lines if ":" in line)
    family = {process}
    while more := {child for child, row in rows.items() if int(row["PPid"]) in family} - family:
        family |= more
    return {member: rows[member] for member in family & rows.keys()}


def resident_of(family: dict[int, dict[str, str]]) -> int:
    """Bytes that the largest of some processes has held at most; 0 when all have ended."""
    return max((1024 * int(rows.get("VmHWM", "0 kB").split()[0]) for rows in family.values()), default=0)


def asked_for(process: int) -> int:
    """Bytes that a process has read from files, from a disk or from its cache; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{process}/io").read_text().split()[1])
    except OSError:
        return 0


def cores() -> int:
    return len(os.sched_getaffinity(0))


def measure(folder: Path, only: str | None, longest: int) -> None:
    """Run what is not yet in the store, smaller first."""
    from benchmarks.floors import processor

    stored = load()
    machine = {"name": processor(), "cores": cores()}
    if stored["rows"] and stored["machine"] != machine:
        raise SystemExit(f"{STORE}: was measured on {stored['machine']}, this is {machine}; remove it first.")
    stored["machine"] = machine
    folder.mkdir(exist_ok=True)
    for case in CASES:
        wanted = only in (None, case.series) and case.frames <= longest
        if wanted and case.key not in stored["rows"]:
            stored["rows"][case.key] = row = run(case, folder)
            STORE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
            print(f"{case}: {row['seconds']:.1f} s, {row['peak_bytes'] / 1e6:.0f} MB", flush=True)


def load() -> dict[str, Any]:
    return json.loads(STORE.read_text(encoding="utf-8")) if STORE.is_file() else {"machine": {}, "rows": {}}


def cost(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """``t = a + b n`` by least squares of the relative errors: a in CPU-s, b in CPU-s per frame.

    Raises:
        ValueError: for fewer than two numbers of frames.
    """
    frames, seconds = (np.array([row[name] for row in rows], dtype=float) for name in ("frames", "cpu_seconds"))
    if len(set(frames.tolist())) < 2:
        raise ValueError(f"cost: runs with {sorted(set(frames.tolist()))} frames; at least two numbers are needed.")
    design = np.stack([np.ones_like(frames), frames], axis=1) / seconds[:, None]
    a, b = np.linalg.lstsq(design, np.ones_like(frames), rcond=None)[0]
    return float(a), float(b)


def series(rows: dict[str, dict[str, Any]], name: str, network: str = "default") -> list[dict[str, Any]]:
    """Rows of a series in the order of what is varied."""
    found = [row for row in rows.values() if row["series"] == name and row["network"] == network]
    return sorted(found, key=lambda row: row[name if name in row else "frames"])


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row per run."""
    lines = [
        "| varied | frames | N | network | processes | CPU-seconds | seconds | memory (MB) |",
        "|---|" + "---|" * 7,
    ]
    for row in rows.values():
        network = row["network"] if row["width"] in (1.0, NARROW["n_filters_scale"]) else f"width {row['width']:g}"
        network = "" if row.get("command", "infer") != "infer" else network
        network = f"width {row['width']:g}" if row["series"] == "width" else network
        lines.append(
            f"| {row['series']} | {row['frames']:,} | {row['N']} | {network} | {row['processes']} | "
            f"{row['cpu_seconds']:.1f} | {row['seconds']:.1f} | {row['peak_bytes'] / 1e6:,.0f} |"
        )
    return "\n".join(lines)


def per_frame(row: dict[str, Any]) -> float:
    """Milliseconds of a frame in network, phases and stitching, as the command counts them itself."""
    return 1e3 * float(sum(row["steps"].values())) / row["frames"]


def extrapolated(seconds_per_frame: float, N: int, frames: float = 1e9, disk: float = 2e9) -> str:
    """What so many frames need: days of one core, size of the counts as uint16, and of the image.

    Args:
        seconds_per_frame: b of the cost model, CPU-s.
        N: edge of a frame.
        frames: how many.
        disk: bytes per second that can be read.
    """
    from ptychopinn.scan.checks import CANVAS_BYTES

    counts, canvas = 2 * N**2 * frames, CANVAS_BYTES * (STEP * N / 64) ** 2 * frames
    return (
        f"{frames:.0e} frames: {seconds_per_frame * frames / 86400:.3g} core-days; {counts / 1e12:.3g} TB of counts, "
        f"{counts / disk / 3600:.2g} h at {disk / 1e9:g} GB/s; an image of {canvas / 1e9:.3g} GB while it is made"
    )


def draw(stored: dict[str, Any]) -> None:
    """Four panels: CPU time and memory against frames, CPU time of a frame against N and against width."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = stored["rows"]
    figure, panels = pyplot.subplots(2, 2, figsize=(10, 7.5), constrained_layout=True)
    names = {"default": "default network, N = 64", "narrow": "narrow network, N = 32"}
    for (network, label), marker in zip(names.items(), "os", strict=True):
        found = series(rows, "frames", network)
        if len(found) < 2:
            continue
        frames = [row["frames"] for row in found]
        a, b = cost(found)
        (points,) = panels[0, 0].plot(frames, [row["cpu_seconds"] for row in found], marker, label=label)
        fitted = np.geomspace(frames[0], frames[-1])
        text = f"{a:.1f} s + {1e3 * b:.3g} ms per frame"
        panels[0, 0].plot(fitted, a + b * fitted, "-", color=points.get_color(), label=text)
        panels[0, 1].plot(frames, [row["peak_bytes"] / 1e6 for row in found], marker + "-", label=label)
    for panel, name, label in ((panels[1, 0], "N", "N (pixels)"), (panels[1, 1], "width", "width of the network")):
        found = series(rows, name)
        panel.plot([row[name] for row in found], [per_frame(row) for row in found], "o-")
        panel.set(xscale="log", yscale="log", xlabel=label, ylabel="ms per frame, without start-up")
        panel.set_xticks([row[name] for row in found], [f"{row[name]:g}" for row in found], minor=False)
        panel.minorticks_off()
    panels[0, 0].set(xscale="log", yscale="log", xlabel="frames", ylabel="CPU-seconds, file to written image")
    panels[0, 1].set(xscale="log", xlabel="frames", ylabel="largest resident memory (MB)")
    panels[0, 1].set_ylim(bottom=0)
    for panel in panels.flat:
        panel.grid(which="major", alpha=0.3)
    panels[0, 0].legend(fontsize=8)
    panels[0, 1].legend(fontsize=8)
    panels[1, 1].set(yscale="linear", ylim=(0, None))
    machine = stored["machine"]
    figure.suptitle(
        f"ptychopinn infer, {machine['cores']} of the cores of a shared {machine['name']} machine", fontsize=11
    )
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--folder", type=Path, required=True, help="for scans and images; left there")
    measuring.add_argument("--only", choices=sorted({case.series for case in CASES}))
    measuring.add_argument("--longest", type=int, default=max(case.frames for case in CASES), help="frames")
    commands.add_parser("draw")
    given = parser.parse_args()
    if given.command == "measure":
        measure(given.folder, given.only, given.longest)
        return
    stored = load()
    draw(stored)
    print(table(stored["rows"]))
    names = {"default": "frames", "narrow": "frames", "refine": "refine"}
    for network, name in names.items():
        if len(rows := series(stored["rows"], name, "default" if network == "refine" else network)) > 1:
            a, b = cost(rows)
            print(f"{network}: {a:.2f} CPU-s + {1e3 * b:.3g} CPU-ms per frame; {extrapolated(b, rows[0]['N'])}")


if __name__ == "__main__":
    main()
