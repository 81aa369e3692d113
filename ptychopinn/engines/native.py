"""The native iterative engine: from a scan and a start to a reconstruction."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines.judging.adding import with_terms
from ptychopinn.engines.judging.advice import verdict
from ptychopinn.engines.judging.axes import axes_in_words, better_axes
from ptychopinn.engines.judging.moves import affine, moves_in_words
from ptychopinn.engines.places.placing import placed as find_places
from ptychopinn.engines.prior import usual_light
from ptychopinn.engines.progress import BY_ITSELF, Running
from ptychopinn.engines.projections import BACKGROUNDS, KEPT_BYTES
from ptychopinn.engines.refinement import Refined, holds_out, refine
from ptychopinn.engines.terms import Terms, found_in, told
from ptychopinn.errors import WARNING, RunFailedError
from ptychopinn.model.processes import Team
from ptychopinn.physics.conditions import IDEAL, Conditions
from ptychopinn.physics.exit_waves import SubPixel
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.canvas import reframe, start_image
from ptychopinn.scan.checks import check_scan
from ptychopinn.scan.coverage import probe_coverage
from ptychopinn.scan.fits import frame_fits
from ptychopinn.scan.scan import Scan

Report = Callable[[str], None]

LEAST_EPOCHS = 50
"""Epochs from which positions are first looked for in single frames, which costs about as many."""

FEW, ENOUGH = 1e3, 1.5e4
"""Photons on a usual pixel of the object below which a prior joins the counts by itself, and below which one that was
asked for does: a phase known to 0.022 and to 0.006 rad from the photons of a pixel alone."""

FAR = 2.0
"""Pixels rms by which positions of a good stage are hardly wrong."""


def reconstruct(
    scan: Scan,
    config: BaselineConfig,
    refinement: RefinementConfig,
    seed: int = 0,
    device: str = "cpu",
    start: Reconstruction | None = None,
    report: Report = lambda line: None,
    running: Running = BY_ITSELF,
) -> Reconstruction:
    """Maximise the Poisson likelihood (:func:`ptychopinn.engines.refinement.refine`), in the object frame of the scan.

    Args:
        scan: to reconstruct; pixels that are not good are left out.
        config: epochs, and whether to refine probe and positions.
        refinement: sub-pixel model and stopping rules.
        seed: of the order of the frames.
        device: torch device.
        start: image to start from; vacuum when None. Probe and positions come from the scan.
        report: receives lines of progress.
        running: with which processes, from which progress on, and who keeps it.

    Returns:
        The image, refined ``probe`` and ``positions``, and the deviance of every scoring step as ``loss``.

    Raises:
        PtychoError: for an unusable scan or start.
        RunFailedError: when the image is not finite.
    """
    if line := _of_another_model(scan, refinement.subpixel):
        report(line)
    check_scan(scan)
    began, terms = time.perf_counter(), Terms.of(config, refinement)
    canvas = scan.canvas_origin, scan.canvas_shape
    first = None if start is None else torch.from_numpy(start_image(start.object, start.origin, *canvas))
    light = usual_light(probe_coverage(scan)) if refinement.prior != "none" else math.inf
    placed, first = _placed(scan, first, config, refinement, seed, device, report, len(running.team.members) > 1)
    if running.resume is not None:
        terms = terms.plus(*found_in(running.resume.estimate.conditions))
        terms = terms.plus("affine") if running.resume.affine else terms
    known = IDEAL if start is None or len(start.positions) != len(scan) else start.conditions
    prior = _joins_prior(light, refinement.prior, terms.moves, report)
    fit = partial(_fit, first, known, placed, placed is not scan, prior, config, refinement, seed, device, report)
    end = math.inf if refinement.refine_seconds is None else began + refinement.refine_seconds
    found, terms, placed = with_terms(fit, placed, terms, refinement, seed, device, end, report, running)
    look = running.team.leads and not found.stopped
    moves = _moves(scan, placed, found, terms, refinement.subpixel, device, look) if terms.moves else []
    for line in (*told(found.estimate.conditions, found.estimate.probe), *moves):
        report(line)
    seconds = {"native": time.perf_counter() - began}
    result = _result(placed, found, terms, refinement.subpixel, seconds, running.team)
    if look:
        for line in verdict(result, scan, config, device):
            report(line)
    return result


def _fit(
    first: Tensor | None,
    known: Conditions,
    placed: Scan,
    drag: bool,
    prior: bool,
    config: BaselineConfig,
    refinement: RefinementConfig,
    seed: int,
    device: str,
    report: Report,
    scan: Scan,
    terms: Terms,
    seconds: float | None,
    running: Running,
    score: bool = True,
) -> Refined:
    """One fit with some terms; ``first`` lies on the canvas of ``placed``."""
    if not prior and refinement.prior != "none" and BACKGROUNDS & terms.also and not terms.moves:
        prior = True
        if score:
            report("prior: beside a background, what the power spectrum of the image says joins the counts")
    found = refine(
        scan,
        first if scan is placed else None,
        known,
        epochs=config.epochs,
        seconds=seconds,
        tolerance=refinement.tolerance,
        subpixel=refinement.subpixel,
        refine_probe=terms.probe,
        refine_positions=terms.positions,
        also=terms.also,
        opr=terms.opr,
        drag=drag and terms.positions,
        score=score,
        prior=prior,
        seed=seed,
        device=device,
        memory=bytes_for(refinement.memory, device),
        running=running,
        report=report,
    )
    if score or found.stopped:
        report(f"ended after {found.epochs} epoch{'' if found.epochs == 1 else 's'}: {found.reason}")
    return found


def _joins_prior(light: float, setting: str, moves: bool, report: Report) -> bool:
    """Whether the statistics of the image join the counts, by the photons on a usual pixel, with a line about it."""
    if setting == "none" or (setting == "auto" and moves):
        return False
    joins = light < (FEW if setting == "auto" else ENOUGH)
    photons = f"{light:.2g} photons on a usual pixel of the object"
    if joins:
        report(
            f"prior: {photons}; what the power spectrum of the image says joins the counts (--prior none: leave it out)"
        )
    elif setting != "auto":
        report(f"prior: {photons}; the counts suffice, it is left out")
    return joins


def bytes_for(gigabytes: float | None, device: torch.device | str) -> float:
    """Bytes of the setting ``memory``; where it is not given, half of what a GPU has free."""
    if gigabytes is not None:
        return gigabytes * 1e9
    chosen = torch.device(device)
    return torch.cuda.mem_get_info(chosen)[0] / 2 if chosen.type == "cuda" else KEPT_BYTES


def _of_another_model(scan: Scan, subpixel: SubPixel) -> str | None:
    """One line about a scan that was simulated with another sub-pixel model than the fit."""
    made = scan.interpolation
    if made is None or made == subpixel:
        return None
    advice = f"give --subpixel {made}" if made in get_args(SubPixel) else "neither bilinear nor fourier is right"
    return (
        f"{WARNING}the scan was simulated with interpolation {made} and is fitted with subpixel {subpixel}: the error "
        f"bars know nothing of the difference; {advice}"
    )


def _placed(
    scan: Scan,
    first: Tensor | None,
    config: BaselineConfig,
    refinement: RefinementConfig,
    seed: int,
    device: str,
    report: Report,
    shared: bool,
) -> tuple[Scan, Tensor | None]:
    """The scan and the image to start from; with unknown positions both may be those that single frames give."""
    error = refinement.nominal_error
    wanted = config.refine_positions and (error is not None or (first is None and config.epochs >= LEAST_EPOCHS))
    if wanted and shared:
        report("positions are not looked for in single frames by several processes; errors of pixels need one process")
    elif wanted:
        found = find_places(scan, error, config.refine_probe, holds_out(scan), seed, device, report)
        if found is not None:
            return found.scan, found.image
    return scan, first


def _moves(
    scan: Scan, placed: Scan, found: Refined, terms: Terms, subpixel: SubPixel, device: str, look: bool
) -> list[str]:
    """Lines about the refined positions: their distance from the measured ones, and what the moves have in common.

    The image takes up a part of a map of all positions, so that the moves show less than the whole: the map is then
    looked for from the measured positions, where there is time to ``look``.
    """
    there = found.estimate.positions.cpu().numpy() - found.margin + placed.canvas_origin
    there += (scan.positions - there).mean(axis=0)
    distance = np.linalg.norm(there - scan.positions, axis=1)
    rms = math.sqrt(float((distance**2).mean()))
    moved = f"positions moved by {rms:.2g} px rms, at most {distance.max():.2g} px (distance, their mean kept)"
    lines = moves_in_words(scan.positions, there, scan.numbers)
    if "affine" in terms.also:
        return [moved, *lines]  # a map that was asked for is no surprise
    if look and (affine(scan.positions, there) is not None or (not lines and rms > FAR)):
        axes = better_axes(scan, subpixel, device)
        lines = lines if axes is None else [axes_in_words(axes)]
    return [moved, *(f"{WARNING}{line}" for line in lines)]


def _result(
    scan: Scan,
    found: Refined,
    terms: Terms,
    subpixel: SubPixel,
    seconds: dict[str, float],
    team: Team,
) -> Reconstruction:
    """The estimate on the canvas of its positions."""
    estimate, device = found.estimate, found.estimate.image.device
    origin = tuple(int(edge) - found.margin for edge in scan.canvas_origin)
    image = estimate.image.cpu().numpy()
    if not np.isfinite(image).all():
        raise RunFailedError("native: NaN or infinity in the image; the probe or the positions may be far off.")
    if terms.moves:
        scan = replace(scan, positions=estimate.positions.cpu().numpy() + np.array(origin))
    if terms.probe:
        scan = replace(scan, probe=estimate.probe.cpu().numpy())
    mine, fits = team.share(slice(0, len(scan))), torch.zeros(4, len(scan), dtype=torch.float64)
    moved = torch.from_numpy(reframe(image, (origin[0], origin[1]), scan.canvas_origin, scan.canvas_shape)).to(device)
    if not found.stopped:
        rows, known = np.arange(mine.start, mine.stop), estimate.conditions.to("cpu")
        part = frame_fits(moved, scan.canvas_origin, scan, subpixel, rows, conditions=known)
        fits[:, mine] = torch.from_numpy(part)
    coverage = probe_coverage(scan, device)
    flux, background, modes, weights = (None if part is None else part.cpu().numpy() for part in estimate.conditions)
    result = Reconstruction.from_canvas(
        moved,
        scan,
        coverage,
        seconds=seconds,
        probe=scan.probe if terms.probe else None,
        flux=None if flux is None else flux.astype(np.float64),
        background=background,
        opr_modes=modes,
        opr_weights=None if weights is None else weights.astype(np.float64),
        fitted=() if found.stopped else terms.unknowns,
        loss=found.deviance,
        subpixel=subpixel,
        prior_powers=None if found.progress.powers is None else found.progress.powers.numpy(),
        prior_spots=None if found.progress.spots is None else found.progress.spots.numpy() + np.array(origin),
    )
    return result.with_deviance(scan, device, True) if found.stopped else result.with_fits(team.total(fits).numpy())
