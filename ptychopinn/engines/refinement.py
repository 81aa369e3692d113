"""An object from its counts: quick projection steps first, then Fisher scoring to the noise limit."""

import math
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ptychopinn.engines.fisher import Linearised, Step, solve
from ptychopinn.engines.positions import search
from ptychopinn.engines.projections import KEPT_BYTES, Estimate, Projections, Unknown
from ptychopinn.physics.exit_waves import SubPixel
from ptychopinn.physics.probe import normalise_probe, orthogonal_modes, probe_intensity, probe_power
from ptychopinn.reconstruction import deviances
from ptychopinn.scan.coverage import mean_overlap
from ptychopinn.scan.scan import Scan

BATCH = 64
"""Frames per projection step of the teacher: small batches converge in fewer epochs, large ones cost less per frame."""

FROM_VACUUM = ((1, 6), (4, 1), (16, 2))
FROM_IMAGE = ((1, 2), (4, 1), (16, 1))
"""Stages of projection steps: frames of a batch that overlap on a pixel, and epochs.

Single frames converge the lowest frequencies, to which the likelihood is hardly sensitive; then larger batches average
their noise."""

LEAST_PHOTONS = 3.0
"""Photons per lit pixel in a batch: it takes several dim frames, so that an epoch has fewer steps."""

PROBE_EPOCHS, POSITION_EPOCHS = 4, 2
"""Epoch multipliers of the projections for an unknown probe, and for unknown positions, which scoring fits better."""

DIM_EPOCHS = 4
"""Largest epoch multiplier for dim frames."""

OBJECT_ONLY = 2
"""First epochs from vacuum, which update the object alone."""

ROOM = 8
"""Margin of the canvas for position updates, pixels."""

LOW_DOSE = 1.0
"""Hold out detector pixels below this many photons per pixel, to end the fit before it follows the noise."""

POOR = 3.0
"""Treat a start as vacuum above this deviance per pixel."""

PATIENCE = 3
"""Epochs without improvement on the held-out pixels after which a stage of projections ends."""

CG_STEPS = 8
"""Conjugate-gradient steps of the first scoring step; every further one has as many more. Each costs about an epoch."""

SEARCH_COST = 8
"""Epochs that a search of positions costs."""

UNSETTLED = 0.05
"""Keep the length of a scoring step when the search moved at least this share of the frames."""


