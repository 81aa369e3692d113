"""Refinement next to pty-chi's LSQML: how long until the phase is right to 0.012 rad, on one scan in one run.

The scan is simulated from a real probe, object and positions (``run1084_object_probe_scan.npz`` in the folder that the
environment variable PTYCHOPINN_DATA names), 1e6 photons per frame, once with each sub-pixel model.
PTYCHOPINN_START may name a folder with images of a network, ``bilinear`` and ``fourier``, to start from as well.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.config import BaselineConfig
from ptychopinn.engines import ptychi
from ptychopinn.engines.refinement import refine
from ptychopinn.evaluation.metrics import score
from ptychopinn.files.formats.npz import read_object_and_probe
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import simulate

DATA = Path(os.environ.get("PTYCHOPINN_DATA", "absent")) / "run1084_object_probe_scan.npz"
WANTED, END = 0.012, 0.008
LADDER = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 20, 25, 30, 40, 60, 100)
LSQML_LADDER = (50, 75, 100)

pytestmark = pytest.mark.skipif(not DATA.is_file(), reason="PTYCHOPINN_DATA names no folder with the probe and object")
MODELS = pytest.mark.parametrize("subpixel", ["bilinear", "fourier"])


@pytest.fixture(scope="module")
def scans() -> dict[str, Scan]:
    given = read_object_and_probe(DATA)
    return {
        name: simulate(given["object"], given["probe"], given["positions"], nphotons=1e6, interpolation=name)
        for name in ("bilinear", "fourier")
    }


def errors(scan: Scan, image: np.ndarray, origin: tuple[int, int]) -> tuple[float, float]:
    """Mean absolute errors of phase and amplitude between the outermost positions, one complex factor removed."""
    assert scan.object is not None
    found = score(reframe(image, origin, (0, 0), scan.object.shape)[scan.scan_box], scan.object[scan.scan_box])
    return found.phase_mae, found.amplitude_mae


def phase_error(scan: Scan, image: np.ndarray, origin: tuple[int, int]) -> float:
    return errors(scan, image, origin)[0]


def timed(make: Callable[[], tuple[np.ndarray, tuple[int, int]]], scan: Scan) -> tuple[float, float]:
    """Wall seconds and phase error of an image."""
    began = time.perf_counter()
    image, origin = make()
    return time.perf_counter() - began, phase_error(scan, image, origin)


def refined(scan: Scan, subpixel: str, epochs: int, start: torch.Tensor | None = None):
    image = refine(scan, start, epochs=epochs, subpixel=subpixel).estimate.image.numpy()
    return image, scan.canvas_origin


def time_to(scan: Scan, subpixel: str, start: torch.Tensor | None = None) -> tuple[float, float]:
    """The shortest run of a ladder of epochs that ends below the wanted error; the best time of three."""
    for epochs in LADDER:
        runs = [timed(lambda epochs=epochs: refined(scan, subpixel, epochs, start), scan)]
        error = runs[0][1]
        if error <= WANTED:
            runs += [timed(lambda epochs=epochs: refined(scan, subpixel, epochs, start), scan) for _ in range(2)]
            return min(seconds for seconds, _ in runs), error
    pytest.fail(f"{error:.4f} rad after {epochs} epochs")


@MODELS
def test_refine_to_the_noise(benchmark, scans, subpixel) -> None:
    scan = scans[subpixel]
    image, origin = benchmark.pedantic(refined, args=(scan, subpixel, 100), rounds=1)
    error = phase_error(scan, image, origin)
    print(f"\n{subpixel}: refine from vacuum, 100 epochs: {error:.5f} rad in {benchmark.stats.stats.median:.1f} s")
    assert error <= END


@MODELS
def test_time_to_the_same_error(benchmark, scans, subpixel) -> None:
    scan = scans[subpixel]
    seconds, error = time_to(scan, subpixel)
    print(f"\n{subpixel}: refine from vacuum: {error:.4f} rad in {seconds:.2f} s")
    folder = os.environ.get("PTYCHOPINN_START")
    if folder:
        earlier = read_reconstruction(Path(folder) / subpixel)
        image = reframe(earlier.object, earlier.origin, scan.canvas_origin, scan.canvas_shape)
        start = torch.from_numpy(np.where(image == 0, np.complex64(1), image))
        quick, error = time_to(scan, subpixel, start)
        before = phase_error(scan, earlier.object, earlier.origin)
        print(
            f"{subpixel}: from an image of a network ({before:.4f} rad): {error:.4f} rad in {quick:.2f} s, "
            f"{quick / seconds:.2f} of the time from vacuum"
        )

    def lsqml() -> tuple[int, np.ndarray, tuple[int, int], float]:
        """The shortest run of a ladder of epochs that ends below the wanted error, or the longest, and its seconds."""
        for epochs in LSQML_LADDER:
            began = time.perf_counter()
            found = ptychi.reconstruct(scan, BaselineConfig(epochs=epochs))
            spent = time.perf_counter() - began
            if phase_error(scan, found.object, found.origin) <= WANTED:
                break
        return epochs, found.object, found.origin, spent

    epochs, image, origin, spent = benchmark.pedantic(lsqml, rounds=1)
    theirs, amplitude = errors(scan, image, origin)
    more = "" if theirs <= WANTED else f", not yet {WANTED}"
    print(
        f"{subpixel}: LSQML, {epochs} epochs: {theirs:.4f} rad, amplitude {amplitude:.4f}, in {spent:.1f} s{more}; "
        f"refine took {seconds / spent:.3f} of that"
    )
    assert theirs < 0.05
    assert seconds <= spent / 5
