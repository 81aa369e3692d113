"""Errors of the network of the package on scans that it never saw; writes its table into docs/results.md.

    PTYCHOPINN_DATA=folder OMP_NUM_THREADS=1 python -m benchmarks.any_setup [--train] [--iterative]

Scans of real set-ups are left out where the folder does not hold them. ``--train`` adds trainings: from the weights of
the package and from random ones on one scan, and on two scans together. ``--iterative`` adds the image of `refine` that
starts from the network's, and that of LSQML by pty-chi.
"""

import argparse
import os
import re
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from scipy import ndimage

from ptychopinn import api
from ptychopinn.config import BaselineConfig, RefinementConfig, Settings
from ptychopinn.engines import native, ptychi
from ptychopinn.engines.refinement import refine
from ptychopinn.evaluation.metrics import score
from ptychopinn.evaluation.panel import WITHIN, own_errors, panel
from ptychopinn.inference.infer import infer
from ptychopinn.model.bundle import Run
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import raster, simulate
from ptychopinn.training.plan import check_training
from ptychopinn.training.train import train

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
MARKS = "<!-- any set-up begins, written by benchmarks/any_setup.py -->", "<!-- any set-up ends -->"
DATA = Path(os.environ.get("PTYCHOPINN_DATA", "."))

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
EMBEDDED = {"object_size": 224, "step": 4.8, "probe_radius": 12.0, "nphotons": 1e6}


def zone_plate(N: int = 64, radius: float = 16.0, stop: float = 0.3, spread: float = 6.0) -> np.ndarray:
    """The focus (1, N, N) of a zone plate with a central stop, defocused over ``spread`` pixels."""
    rho = np.hypot(*(np.mgrid[:N, :N] - N // 2)) / radius
    pupil = ((rho < 1) & (rho > stop)) * np.exp(1j * np.pi * spread * radius / N * rho**2)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil)))[None].astype(np.complex64)


def photograph(name: str, edge: int = 184) -> np.ndarray:
    """A photograph that no training saw, as weak absorption and a phase of 0.3 rad."""
    from skimage import color, data

    image = getattr(data, name)().astype(np.float64)
    image = color.rgb2gray(image[..., :3] / 255) if image.ndim == 3 else image / image.max()
    image = ndimage.zoom(image, edge / min(image.shape), order=1)[:edge, :edge]
    detail = (image - image.mean()) / image.std()
    return (np.exp(-0.05 * (detail - detail.min())) * np.exp(0.3j * detail)).astype(np.complex64)


def scans() -> Iterator[tuple[str, Scan]]:
    """Scans with a known truth."""
    yield "thin lines, disc probe, 1e9 photons (peer scan)", api.simulate(**PEER)
    yield "the same, another object", api.simulate(**PEER, seed=1)
    yield "the same, 1e3 photons", api.simulate(**{**PEER, "nphotons": 1e3})
    yield "embedded star, 1e6 photons", api.simulate(**EMBEDDED)
    yield "embedded lines, 1e6 photons", api.simulate(**EMBEDDED, object="lines", seed=1)
    source = DATA / "run1084_object_probe_scan.npz"
    for photons in (1e6, 1e4) if source.is_file() else ():
        yield f"Run1084, {photons:.0e} photons".replace("e+0", "e"), api.simulate(source, nphotons=photons)
    for name in ("cell", "microaneurysms"):
        image = photograph(name)
        for photons in (1e4, 1e3):
            positions = raster(image.shape, 64, 3.5, seed=1)
            title = f"photograph ({name}), zone plate, {photons:.0e} photons".replace("e+0", "e")
            yield title, simulate(image, zone_plate(), positions, photons, 0, "fourier")
    for name, scan in panel().items():
        yield f"generated, {name} photons".replace("e+0", "e"), scan


def row(name: str, run: Run, scan: Scan, iterative: bool) -> str:
    """Errors of one scan, and the share of its phase errors within the 90 % error bars."""
    began = time.process_time()
    result = infer(run, scan)
    seconds = time.process_time() - began
    assert scan.object is not None
    box, shape = scan.scan_box, scan.object.shape
    image, truth = result.window(shape)[box], scan.object[box]
    flat = score(np.ones_like(truth), truth).phase_mae
    assert result.phase_std is not None
    bars = reframe(result.phase_std.astype(np.complex64), result.origin, (0, 0), shape)[box].real
    covered = float((own_errors(result, scan)[1] <= WITHIN * bars).mean())
    error = score(image, truth).phase_mae
    line = f"| {name} | {len(scan)} | {flat:.3f} | {error:.3f} | {covered:.0%} | {seconds:.1f} |"
    return line + "".join(iterated(scan, result)) if iterative else line


