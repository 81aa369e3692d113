"""An object from its counts: quick projection steps first, then Fisher scoring to the noise limit.

Each scoring step solves ``J dx = -gradient`` by a few conjugate-gradient steps and halves ``dx`` until the likelihood
improves. It ends when the deviance falls by less than the tolerance, or when that of held-out pixels rises.
"""

import math
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ptychopinn.engines.backgrounds import with_background
from ptychopinn.engines.changes import changed, first_conditions, unknowns_of
from ptychopinn.engines.fisher import Linearised, Step, solve
from ptychopinn.engines.opr import with_opr
from ptychopinn.engines.places.drag import MAP_PASSES, Dragged
from ptychopinn.engines.positions import search
from ptychopinn.engines.prior import DRAW_STEPS, Joined
from ptychopinn.engines.progress import BY_ITSELF, TIME_OVER, Progress, Running
from ptychopinn.engines.projections import KEPT_BYTES, Estimate, Projections, Unknown
from ptychopinn.engines.stages import EarlyStop, stages_of
from ptychopinn.files.signals import Stopped
from ptychopinn.model.processes import Team
from ptychopinn.physics.conditions import IDEAL, Conditions
from ptychopinn.physics.exit_waves import SubPixel
from ptychopinn.physics.probe import orthogonal_modes
from ptychopinn.scan.fits import deviances
from ptychopinn.scan.scan import Scan

BATCH = 64
"""Frames per projection step of the teacher: small batches converge in fewer epochs, large ones cost less per frame."""

OBJECT_ONLY = 2
"""First epochs from vacuum, which update the object alone."""

ROOM = 8
"""Margin of the canvas for position updates, pixels."""

LOW_DOSE = 1.0
"""Hold out detector pixels below this many photons per pixel, to end the fit before it follows the noise."""

