"""A probe from nothing: short fits from many starts, judged by detector pixels that are held out.

The starts are of two families. The far field of a lens is a pupil: the root of the mean frame with a parabolic phase,
whose curvature is the defocus. A pinhole, and whatever is compact, is a disc of some size. A fit of object and probe
goes on from any start that is near enough; how near, the pixels held out tell.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ptychopinn.engines.fisher import Linearised
from ptychopinn.engines.gauge import Slope, mean_slope, tilted
from ptychopinn.engines.projections import Estimate, Projections
from ptychopinn.errors import WARNING
from ptychopinn.physics.exit_waves import SubPixel
from ptychopinn.physics.probe import curved_disc, normalise_probe, orthogonal_modes, probe_intensity
from ptychopinn.physics.start_probes import alike, hermite_modes, pattern_probe, squared_radius
from ptychopinn.scan.coverage import light_on_canvas
from ptychopinn.scan.probe.light import padded
from ptychopinn.scan.scan import Scan

FRAMES = 160
"""Frames, the innermost, on which the starts are tried."""

SMALLEST, LARGEST = 48, 128
"""Edges of the frames on which they are tried."""

LIGHT = 0.98
"""Share of the light that these frames hold."""

BATCHES = 16
"""Batches of an epoch."""

ROUNDS = ((5, 14), (10, 5), (24, 3))
"""Epochs of a round, and how many starts stay after it."""

ALONE = 2
"""First epochs of a start, which fit the object alone."""

CURVED = 3.0
"""Phase at the edge of the curved discs, rad."""

MODES = (1, 3, 6)
"""Numbers of incoherent modes that are tried."""

MODE_EPOCHS = 32

WORTH = 0.03
"""Share by which more modes must lower the deviance of the pixels held out."""

CLOSE = 0.02
"""Starts whose deviances of the pixels held out differ by less than this share explain the counts alike."""

SAME = 0.8
"""Likeness of two probes from which on they are one."""


@dataclass
class Trial:
    """A start and how far its fit has come.

    Attributes:
        name: of the start.
        start: (m, N, N).
        fit: its projections.
        held_out: deviance of the pixels held out.
        deviance: of those fitted.
    """

    name: str
    start: Tensor
    fit: Projections
    held_out: float = math.inf
    deviance: float = math.inf

    @classmethod
    def of(cls, name: str, start: Tensor, scan: Scan, subpixel: SubPixel, seed: int, device: str) -> Self:
        """A trial from vacuum."""
        lit = replace(scan, probe=start.to(torch.complex64).numpy())
        return cls(name, start, Projections(lit, Estimate.of(lit, device), subpixel, {"object"}, seed, hold_out=True))

    @property
    def probe(self) -> Tensor:
        """As fitted so far."""
        return self.fit.estimate.probe

    def advance(self, epochs: int) -> Self:
        """Fit on, and look at the pixels held out."""
        fresh = math.isinf(self.held_out)
        for epoch in range(epochs):
            self.fit.unknowns = {"object"} if fresh and epoch < ALONE else {"object", "probe"}
            self.fit.epoch(max(1, len(self.fit.scan) // BATCHES))
        now = Linearised(self.fit.scan, self.fit.estimate, self.fit.subpixel, hold_out=True, deviance_only=True)
        # A fit that diverged is the worst.
        self.held_out = now.held_out if math.isfinite(now.held_out) else 1e30
        self.deviance = now.deviance
        return self


@dataclass(frozen=True)
class Found:
    """Result of a search.

    Attributes:
        probe: (m, N, N) complex64 for the frames of the scan.
        name: of the start that led to it.
        held_out: deviance of the pixels held out.
        rival: another start that explains the counts about as well by another probe, and its deviance; None without.
        trials: starts and their deviances of the pixels held out, the best first.
    """

    probe: np.ndarray
    name: str
    held_out: float
    rival: tuple[str, float] | None
    trials: tuple[tuple[str, float], ...]


def search_probe(
    scan: Scan,
    root: Tensor,
    modes: int | None = None,
    subpixel: SubPixel = "fourier",
    seed: int = 0,
    device: str = "cpu",
    report: Callable[[str], None] = lambda line: None,
    end: float = math.inf,
) -> Found:
    """Find the probe of a scan, of which nothing is known.

    Args:
        scan: counts and positions; its probe is not looked at.
        root: (N, N) root of the mean frame, see :func:`ptychopinn.scan.beam.mean_root`.
        modes: incoherent modes; as many as the pixels held out ask for when None.
        subpixel: model between pixels.
        seed: of the order of the frames.
        device: torch device.
        report: receives a line per round.
        end: when no further fit begins, of :func:`time.monotonic`.
    """
    size = search_size(root)
    part = innermost(scan).crop(size)
    cut = (scan.N - size) // 2
    root = root[cut : cut + size, cut : cut + size]
    photons = float(np.quantile(part.totals, 0.95))
    trials = [
        Trial.of(name, normalise_probe(start, photons), part, subpixel, seed, device) for name, start in starts(root)
    ]
    listed = {}
    for epochs, kept in ROUNDS:
        tried = [trial.advance(epochs) for number, trial in enumerate(trials) if not number or time.monotonic() < end]
        if len(tried) < len(trials):
            report(
                f"{WARNING}probe: the time allowed the search {len(tried)} of {len(trials)} starts, so that the probe "
                "may be wrong; give a longer --max-seconds, or say what is known of the optics by --probe-from"
            )
        trials = sorted(tried, key=lambda trial: trial.held_out)
        listed.update({trial.name: trial.held_out for trial in trials})
        report(f"probe: {len(trials)} starts, best: {trials[0].name}, held out {trials[0].held_out:.4g}")
        trials = trials[:kept]
    best = trials[0]
    rival = next((other for other in trials[1:] if _rivals(best, other)), None)
    chosen = best
    if time.monotonic() < end or modes is not None:
        chosen = _with_modes(best, part, modes, subpixel, seed, device)
    if len(chosen.probe) > 1:
        report(f"probe: {len(chosen.probe)} modes, held out {chosen.held_out:.4g}, one mode {best.held_out:.4g}")
    found = tilted(orthogonal_modes(chosen.probe.cpu()).numpy(), _slope(chosen))
    return Found(
        padded(found, scan.N).astype(np.complex64) if size < scan.N else found,
        best.name,
        chosen.held_out,
        None if rival is None else (rival.name, rival.held_out),
        tuple(sorted(listed.items(), key=lambda one: one[1])),
    )


def search_size(root: Tensor) -> int:
    """Edge of the central square of a frame that holds ``LIGHT`` of the mean frame, a multiple of 8 where N is."""
    light, full = root.square(), root.shape[-1]
    for size in range(SMALLEST, min(full, LARGEST), 8):
        cut = (full - size) // 2
        if (full - size) % 2 == 0 and light[cut : cut + size, cut : cut + size].sum() >= LIGHT * light.sum():
            return size
    return min(full, LARGEST)


def starts(root: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Probes to start from: (1, N, N) each, with a name.

    Args:
        root: (N, N) root of the mean frame.
    """
    size, light = root.shape[-1], root.square()
    squared = squared_radius(size)
    width = math.sqrt(float((light * squared).sum() / light.sum()))
    # A parabolic phase moves the light of the detector radius q by N c q / pi pixels.
    most, curvature = 0.4 * math.pi / width, 0.5 / width**2
    yield "mean pattern", pattern_probe(root)
    while curvature < most:
        for signed in (curvature, -curvature):
            yield f"mean pattern, curvature {signed:+.2g} rad/px²", pattern_probe(root, signed)
        curvature *= 1.5
    radius = 3.0
    while radius < 0.42 * size:
        for edge in (0.0, CURVED, -CURVED):
            yield f"disc of {2 * radius:.0f} px, {edge:+.0f} rad at its edge", curved_disc(size, radius, edge)
        radius *= 1.3


