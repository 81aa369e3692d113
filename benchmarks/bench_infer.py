"""End to end: ``infer`` from a scan file that is opened to an image that is written, pictures included."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.floors import Work, flops_of
from ptychopinn import api
from ptychopinn.commands.infer import infer_folder
from ptychopinn.commands.shared.request import Request
from ptychopinn.config import resolve
from ptychopinn.evaluation.metrics import score
from ptychopinn.files.formats import npz
from ptychopinn.model import bundle
from ptychopinn.model.batches import GroupDataset
from ptychopinn.model.bundle import Run
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.scan import Scan

PIXELS, TINY_PIXELS = 2**21, 2**17
"""Of all frames together: 512 frames at N = 64."""

BATCH = 32


@pytest.fixture(scope="session")
def run(tiny: bool) -> Run:
    """The default network, trained until it sees more than vacuum."""
    scan = api.simulate(object="lines", object_size=160, nphotons=1e7, seed=1)
    epochs = {"nepochs": 1, "teacher_epochs": 1} if tiny else {"nepochs": 3, "teacher_epochs": 5}
    return api.train(scan, accelerator="cpu", **epochs)


@pytest.fixture(scope="module")
def scan(N: int, tiny: bool) -> Scan:
    """An object that the network has not seen, under a probe that lights as much of a frame at every N."""
    edge = round((TINY_PIXELS if tiny else PIXELS) ** 0.5 / N)
    step = 5 * N / 64
    size = int(edge * step + N + 2 + 0.4 * step)
    return api.simulate(object_size=size, N=N, step=step, probe_radius=12 * N / 64, nphotons=1e7)


def network_flops(run: Run, scan: Scan) -> float:
    """Of the convolutions on one frame."""
    dataset = GroupDataset(scan, np.arange(len(scan))[:, None])
    batch = dataset.__getitems__([0])
    light = Illumination.of(scan)
    return flops_of(lambda: run.model(batch.counts, batch.offsets, light, batch.reach))


def test_infer(measure, run: Run, scan: Scan, tmp_path: Path, device: str, tiny: bool) -> None:
    source = tmp_path / "scan.npz"
    npz.write_npz(source, scan)
    bundle.save_run(tmp_path, run)
    flags = {"accelerator": device, "inference_batch_size": BATCH}
    numbers = iter(range(1000))

    def open_to_written() -> tuple[Reconstruction, Path]:
        out = tmp_path / f"image{next(numbers)}"
        settings, sources = resolve(flags)
        return infer_folder(tmp_path, source, Request(settings, sources, out=out)), out

    flops = network_flops(run, scan)
    formula = f"{flops:.4g} FLOP of convolutions a pattern, counted"
    work = Work(len(scan), "patterns", formula, conv_flops=flops * len(scan))
    result, out = measure(open_to_written, work=work, device=device, rounds=2)

    assert {"reconstruction.h5", "reconstruction.npz", "reconstruction.png", "provenance.json"} <= {
        path.name for path in out.iterdir()
    }
    if not tiny:
        assert_better_than_vacuum(result, scan)


def assert_better_than_vacuum(result: Reconstruction, scan: Scan) -> None:
    assert scan.object is not None
    box = scan.scan_box
    found = score(reframe(result.object, result.origin, (0, 0), scan.object.shape)[box], scan.object[box])
    flat = score(np.ones_like(scan.object[box]), scan.object[box])
    print(f"phase MAE {found.phase_mae:.3f} rad, of a flat image {flat.phase_mae:.3f}")
    assert found.phase_mae < 0.8 * flat.phase_mae