POOR = 3.0
"""Treat a start as vacuum above this deviance per pixel."""

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
        stopped: whether a signal ended it.
        progress: to go on from.
    """

    estimate: Estimate
    margin: int
    deviance: tuple[float, ...]
    epochs: int
    reason: str
    stopped: bool
    progress: Progress


class _Budget:
    """Remaining epochs and seconds; the clock of any process counts for all."""

    def __init__(self, epochs: int, seconds: float | None, team: Team, spent: int) -> None:
        self.epochs, self.spent, self._team = epochs, spent, team
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
            if self.left < 0:  # a step that was halved takes more than was planned
                return f"the {self.epochs} epochs asked for are used up, and the last step took {-self.left} more"
            return f"the next step does not fit in the epochs asked for ({self.epochs})"
        return TIME_OVER if self._team.any(time.monotonic() > self._end) else None


@dataclass(frozen=True, eq=False)
class _Fit:
    """What both phases need to know."""

    scan: Scan
    subpixel: SubPixel
    unknowns: Set[Unknown]
    tolerance: float
    seed: int
    memory: float
    budget: _Budget
    running: Running
    report: Callable[[str], None]
    drag: bool
    prior: bool

    @property
    def hold_out(self) -> bool:
        """Whether pixels are held out: they end the fit of a dim scan without a prior, and tell a smooth background."""
        return (holds_out(self.scan) and not self.prior) or "smooth_background" in self.unknowns

    @property
    def scored(self) -> Set[Unknown]:
        """Unknowns of the scoring steps; a background that held-out pixels tell follows after each of them."""
        return self.unknowns - {"smooth_background"} if self.hold_out else self.unknowns

    def keep(self, now: Progress) -> None:
        """Let the first process keep the progress."""
        now.spent = self.budget.spent
        if self.running.team.leads:
            self.running.keep(now)

    def linearised(
        self, estimate: Estimate, deviance_only: bool = False, unknowns: Set[Unknown] | None = None
    ) -> Linearised:
        """The likelihood around an estimate."""
        names = self.scored if unknowns is None else unknowns
        team = self.running.team
        return Linearised(self.scan, estimate, self.subpixel, names, self.hold_out, deviance_only, self.memory, team)

    def objective(self, now: Progress) -> Linearised:
        """What scoring makes less: the likelihood, with the prior when one is asked for."""
        made = (self.scan, now.estimate, self.subpixel, self.scored, self.hold_out, False, self.memory)
        if self.prior:
            return Joined(*made, self.running.team, powers=now.powers, spots=now.spots)
        return Linearised(*made, self.running.team)


def refine(
    scan: Scan,
    start: Tensor | None = None,
    known: Conditions = IDEAL,
    *,
    epochs: int = 100,
    seconds: float | None = None,
    tolerance: float = 5e-6,
    subpixel: SubPixel = "fourier",
    refine_probe: bool = False,
    refine_positions: bool = False,
    also: Set[Unknown] = frozenset(),
    opr: int = 0,
    drag: bool = False,
    score: bool = True,
    prior: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    memory: float = KEPT_BYTES,
    running: Running = BY_ITSELF,
    report: Callable[[str], None] = lambda line: None,
) -> Refined:
    """Maximise the Poisson likelihood of the counts over the object, and the probe and positions when asked.

    Args:
        scan: counts, positions and probe.
        start: (H, W) complex64 on the scan's canvas; vacuum when None.
        known: conditions to start from, where they are unknowns of this fit.
        epochs: passes over all frames; a conjugate-gradient step counts as one.
        seconds: limit, checked between steps.
        tolerance: relative.
        subpixel: model between pixels.
        refine_probe: refine the probe too: keep its power, make its modes orthogonal at the end.
        refine_positions: the positions too: keep their mean.
        also: refine flux, background (smooth, or free in every pixel; never negative), affine map of the positions.
        opr: modes by which the first mode of the probe changes from frame to frame.
        drag: let moves drag the image (:mod:`ptychopinn.engines.places.drag`).
        score: go on to Fisher scoring after the projections.
        prior: join that of :mod:`ptychopinn.engines.prior` to the likelihood.
        seed: of the order of the frames.
        device: torch device.
        memory: bytes for counts and fields that are used again.
        running: processes, progress to go on from, and who keeps it after every epoch and scoring step.
        report: receives lines of progress.
    """
    unknowns = unknowns_of(refine_probe, refine_positions, also, opr)
    margin = ROOM if {"positions", "affine"} & unknowns else 0
    now = running.resume or _begun(scan, start, known, device, margin, subpixel, unknowns)
    budget = _Budget(epochs, seconds, running.team, now.spent)
    fit = _Fit(scan, subpixel, unknowns, tolerance, seed, memory, budget, running, report, drag, prior)
    reason, stopped = _run(fit, now, opr, score)
    end = now.estimate
    if refine_probe and not opr:
        end = replace(end, probe=orthogonal_modes(end.probe))
    return Refined(end, margin, tuple(now.deviance), budget.spent, reason, stopped, now)


def _run(fit: _Fit, now: Progress, opr: int, score: bool) -> tuple[str, bool]:
    """Both phases, or the projections only; why they ended, and whether a signal ended them."""
    try:
        with fit.running.allowed():
            _project(fit, now, opr)
            return _score(fit, now) if score else "the projections are over", False
    except Stopped as signal:
        if now.stage is not None and now.best is not None:
            now.estimate = now.best[0]
        return f"stopped by {signal}", True


def _begun(
    scan: Scan,
    start: Tensor | None,
    known: Conditions,
    device: torch.device | str,
    margin: int,
    subpixel: SubPixel,
    unknowns: Set[Unknown],
) -> Progress:
    """The beginning of a refinement."""
    blank = start is None or _poor(scan, start.to(device), subpixel)
    estimate = Estimate.of(scan, device, start, margin)
    conditions = first_conditions(scan, unknowns, device, known)
    return Progress(replace(estimate, conditions=conditions), blank, affine="affine" in unknowns)


def _project(fit: _Fit, now: Progress, opr: int) -> None:
    """Projection steps in growing batches, then a first guess of what these leave out."""
    if now.stage is not None:
        _step_through(fit, now)
    if opr and now.estimate.conditions.opr_modes is None:
        now.estimate = with_opr(fit.scan, now.estimate, fit.subpixel, opr, fit.seed)


def _step_through(fit: _Fit, now: Progress) -> None:
    """The stages of the projections; more of them for an unknown probe or unknown positions."""
    assert now.stage is not None
    scan, unknowns, team = fit.scan, fit.unknowns, fit.running.team
    steps = Projections(scan, now.estimate, fit.subpixel, unknowns, fit.seed, fit.hold_out, fit.memory, team)
    now.follow(steps)

    def held_out(estimate: Estimate) -> float:
        return fit.linearised(estimate, deviance_only=True, unknowns={"object"}).held_out

    early = EarlyStop(held_out, now) if fit.hold_out else None
    stages, over = stages_of(scan, unknowns, now.blank), None
    while now.stage < len(stages) and not over:
        batch, count = stages[now.stage]
        # Vacuum holds no information about probe and positions.
        steps.unknowns = {"object"} if now.blank and fit.budget.spent < OBJECT_ONLY else unknowns
        left = steps.epoch(batch)
        fit.report(f"projections {fit.budget.spend().spent}: {left:.4g} photons per pixel left to explain")
        now.note(steps)
        worse = early is not None and early.update(now)
        over = None if worse else fit.budget.over()
        now.done += 1
        if worse or now.done == count:
            now.stage, now.done = now.stage + 1, 0
        fit.keep(now)
    if now.best is not None:
        now.estimate = now.best[0]
    if "smooth_background" in unknowns - fit.scored:
        now.estimate = with_background(scan, now.estimate, fit.subpixel, team)
    now.stage, now.velocity, now.best = None, None, None


def _poor(scan: Scan, start: Tensor, subpixel: SubPixel) -> bool:
    """Whether a start explains the counts of every eighth frame so badly that it is treated as vacuum."""
    return deviances(start, scan.canvas_origin, scan, subpixel, np.arange(0, len(scan), 8))[0] > POOR


def _score(fit: _Fit, state: Progress) -> str:
    """Fisher scoring until the deviance settles; why it ended."""
    budget = fit.budget
    # A scoring step takes a pass to linearise, one to solve and one to try; the deviance alone is no epoch.
    resumes = bool(state.deviance)
    reason = budget.over(2 if resumes else 3)
    now = fit.linearised(state.estimate, deviance_only=True) if reason else fit.objective(state)
    if not resumes:
        state.deviance.append(now.deviance)
        if reason is None:
            budget.spend()
            fit.keep(state)
    while reason is None:
        moved = 0.0
        if "positions" in fit.unknowns and budget.left >= SEARCH_COST + 2:
            now, moved = _searched(now)
            budget.spend(SEARCH_COST)
        if moved < UNSETTLED or not state.length:
            state.length += CG_STEPS
        frame = Dragged(now) if fit.drag and budget.left > MAP_PASSES + 1 else now
        steps = min(state.length, budget.spend(0 if frame is now else MAP_PASSES).left - 1)
        step = solve(frame, {name: -value for name, value in frame.gradient.items()}, steps)
        budget.spend(steps)
        now.release()
        then = _taken(now, frame, step, budget)
        if then is None:
            reason = "no step improves the likelihood"
            break
        gain = (now.objective - then.objective) / now.objective
        then = _with_background(fit, then)
        aside = f", of pixels held out {then.held_out:.5g}" if then.hold_out else ""
        fit.report(f"scoring {budget.spent}: deviance {then.deviance:.5g}{aside}")
        if then.held_out > now.held_out:
            reason = "the pixels held out get worse"
            break
        now = then
        _learn(now, state, budget)
        state.estimate = now.estimate
        state.deviance.append(now.deviance)
        fit.keep(state)
        reason = f"the deviance changes by less than {fit.tolerance:g}" if gain < fit.tolerance else budget.over(2)
    state.estimate = now.estimate
    return reason


def _learn(now: Linearised, state: Progress, budget: _Budget) -> None:
    """Update the prior, when there is one."""
    if isinstance(now, Joined):
        now.learn(solve(now, now.sample_score(len(state.deviance)), DRAW_STEPS)["object"])
        budget.spend(DRAW_STEPS)
        state.powers, state.spots = now.prior.powers, now.prior.spots


def _with_background(fit: _Fit, now: Linearised) -> Linearised:
    """The model with the background that the pixels held out ask for now."""
    if "smooth_background" not in fit.unknowns - fit.scored:
        return now
    now.release()
    fit.budget.spend()
    return now.at(with_background(fit.scan, now.estimate, fit.subpixel, fit.running.team))


def _searched(now: Linearised) -> tuple[Linearised, float]:
    """The model after a search for badly fitting frames, and the share of frames that it moved."""
    here = now.estimate
    measured = now.scan.canvas_positions.to(here.positions) + ROOM
    places = search(now.scan, here.image, here.probe, here.positions, measured, now.subpixel, now.team, here.conditions)
    moved = float((places != here.positions).any(dim=1).double().mean())
    places += (here.positions - places).mean(dim=0)
    now.release()
    return now.at(replace(here, positions=places)), moved


def _taken(now: Linearised, frame: Linearised | Dragged, step: Step, budget: _Budget) -> Linearised | None:
    """The model after a step, halved until the likelihood improves; None if it never does."""
    for _ in range(5):
        then = now.at(changed(*(frame.carried(step) if isinstance(frame, Dragged) else (now.estimate, step))))
        budget.spend()
        if then.objective < now.objective:
            return then
        step = {name: value / 2 for name, value in step.items()}
    return None


def holds_out(scan: Scan) -> bool:
    """Whether a scan is so dim that detector pixels are held out."""
    return scan.photons < LOW_DOSE * scan.N**2
