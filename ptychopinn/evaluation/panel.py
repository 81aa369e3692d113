"""Generated scans that a network for any set-up is judged on, and calibrated with."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ptychopinn.evaluation.metrics import score
from ptychopinn.inference.infer import infer
from ptychopinn.inference.own_errors import around, fitted
from ptychopinn.inference.whole import Observed, infer_whole
from ptychopinn.model.bundle import Run
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import raster, simulate, smooth_lines
from ptychopinn.training.objects import random_image
from ptychopinn.training.setups import SECOND_MODE, aperture_field, lens_probe, random_setup, speckle_probe

EDGE = 152
"""Pixels of the objects of the panel."""

PIXELS = 1000
"""Pixels of each generated scan that error bars are fitted to."""

WITHIN = 1.645
"""Standard deviations that hold 90 % of normal errors."""

PROBES: Final = (("aperture", aperture_field), ("lens", lens_probe), ("speckle", speckle_probe))


def panel(first: int = 0) -> dict[str, Scan]:
    """Six scans of N = 64: every kind of probe at 1e4 and 1e7 photons per frame.

    Args:
        first: seed of the first scan; others give other scans.
    """
    scans = {}
    for number, (kind, make) in enumerate(PROBES):
        for photons in (1e4, 1e7):
            rng = np.random.default_rng(100 * first + number)
            image = smooth_lines(EDGE, first) if kind == "aperture" else random_image(EDGE, rng)
            probe = make(64, rng)[None].astype(np.complex64)
            positions = raster(image.shape, 64, 4.5, seed=first + number)
            scans[f"{kind} {photons:g}"] = simulate(image, probe, positions, photons, first, "cubic")
    return scans


def errors_on(run: Run, scans: dict[str, Scan]) -> dict[str, float]:
    """Mean absolute phase errors, rad, in the scan boxes, by the names of the scans."""
    return {name: score(*_inside(infer(run, scan), scan)).phase_mae for name, scan in scans.items()}


def calibrated(run: Run, count: int = 90, seed: int = 1000) -> tuple[tuple[float, ...], ...]:
    """Models of the error bars of amplitude and phase, from the errors on generated scans.

    Args:
        run: with a network for any set-up.
        count: of scans.
        seed: of the first of them.
    """
    kept: tuple[list[NDArray[np.float64]], ...] = ([], [], [])
    for number in range(count):
        rng = np.random.default_rng(seed + number)
        scan = any_scan(rng)
        found = Observed()
        each = np.stack(own_errors(infer_whole(run, scan, observe=found), scan))
        near = np.stack([around(error) for error in each])
        some = rng.integers(each[0].size, size=PIXELS)  # every scan counts as much
        inside = found.features[(slice(None), *_box_on_canvas(scan))]
        for one, values in zip(kept, (inside, each, near), strict=True):
            one.append(values.reshape(len(values), -1)[:, some])
    seen, errors, usual = (np.concatenate(one, axis=1) for one in kept)
    return tuple(fitted(seen, *row) for row in zip(errors, usual, strict=True))


def any_scan(rng: np.random.Generator) -> Scan:
    """A generated scan of N = 32 to 96 with any probe, object, dose and density."""
    N = int(rng.choice([32, 48, 64, 64, 64, 96]))
    setup = random_setup(N, rng, 1 + int(rng.random() < SECOND_MODE))
    edge = N + int(rng.integers(48, 88))
    step = max(2.0, setup.support * rng.uniform(0.06, 0.2))
    positions = raster((edge, edge), N, step, seed=int(rng.integers(2**31)))
    return simulate(
        random_image(edge, rng), setup.light.numpy(), positions, 10 ** rng.uniform(2.5, 8.5), int(rng.integers(2**31)),
        "fourier",
    )  # fmt: skip


def coverage_of(run: Run, scans: dict[str, Scan]) -> dict[str, float]:
    """Share of the pixels whose phase error is within 1.645 of its error bar; 0.9 when these are right."""
    shares = {}
    for name, scan in scans.items():
        result = infer(run, scan)
        assert result.phase_std is not None
        bars = result.phase_std[_box_on_canvas(scan)]
        shares[name] = float((own_errors(result, scan)[1] <= WITHIN * bars).mean())
    return shares


def own_errors(result: Reconstruction, scan: Scan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Absolute errors of amplitude and phase (rad) in the scan box, after one amplitude factor and one phase."""
    image, truth = _inside(result, scan)
    product = image * truth.conj()
    # The median is the phase that most pixels agree on.
    phase = np.angle(product * np.exp(-1j * np.angle(product.sum())))
    factor = float(abs(truth).sum() / abs(image).sum())
    return np.abs(factor * abs(image) - abs(truth)), np.abs(phase - np.median(phase)).astype(np.float64)


def _inside(result: Reconstruction, scan: Scan) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Image and truth in the scan box."""
    assert scan.object is not None
    box = scan.scan_box
    return result.window(scan.object.shape)[box], scan.object[box]


def _box_on_canvas(scan: Scan) -> tuple[slice, slice]:
    """The scan box, counted on the canvas."""
    rows, columns = (
        slice(part.start - start, part.stop - start)
        for part, start in zip(scan.scan_box, scan.canvas_origin, strict=True)
    )
    return rows, columns
