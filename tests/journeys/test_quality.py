"""How good the images are: the network alone, default settings, on the reference scans. Slow."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptychopinn import api
from ptychopinn.config import Settings
from ptychopinn.evaluation.metrics import score_in_box
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.inference.infer import infer
from ptychopinn.model.bundle import load_run
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.training.train import train
from tests.helpers import RUN1084, needs_run1084

pytestmark = pytest.mark.slow

PEER = {
    "object": "lines",
    "object_size": 200,
    "step": 4.9,
    "jitter": 0.1,
    "probe_radius": 11.5,
    "probe_curvature": 2.5,
    "nphotons": 1e9,
    "interpolation": "cubic",
}


def train_in_a_process(folder: Path, scan: Scan, *flags: str) -> float:
    """Train on a scan with the command, into ``folder/run``; returns the CPU-seconds of the whole process."""
    write_npz(folder / "scan.npz", scan)
    command = [sys.executable, "-m", "ptychopinn.cli.app", "train", "scan.npz", "--out", "run", *flags]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # On a busy machine threads that spin while they wait would count as work.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    subprocess.run(command, cwd=folder, check=True, timeout=3600, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run trained on the reference scan of the older program, and what it cost."""
    folder = tmp_path_factory.mktemp("peer")
    scan = api.simulate(**PEER)
    assert len(scan) == 784
    return folder / "run", train_in_a_process(folder, scan)


def test_peer_scan(peer: tuple[Path, float]) -> None:
    run, cpu_seconds = load_run(peer[0]), peer[1]
    trained, unseen = api.simulate(**PEER), api.simulate(**PEER, seed=1)
    flat = Reconstruction(
        np.ones_like(trained.object), (0, 0), np.ones(trained.object.shape, np.float32), trained.positions
    )
    featureless = score_in_box(flat, trained)
    on_trained, on_unseen = (score_in_box(infer(run, scan), scan) for scan in (trained, unseen))
    print(f"\nCPU-seconds {cpu_seconds:.0f}\nflat {featureless}\ntrained on {on_trained}\nunseen {on_unseen}")
    assert featureless["phase_mae"] == pytest.approx(0.22, abs=0.03)
    assert featureless["amplitude_mae"] == pytest.approx(0.09, abs=0.02)
    assert on_trained["phase_mae"] <= 0.075
    assert on_trained["amplitude_mae"] <= 0.035
    assert on_unseen["phase_mae"] <= 0.085
    assert cpu_seconds <= 400


def test_dose_does_not_change_the_object(peer: tuple[Path, float]) -> None:
    run = load_run(peer[0])
    means = []
    for photons in (1e4, 1e6, 1e8):
        scan = api.simulate(**{**PEER, "nphotons": photons})
        means.append(float(abs(infer(run, scan).window(scan.object.shape)[scan.scan_box]).mean()))
    print(f"\nmean amplitudes at 1e4, 1e6, 1e8 photons: {means}")
    assert max(means) <= 1.03 * min(means)


@needs_run1084
def test_run1084(tmp_path: Path) -> None:
    scan = api.simulate(RUN1084, nphotons=1e6)
    cpu_seconds = train_in_a_process(tmp_path, scan)
    result = infer(load_run(tmp_path / "run"), scan)
    found = score_in_box(result, scan)
    print(f"\nCPU-seconds {cpu_seconds:.0f}, deviance per pixel {result.deviance:.2f}\n{found}")
    assert found["phase_mae"] <= 0.12
    assert found["amplitude_mae"] <= 0.04
    assert cpu_seconds <= 900


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_collapse_at_128(seed: int) -> None:
    scan = api.simulate(N=128, object_size=256, probe_radius=16.0, step=6.0, nphotons=1e6)
    settings = Settings.of({"seed": seed, "nepochs": 8})
    run = train(scan, settings)
    image = infer(run, scan)
    found = score_in_box(image, scan)
    inside = image.window(scan.object.shape)[scan.scan_box]
    truth = scan.object[scan.scan_box]
    contrast = float(abs(inside).std() / abs(truth).std())
    print(f"\nseed {seed}: {found}, amplitude contrast {contrast:.2f} of the truth")
    # A collapsed network has none.
    assert 0.7 < contrast < 1.4
    assert found["phase_mae"] < 0.15