def iterated(scan: Scan, start: Reconstruction) -> Iterator[str]:
    """Phase error and CPU seconds of `refine` from an image, and of 100 epochs of LSQML."""
    assert scan.object is not None
    box, shape = scan.scan_box, scan.object.shape
    engines = (
        lambda: native.reconstruct(scan, BaselineConfig(epochs=60), RefinementConfig(), start=start),
        lambda: ptychi.reconstruct(scan, BaselineConfig(epochs=100)),
    )
    for engine in engines:
        began = time.process_time()
        image = engine().window(shape)[box]
        yield f" {score(image, scan.object[box]).phase_mae:.4f} | {time.process_time() - began:.0f} |"


def measured(run: Run, more: str = "") -> Iterator[str]:
    """The measured Siemens star, against its refined image."""
    source = DATA / "siemens_star.npz"
    for crop in (None, 64) if source.is_file() else ():
        scan = api.read_scan(source, **({} if crop is None else {"crop": crop}))
        began = time.process_time()
        result = infer(run, scan)
        seconds = time.process_time() - began
        truth = refine(scan, epochs=25).estimate.image.cpu().numpy()
        low, high = (np.rint(edge - np.array(scan.canvas_origin)).astype(int) for edge in _edges(scan))
        box = slice(low[0], high[0]), slice(low[1], high[1])
        flat, error = (score(part, truth[box]).phase_mae for part in (np.ones_like(truth[box]), result.object[box]))
        name = f"Siemens star, measured, N = {scan.N}, against `refine`"
        yield f"| {name} | {len(scan)} | {flat:.3f} | {error:.3f} | | {seconds:.1f} |{more}"


def _edges(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    return scan.positions.min(axis=0), scan.positions.max(axis=0)


def trained() -> Iterator[str]:
    """Trainings on the peer scan and the embedded lines, alone and together; equal steps where they are compared."""
    peer, lines = api.simulate(**PEER), api.simulate(**EMBEDDED, object="lines", seed=1)

    def error(scan: Scan, **settings: object) -> tuple[float, float]:
        began = time.process_time()
        run = api.train(scan, **settings)
        seconds = time.process_time() - began
        return score_of(run, scan), seconds

    for steps in (100, 300):
        epochs = max(1, round(steps / np.ceil(2 * 0.95 * len(peer) / 16)))
        for start in ("package", "scratch"):
            found, seconds = error(peer, nepochs=int(epochs), start_from=start)
            name = "from the package" if start == "package" else "from scratch"
            yield f"| peer scan, {name}, {steps} steps | {found:.3f} | {seconds:.0f} |"
    settings = Settings.of({"nepochs": 4})
    both = train(peer, settings, plan=check_training(peer, settings, others={"lines": lines}))
    for name, scan in (("peer scan", peer), ("embedded lines", lines)):
        alone = api.train(scan, nepochs=4)
        yield f"| {name}, trained alone | {score_of(alone, scan):.3f} | |"
        yield f"| {name}, trained on both | {score_of(both, scan):.3f} | |"


def score_of(run: Run, scan: Scan) -> float:
    """Mean absolute phase error in the scan box, rad."""
    assert scan.object is not None
    box = scan.scan_box
    return score(infer(run, scan).window(scan.object.shape)[box], scan.object[box]).phase_mae


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="trainings, too: some minutes")
    parser.add_argument("--iterative", action="store_true", help="iterative engines, too: some twenty minutes")
    asked, run = parser.parse_args(), api.pretrained()
    lines = [
        "| scan | frames | flat image (rad) | network (rad) | within 90 % bars | CPU (s) |",
        "|---|---|---|---|---|---|",
    ]
    if asked.iterative:
        lines = [lines[0] + " `refine` (rad) | CPU (s) | LSQML (rad) | CPU (s) |", lines[1] + 4 * "---|"]
    for text in chain(
        (row(name, run, scan, asked.iterative) for name, scan in scans()), measured(run, 4 * " |" * asked.iterative)
    ):
        print(text, flush=True)
        lines.append(text)
    if asked.train:
        lines += ["", "| training | phase error (rad) | CPU (s) |", "|---|---|---|"]
        for text in trained():
            print(text, flush=True)
            lines.append(text)
    table = "\n".join([MARKS[0], "", *lines, "", MARKS[1]])
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(f"{re.escape(MARKS[0])}.*{re.escape(MARKS[1])}", lambda _: table, page, flags=re.S))


if __name__ == "__main__":
    main()