def innermost(scan: Scan) -> Scan:
    """The frames nearest to the middle, in order."""
    distance = np.linalg.norm(scan.positions - np.median(scan.positions, axis=0), axis=1)
    return scan.subset(np.sort(np.argsort(distance, kind="stable")[:FRAMES]))


def _slope(trial: Trial) -> Slope:
    """Phase slope of the image of a trial, which its probe is to take: the fit that follows then ends level."""
    light = light_on_canvas(trial.fit.scan, probe_intensity(trial.probe.cpu()))
    return mean_slope(trial.fit.estimate.image.cpu().numpy(), light.numpy())


def _rivals(best: Trial, other: Trial) -> bool:
    """Whether two trials explain the counts alike by different probes."""
    return other.held_out < (1 + CLOSE) * best.held_out and alike(best.probe, other.probe) < SAME


def _with_modes(best: Trial, scan: Scan, modes: int | None, subpixel: SubPixel, seed: int, device: str) -> Trial:
    """The trial with the modes asked for, or as many as lower the deviance of the pixels held out."""
    chosen = best
    for count in MODES if modes is None else (modes,):
        start = best.probe if count == 1 else hermite_modes(best.probe.cpu(), count)
        trial = Trial.of(best.name, start.cpu(), scan, subpixel, seed, device)
        trial.fit.estimate.image.copy_(best.fit.estimate.image)
        trial.held_out = best.held_out
        trial.advance(MODE_EPOCHS)
        if modes is not None or count == 1 or trial.held_out < (1 - WORTH) * chosen.held_out:
            chosen = trial
        else:
            break
    return chosen
