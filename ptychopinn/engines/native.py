"""The package's own iterative engine, from a scan and a start to a reconstruction with error bars."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import torch

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines.refinement import Refined, refine
from ptychopinn.errors import WARNING, PtychoError, RunFailedError
from ptychopinn.model.model import Illumination
from ptychopinn.physics.exit_waves import SubPixel
from ptychopinn.physics.probe import probe_intensity, probe_power
from ptychopinn.reconstruction import Reconstruction, common_phase, deviances
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.checks import check_scan
from ptychopinn.scan.coverage import light_on_canvas
from ptychopinn.scan.scan import Scan

WELL_ABOVE_NOISE, ABOVE_DIM_NOISE = 1.6, 1.3
"""Times the deviance of noise alone from which on the model of a fit, or its end, is in doubt, and the same of a dim
scan. Right simulated fits end at 0.92 to 1.03 (1.21 where pixels are held out), the measured Siemens star at 1.51:
what is small and wrong with any measurement shows where there are many photons."""

DIM = 10.0
"""Photons per detector pixel below which a scan is dim."""

Report = Callable[[str], None]


def reconstruct(
    scan: Scan,
    config: BaselineConfig,
    refinement: RefinementConfig,
    seed: int = 0,
    device: str = "cpu",
    start: Reconstruction | None = None,
    report: Report = lambda line: None,
) -> Reconstruction:
    """Maximise the Poisson likelihood (:func:`ptychopinn.engines.refinement.refine`), in the object frame of the scan.

    Args:
        scan: to reconstruct; pixels that are not good are left out.
        config: epochs and what else to refine.
        refinement: sub-pixel model, and when to stop.
        seed: of the order of the frames.
        device: torch device.
        start: whose image to start from; vacuum when None. Probe and positions are those of the scan.
        report: receives lines of progress.

    Returns:
        The image; with ``probe`` and ``positions`` as refined, the deviance of every scoring step as ``loss``.

    Raises:
        PtychoError: for a scan or a start that cannot be used.
        RunFailedError: when what comes out is no number.
    """
    check_scan(scan)
    if line := _of_another_model(scan, refinement.subpixel):
        report(line)
    began = time.perf_counter()
    found = refine(
        scan,
        None if start is None else _on_canvas(scan, start),
        epochs=config.epochs,
        seconds=refinement.refine_seconds,
        tolerance=refinement.tolerance,
        subpixel=refinement.subpixel,
        refine_probe=config.refine_probe,
        refine_positions=config.refine_positions,
        seed=seed,
        device=device,
        report=report,
    )
    report(f"ended after {found.epochs} epoch{'' if found.epochs == 1 else 's'}: {found.reason}")
    if config.refine_positions:
        report(_moves(scan, found))
    seconds = {"native": time.perf_counter() - began}
    result = _result(scan, found, config, refinement, seconds)
    dim = scan.photons < DIM * scan.N**2
    if result.deviance > (ABOVE_DIM_NOISE if dim else WELL_ABOVE_NOISE) * result.expected_deviance:
        report(_doubt(result, config))
    return result


def _of_another_model(scan: Scan, subpixel: SubPixel) -> str | None:
    """One line about a scan that was simulated with another model between pixels than the fit has."""
    made = scan.interpolation
    if made is None or made == subpixel:
        return None
    advice = f"give --subpixel {made}" if made in get_args(SubPixel) else "neither bilinear nor fourier is right"
    return (
        f"{WARNING}the scan was simulated with interpolation {made} and is fitted with subpixel {subpixel}: the error "
        f"bars know nothing of the difference; {advice}"
    )


def _doubt(result: Reconstruction, config: BaselineConfig) -> str:
    """One line about a fit that does not explain the counts."""
    unused = [flag for flag in ("refine_probe", "refine_positions") if not getattr(config, flag)]
    advice = " or ".join("--" + flag.replace("_", "-") for flag in unused)
    return (
        f"{WARNING}deviance per pixel {result.deviance:.3g}, where noise alone would have "
        f"{result.expected_deviance:.3g}: the fit is not at its end, or the counts are not those of this probe at "
        f"these positions{f' (try {advice})' if advice else ''}; no error bar knows of that"
    )


def _moves(scan: Scan, found: Refined) -> str:
    """One line: how far frames moved from where they were measured."""
    there = found.estimate.positions.cpu().numpy() - found.margin + np.array(scan.canvas_origin)
    distance = np.linalg.norm(there - scan.positions, axis=1)
    rms = math.sqrt(float((distance**2).mean()))
    return f"positions moved by {rms:.2g} px rms, at most {distance.max():.2g} px (distance, their mean kept)"


def _on_canvas(scan: Scan, start: Reconstruction) -> torch.Tensor:
    """An earlier image on the canvas of the scan, vacuum where it does not reach."""
    found = reframe(start.object, start.origin, scan.canvas_origin, scan.canvas_shape)
    if not found.any():
        raise PtychoError(
            f"init: its image begins at y, x = {start.origin} and does not reach the frames, which begin at "
            f"{scan.canvas_origin}; an image of this scan is needed."
        )
    return torch.from_numpy(np.where(found == 0, np.complex64(1), found))


def _result(
    scan: Scan, found: Refined, config: BaselineConfig, refinement: RefinementConfig, seconds: dict[str, float]
) -> Reconstruction:
    """The estimate on the canvas of its positions, its free phase removed, zero where no frame lies."""
    estimate, origin = found.estimate, tuple(int(edge) - found.margin for edge in scan.canvas_origin)
    image = estimate.image.cpu().numpy()
    if not np.isfinite(image).all():
        raise RunFailedError("native: NaN or infinity in the image; the probe or the positions may be far off.")
    if config.refine_positions:
        scan = replace(scan, positions=estimate.positions.cpu().numpy() + np.array(origin))
    if config.refine_probe:
        scan = replace(scan, probe=estimate.probe.cpu().numpy())
    device = estimate.image.device
    light = Illumination.of(scan).to(device)
    moved = torch.from_numpy(reframe(image, (origin[0], origin[1]), scan.canvas_origin, scan.canvas_shape)).to(device)
    coverage = light_on_canvas(scan, probe_intensity(light.probe))
    moved = common_phase(torch.where(coverage > 0, moved, 0), coverage)
    told = deviances(moved, scan.canvas_origin, scan, light, refinement.subpixel)
    return Reconstruction(
        object=moved.cpu().numpy(),
        origin=scan.canvas_origin,
        coverage=coverage.cpu().numpy(),
        positions=scan.positions,
        pixel_size_m=scan.pixel_size_m,
        deviance=told.measured,
        expected_deviance=told.expected,
        seconds=seconds,
        probe=scan.probe if config.refine_probe else None,
        loss=found.deviance,
        subpixel=refinement.subpixel,
    )


def power_of_modes(probe: np.ndarray) -> list[float]:
    """Share of the power in each incoherent mode of a probe (m, N, N)."""
    power = probe_power(torch.from_numpy(probe)).double()
    return [float(share) for share in power / power.sum()]