def reconstruct(
    scan: Scan,
    epochs: int,
    seed: int = 0,
    start: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A quick image for a teacher: projection steps only, fixed probe, bilinear like the model of the network.

    Args:
        scan: counts, positions and probe.
        epochs: passes over all frames.
        seed: of the order of the frames.
        start: (H, W) complex64 on the scan's canvas; vacuum when None.
        device: torch device.

    Returns:
        (H, W) complex64 object on the scan's canvas (``canvas_origin``, ``canvas_shape``), on ``device``; unlit
        pixels keep the start.
    """
    estimate = Estimate.of(scan, device, start)
    steps = Projections(scan, estimate, seed=seed)
    for _ in range(epochs):
        steps.epoch(min(BATCH, max(1, len(scan) // 8)))
    return estimate.image


@dataclass(frozen=True, eq=False)
class Refined:
    """Result of a refinement.

    Attributes:
        estimate: image on the scan's canvas with a margin, probe and positions on that image.
        margin: pixels around the canvas.
        deviance: per detector pixel, after the projections and after every scoring step.
        epochs: passes over the frames.
        reason: why it ended.
    """

    estimate: Estimate
    margin: int
    deviance: tuple[float, ...]
    epochs: int
    reason: str


class _Budget:
    """Remaining epochs and seconds."""

    def __init__(self, epochs: int, seconds: float | None) -> None:
        self.epochs, self.spent = epochs, 0
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    def spend(self, epochs: int = 1) -> Self:
        self.spent += epochs
        return self

    @property
    def left(self) -> int:
        return self.epochs - self.spent

    def over(self, need: int = 1) -> str | None:
        """Why a step of ``need`` epochs is impossible; None when it is possible."""
        if self.left < need:
            return f"another step does not fit in the {self.epochs} asked for"
        return "the time is over" if time.monotonic() > self._end else None


def refine(
    scan: Scan,
    start: Tensor | None = None,
    *,
    epochs: int = 100,
    seconds: float | None = None,
    tolerance: float = 5e-6,
    subpixel: SubPixel = "fourier",
    refine_probe: bool = False,
    refine_positions: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    memory: float = KEPT_BYTES,
    report: Callable[[str], None] = lambda line: None,
) -> Refined:
    """Maximise the Poisson likelihood of the counts over the object, and the probe and positions when asked.

    Projection steps in small batches give a first estimate. Each scoring step then linearises the model at the image
    (:mod:`ptychopinn.engines.fisher`), solves ``J dx = -gradient`` by a few conjugate-gradient steps and halves ``dx``
    until the likelihood improves. It ends when a step improves the deviance by less than ``tolerance``, when the
    deviance of the held-out pixels rises (the fit would follow the noise), or after its epochs or seconds.

    Args:
        scan: counts, positions and probe.
        start: (H, W) complex64 on the scan's canvas; vacuum when None.
        epochs: passes over all frames; a conjugate-gradient step counts as one.
        seconds: wall-clock limit, checked between steps.
        tolerance: relative.
        subpixel: model between pixels.
        refine_probe: refine the probe too: keep its power, and make its modes orthogonal at the end.
        refine_positions: refine the positions too: keep their mean.
        seed: of the order of the frames.
        device: torch device.
        memory: bytes for counts and fields that are used again; what does not fit is read or computed anew.
        report: receives lines of progress.

    Returns:
        Image, probe, positions and how the deviance fell.
    """
    extra = {"probe": refine_probe, "positions": refine_positions}
    unknowns: Set[Unknown] = {"object", *(name for name, wanted in extra.items() if wanted)}  # type: ignore[arg-type]
    budget = _Budget(epochs, seconds)
    margin = ROOM if refine_positions else 0
    estimate = Estimate.of(scan, device, start, margin)
    blank = start is None or _poor(scan, start.to(device), subpixel)
    estimate = _project(scan, estimate, subpixel, unknowns, seed, budget, blank, memory, report)
    found, deviance, reason = _score(scan, estimate, subpixel, unknowns, tolerance, budget, memory, report)
    if refine_probe:
        found = replace(found, probe=orthogonal_modes(found.probe))
    return Refined(found, margin, deviance, budget.spent, reason)


def _project(
    scan: Scan,
    estimate: Estimate,
    subpixel: SubPixel,
    unknowns: Set[Unknown],
    seed: int,
    budget: _Budget,
    blank: bool,
    memory: float,
    report: Callable[[str], None],
) -> Estimate:
    """Projection steps in growing batches; more of them for an unknown probe or unknown positions."""
    steps = Projections(scan, estimate, subpixel, unknowns, seed, holds_out(scan), memory)
    early = EarlyStop(scan, subpixel, estimate) if holds_out(scan) else None
    dim = max(1.0, LEAST_PHOTONS / photons_per_pixel(scan, estimate.probe))
    alone = dim * len(scan) / mean_overlap(scan, estimate.probe)
    for lighting, count in FROM_VACUUM if blank else FROM_IMAGE:
        batch = min(len(scan), math.ceil(lighting * alone))
        longer = PROBE_EPOCHS if "probe" in unknowns else POSITION_EPOCHS if "positions" in unknowns else 1
        if longer == 1 and lighting == 1:
            longer = min(DIM_EPOCHS, round(dim))
        for _ in range(longer * count):
            # Vacuum holds no information about probe and positions.
            steps.unknowns = {"object"} if blank and budget.spent < OBJECT_ONLY else unknowns
            left = steps.epoch(batch)
            report(f"projections {budget.spend().spent}: {left:.4g} photons per pixel left to explain")
            if early is not None and early.update(estimate):
                break
            if budget.over():
                return estimate if early is None else early.best
    return estimate if early is None else early.best


def _poor(scan: Scan, start: Tensor, subpixel: SubPixel) -> bool:
    """Whether a start explains the counts of every eighth frame so badly that it is treated as vacuum."""
    return deviances(start, scan.canvas_origin, scan, subpixel, np.arange(0, len(scan), 8))[0] > POOR


class EarlyStop:
    """Keeps the estimate that best explains the held-out pixels."""

    def __init__(self, scan: Scan, subpixel: SubPixel, start: Estimate) -> None:
        self._scan, self._subpixel, self._held_out, self._since = scan, subpixel, math.inf, 0
        self.update(start)

    def update(self, now: Estimate) -> bool:
        """Record an estimate; True after ``PATIENCE`` epochs without improvement."""
        held_out = Linearised(self._scan, now, self._subpixel, hold_out=True, deviance_only=True).held_out
        self._since += 1
        if held_out < self._held_out:
            self._held_out, self._since = held_out, 0
            self.best = Estimate(now.image.clone(), now.probe.clone(), now.positions.clone())
        return self._since >= PATIENCE


def _score(
    scan: Scan,
    estimate: Estimate,
    subpixel: SubPixel,
    unknowns: Set[Unknown],
    tolerance: float,
    budget: _Budget,
    memory: float,
    report: Callable[[str], None],
) -> tuple[Estimate, tuple[float, ...], str]:
    """Fisher scoring until the deviance settles: estimate, deviances, and why it ended."""
    hold_out = holds_out(scan)
    # A scoring step takes a pass to linearise, one to solve and one to try; the deviance alone is no epoch.
    reason = budget.over(3)
    now = Linearised(scan, estimate, subpixel, unknowns, hold_out, deviance_only=reason is not None, memory=memory)
    deviance = [now.deviance]
    if reason is None:
        budget.spend()
    length = 0
    while reason is None:
        moved = 0.0
        if "positions" in unknowns and budget.left >= SEARCH_COST + 2:
            now, moved = _searched(now)
            budget.spend(SEARCH_COST)
        if moved < UNSETTLED or not length:
            length += CG_STEPS
        steps = min(length, budget.left - 1)
        step = solve(now, {name: -value for name, value in now.gradient.items()}, steps)
        budget.spend(steps)
        now.release()
        then = _taken(now, step, budget)
        if then is None:
            reason = "no step improves the likelihood"
            break
        aside = f", of pixels held out {then.held_out:.5g}" if hold_out else ""
        report(f"scoring {budget.spent}: deviance {then.deviance:.5g}{aside}")
        gain = (now.deviance - then.deviance) / now.deviance
        if then.held_out > now.held_out:
            reason = "the pixels held out get worse"
            break
        now = then
        deviance.append(now.deviance)
        reason = f"the deviance changes by less than {tolerance:g}" if gain < tolerance else budget.over(2)
    return now.estimate, tuple(deviance), reason


def _searched(now: Linearised) -> tuple[Linearised, float]:
    """The model after a search for badly fitting frames, and the share of frames that it moved."""
    here = now.estimate
    measured = now.scan.canvas_positions.to(here.positions) + ROOM
    places = search(now.scan, here.image, here.probe, here.positions, measured, now.subpixel)
    moved = float((places != here.positions).any(dim=1).double().mean())
    places += (here.positions - places).mean(dim=0)
    now.release()
    return now.at(replace(here, positions=places)), moved


def _taken(now: Linearised, step: Step, budget: _Budget) -> Linearised | None:
    """The model after a step, halved until the likelihood improves; None if it never does."""
    for _ in range(5):
        then = now.at(_moved(now.estimate, step))
        budget.spend()
        if then.deviance < now.deviance:
            return then
        step = {name: value / 2 for name, value in step.items()}
    return None


def _moved(estimate: Estimate, step: Step) -> Estimate:
    """An estimate after a step that keeps the power of the probe and the mean position."""
    image, probe, positions = estimate.image + step["object"], estimate.probe, estimate.positions
    if "probe" in step:
        power = float(probe_power(probe).sum())
        raw = probe + step["probe"]
        probe = normalise_probe(raw, power)
        image = image * math.sqrt(float(probe_power(raw).sum()) / power)
    if "positions" in step:
        move = step["positions"].double()
        positions = positions + move - move.mean(dim=0)
    return Estimate(image, probe, positions)


def holds_out(scan: Scan) -> bool:
    """Whether a scan is so dim that detector pixels are held out."""
    return scan.photons < LOW_DOSE * scan.N**2


def photons_per_pixel(scan: Scan, probe: Tensor) -> float:
    """Photons of a frame on a typical lit pixel, ``sum I^2 / sum I``."""
    intensity = probe_intensity(probe).double()
    return float(intensity.square().sum() / intensity.sum())
