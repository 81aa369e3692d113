"""Generated scans that a network for any set-up is judged on, and calibrated with."""

import math

import numpy as np
from numpy.typing import NDArray

from ptychopinn.evaluation.metrics import score
from ptychopinn.inference.infer import infer
from ptychopinn.model.bundle import Run
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import raster, simulate, smooth_lines
from ptychopinn.training.objects import random_image
from ptychopinn.training.setups import aperture_field, lens_probe, speckle_probe

EDGE = 152
"""Pixels of the objects of the panel."""

WITHIN = 1.645
"""Standard deviations that hold 90 % of normal errors."""

PROBES = {"aperture": aperture_field, "lens": lens_probe, "speckle": speckle_probe}


def panel(first: int = 0) -> dict[str, Scan]:
    """Six scans of N = 64: every kind of probe at 1e4 and 1e7 photons per frame.

    Args:
        first: seed of the first scan; others give other scans.
    """
    scans = {}
    for number, kind in enumerate(PROBES):
        for photons in (1e4, 1e7):
            rng = np.random.default_rng(100 * first + number)
            image = smooth_lines(EDGE, first) if kind == "aperture" else random_image(EDGE, rng)
            probe = PROBES[kind](64, rng)[None].astype(np.complex64)
            positions = raster(image.shape, 64, 4.5, seed=first + number)
            scans[f"{kind} {photons:g}"] = simulate(image, probe, positions, photons, first, "cubic")
    return scans


def errors_on(run: Run, scans: dict[str, Scan]) -> dict[str, float]:
    """Mean absolute phase errors, rad, in the scan boxes, by the names of the scans."""
    return {name: score(*_inside(infer(run, scan), scan)).phase_mae for name, scan in scans.items()}


def error_factor(run: Run, scans: dict[str, Scan]) -> float:
    """What the spread of overlapping patches is multiplied with, so that 1.645 of it holds 90 % of the phase errors.

    The median over the scans of the 90 % quantile of ``|error| / spread``, over 1.645.
    """
    ratios = [_ratios(infer(run, scan), scan) for scan in scans.values()]
    return float(np.median([np.quantile(ratio, 0.9) for ratio in ratios])) / WITHIN * run.error_factor


def coverage_of(run: Run, scans: dict[str, Scan]) -> dict[str, float]:
    """Share of the pixels whose phase error is within 1.645 of its error bar; 0.9 when these are right."""
    return {name: float((_ratios(infer(run, scan), scan) <= WITHIN).mean()) for name, scan in scans.items()}


def _inside(result: Reconstruction, scan: Scan) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Image and truth in the scan box."""
    assert scan.object is not None
    box = scan.scan_box
    return result.window(scan.object.shape)[box], scan.object[box]


def _ratios(result: Reconstruction, scan: Scan) -> NDArray[np.float64]:
    """Phase errors, after the best global phase, over their error bars: all pixels of the scan box."""
    image, truth = _inside(result, scan)
    assert result.phase_std is not None
    assert scan.object is not None
    canvas = result.phase_std.astype(np.complex64)
    bars = reframe(canvas, result.origin, (0, 0), scan.object.shape)[scan.scan_box].real
    product = image * truth.conj()
    # The median is the phase that most pixels agree on.
    error = np.angle(product * np.exp(-1j * np.angle(product.sum())))
    return np.asarray(abs(error - np.median(error)) / np.maximum(bars, math.ulp(1.0)))
