"""Iterative engines on one scan and device in one run: LSQML of pty-chi, and ``refine``.

An iteration of a frame is one look at it. Both engines are given as many, from vacuum, with the probe known.
"""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.floors import Work, transform_flops
from ptychopinn import api
from ptychopinn.config import BaselineConfig
from ptychopinn.engines import ptychi
from ptychopinn.engines.refinement import refine
from ptychopinn.evaluation.metrics import score
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.scan import Scan

EPOCHS, TINY_EPOCHS = 20, 2

Engine = Callable[[Scan, int, str], tuple[np.ndarray, tuple[int, int]]]


@pytest.fixture(scope="module", params=[64, 128])
def N(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def scan(N: int, tiny: bool) -> Scan:
    """20 x 20 frames at N = 64, 10 x 10 at 128; the probe moves between pixels, as both engines think."""
    step, edge = 5 * N / 64, (8 if tiny else 20) * 64 / N
    size = int(edge * step + N + 2 + 0.4 * step)
    probe = {"probe_radius": 12 * N / 64, "interpolation": "fourier"}
    return api.simulate(object_size=size, N=N, step=step, nphotons=1e6, **probe)


def lsqml(scan: Scan, epochs: int, device: str) -> tuple[np.ndarray, tuple[int, int]]:
    found = ptychi.reconstruct(scan, BaselineConfig(epochs=epochs), device=device)
    return found.object, found.origin


def refined(scan: Scan, epochs: int, device: str) -> tuple[np.ndarray, tuple[int, int]]:
    found = refine(scan, epochs=epochs, device=device)
    # A step that has begun is finished.
    assert epochs <= found.epochs <= epochs + 2, f"{found.epochs} epochs: {found.reason}"
    return found.estimate.image.cpu().numpy(), scan.canvas_origin


@pytest.mark.parametrize("engine", [lsqml, refined], ids=["LSQML", "refine"])
def test_iterations(measure, scan: Scan, device: str, tiny: bool, engine: Engine) -> None:
    epochs = TINY_EPOCHS if tiny else EPOCHS
    looks = len(scan) * epochs
    work = Work(
        looks,
        "frame-iterations",
        "4 N^2 bytes a frame-iteration: counts read; 2 transforms",
        bytes=4 * scan.N**2 * looks,
        fft_flops=2 * transform_flops(scan.N) * looks,
    )
    engine(scan, 1, device)  # loads pty-chi
    image, origin = measure(engine, scan, epochs, device, work=work, device=device, rounds=1, warmup=0)
    assert scan.object is not None
    box = scan.scan_box
    truth = scan.object[box]
    error = score(reframe(image, origin, (0, 0), scan.object.shape)[box], truth).phase_mae
    flat = score(np.ones_like(truth), truth).phase_mae
    print(f"phase MAE {error:.4f} rad after {epochs} epochs, of a flat image {flat:.3f}")
    if not tiny:
        assert error < 0.5 * flat
