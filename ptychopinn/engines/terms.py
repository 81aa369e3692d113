"""Terms of the likelihood beside the object: which ones a fit has, and which it lacks.

A term is lacking when it explains detector pixels better that did not help to find it. The image of a finished fit is
kept. Each term is found from all pixels but one in ``HELD_OUT``, different ones in each frame, and judged by what it
takes off the deviance of those that were left out.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines.opr import with_opr
from ptychopinn.engines.positions import position_updates
from ptychopinn.engines.projections import (
    ANSCOMBE,
    BACKGROUNDS,
    Estimate,
    Unknown,
    held_out_pixels,
    window_blur,
)
from ptychopinn.physics.conditions import Conditions, expected_counts
from ptychopinn.physics.diffraction import project_to_counts
from ptychopinn.physics.exit_waves import SubPixel, frames_per_chunk, probe_views
from ptychopinn.physics.likelihood import expected_deviance, poisson_deviance
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import probe_power
from ptychopinn.scan.scan import Scan

Term = Literal["flux", "background", "affine", "opr"]
"""Terms that are added to a fit that lacks them."""

FULL_OPR: Final = 2
"""Modes of a probe that changes, of ``--model full`` and ``auto``."""

SURE = 2.0
"""Standard errors over frames by which a term must lower the deviance of the pixels held out."""

LEAST_SHARE = 0.003
"""Share of that deviance which a term must take off."""

BESIDE = 0.25
"""Share of the best term's gain from which others are taken with it; a wrong fit lets several look useful."""

WORST = 0.05
"""Share of the frames, those that fit worst, that judge no term: some frames of a scan are of another place."""

STRETCHES = (1.0, 10.0, 40.0)
"""Factors of the affine map that the updates of single frames ask for: the image has adapted to the wrong one."""


class Terms(NamedTuple):
    """What is unknown beside the object.

    Attributes:
        probe: refine the probe.
        positions: refine the positions.
        also: flux, background, affine map.
        opr: modes by which the probe changes.
    """

    probe: bool = False
    positions: bool = False
    also: frozenset[Unknown] = frozenset()
    opr: int = 0

    @classmethod
    def of(cls, config: BaselineConfig, refinement: RefinementConfig) -> "Terms":
        """The terms that settings ask for; ``model full`` asks for all but free positions."""
        full = refinement.model == "full"
        background: Unknown = "background" if refinement.free_background else "smooth_background"
        wanted: dict[Unknown, bool] = {
            "flux": refinement.refine_flux,
            background: refinement.refine_background or refinement.free_background,
            "affine": refinement.refine_affine,
        }
        return cls(
            config.refine_probe or full,
            config.refine_positions,
            frozenset(name for name, on in wanted.items() if on or full),
            refinement.opr or (FULL_OPR if full else 0),
        )

    def plus(self, *names: Term) -> "Terms":
        """With more terms."""
        also: set[Unknown] = set(self.also)
        if "flux" in names:
            also.add("flux")
        if "affine" in names:
            also.add("affine")
        if "background" in names and not BACKGROUNDS & also:
            also.add("smooth_background")
        return self._replace(also=frozenset(also), opr=self.opr or (FULL_OPR if "opr" in names else 0))

    @property
    def moves(self) -> bool:
        """Whether positions change."""
        return self.positions or "affine" in self.also

    @property
    def unknowns(self) -> tuple[Unknown, ...]:
        """Names of all unknowns beside the object."""
        of_opr: tuple[Unknown, ...] = ("opr_modes", "opr_weights") if self.opr else ()
        found: tuple[Unknown, ...] = (*(("probe",) if self.probe else ()), *(("positions",) if self.positions else ()))
        return (*found, *sorted(self.also), *of_opr)


def found_in(conditions: Conditions) -> tuple[Term, ...]:
    """The terms that an estimate has."""
    parts: dict[Term, object] = {
        "flux": conditions.flux,
        "background": conditions.background,
        "opr": conditions.opr_modes,
    }
    return tuple(name for name, part in parts.items() if part is not None)


def told(conditions: Conditions, probe: Tensor) -> Iterator[str]:
    """One line about each fitted condition, under a mean probe (m, N, N)."""
    flux, background, modes, weights = conditions
    if flux is not None:
        level = flux / flux.median()
        low, high = float(level.min()), float(level.max())
        yield f"flux of the frames: {float(level.std()):.1%} rms, {low:.2f} to {high:.2f} of the median"
    if background is not None:
        mean, most = float(background.mean()), float(background.max())
        yield f"background: {mean:.2g} counts per pixel in every frame, at most {most:.2g}"
    if modes is not None and weights is not None:
        changes = (weights - weights.mean(dim=0)).to(modes.dtype) @ modes.flatten(1)
        share = math.sqrt(float(changes.abs().square().sum()) / len(weights) / float(probe_power(probe).sum()))
        yield f"the probe changes by {share:.1%} rms of its amplitude from frame to frame"


class Gain(NamedTuple):
    """What a term takes off the deviance of the pixels held out.

    Attributes:
        term: which one.
        share: of the deviance.
        score: in standard errors.
        excess: share of what the deviance is above that of noise; 0 where it is not above.
    """

    term: Term
    share: float
    score: float
    excess: float


def gains(
    scan: Scan, now: Estimate, subpixel: SubPixel, terms: tuple[Term, ...] = get_args(Term), seed: int = 0
) -> list[Gain]:
    """What each term that an estimate lacks would explain, the most explaining first.

    Args:
        scan: counts and mask.
        now: a fit.
        subpixel: model between pixels.
        terms: which ones are looked at.
        seed: of the search for changes of the probe.
    """
    flux, background, moves = _found(scan, now, subpixel)
    tried: dict[Term, list[Estimate]] = {}
    if "flux" in terms and now.conditions.flux is None:
        tried["flux"] = [replace(now, conditions=now.conditions._replace(flux=flux))]
    if "background" in terms and now.conditions.background is None:
        tried["background"] = [replace(now, conditions=now.conditions._replace(background=background))]
    if "affine" in terms:
        known = now.positions - now.positions.mean(dim=0)
        step = known @ torch.linalg.lstsq(known, moves - moves.mean(dim=0)).solution
        tried["affine"] = [replace(now, positions=now.positions + stretch * step) for stretch in STRETCHES]
    if "opr" in terms and now.conditions.opr_modes is None:
        other = with_opr(scan, now, subpixel, FULL_OPR, seed, hold_out=True)
        weights = other.conditions.opr_weights
        assert weights is not None
        # A change that is the same in all frames is another probe, not one that changes.
        centred = other.conditions._replace(opr_weights=weights - weights.mean(dim=0))
        tried["opr"] = [replace(now, conditions=centred)]
    before, noise = _held_out(scan, now, subpixel)
    judging = before <= before.quantile(1 - WORST)
    before, found = before * judging, []
    excess = float(before.sum() - (noise * judging).sum())
    excess = excess if excess > 0 else math.inf
    for term, estimates in tried.items():
        after = (judging * _held_out(scan, one, subpixel)[0] for one in estimates)
        less = max((before - each for each in after), key=lambda each: float(each.sum()))
        score = float(less.sum() / less.square().sum().sqrt().clamp_min(1e-30))
        found.append(
            Gain(term, float(less.sum() / before.sum()), score, float(less.sum()) / excess if excess > 0 else 0.0)
        )
    return sorted(found, key=lambda each: -each.share)


def unexplained(scan: Scan, now: Estimate, subpixel: SubPixel) -> float:
    """Deviance of the pixels that :func:`gains` holds out over that of noise, without the worst frames."""
    found, noise = _held_out(scan, now, subpixel)
    judging = found <= found.quantile(1 - WORST)
    return float((found * judging).sum() / (noise * judging).sum())


def needed(found: list[Gain]) -> list[Gain]:
    """The terms to add: sure ones, not much less useful than the best."""
    sure = [one for one in found if one.score >= SURE and one.share >= LEAST_SHARE]
    return [one for one in sure if one.share >= BESIDE * sure[0].share]


def _frames(scan: Scan, now: Estimate) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Rows, counts (n, N, N), and pixels that are fitted and held out, (n, N, N) each, of every chunk."""
    device = now.image.device
    good = None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels).to(device)
    for rows in torch.arange(len(scan), device=device).split(frames_per_chunk(now.probe)):
        held = held_out_pixels(scan.N, rows)[:, 0]
        fitted, held = (~held, held) if good is None else (~held & good, held & good)
        yield rows, scan.frames(rows.cpu().numpy()).to(device), fitted, held


def _rate(now: Estimate, rows: Tensor, subpixel: SubPixel) -> Tensor:
    return expected_counts(now.image, now.probe, now.positions[rows], subpixel, now.conditions.of(rows))


def _held_out(scan: Scan, now: Estimate, subpixel: SubPixel) -> tuple[Tensor, Tensor]:
    """Deviance of the pixels held out of every frame, and what noise alone leaves of it: (n,) float64 each."""
    found, noise = [], []
    for rows, counts, _, held in _frames(scan, now):
        rate = _rate(now, rows, subpixel).double()
        found.append((poisson_deviance(rate, counts.double()) * held).sum(dim=(1, 2)))
        noise.append((expected_deviance(rate) * held).sum(dim=(1, 2)))
    return torch.cat(found), torch.cat(noise)


def _found(scan: Scan, now: Estimate, subpixel: SubPixel) -> tuple[Tensor, Tensor, Tensor]:
    """Flux (n,), smooth background (N, N) and moves (n, 2) that the fitted pixels ask for, each alone."""
    blur = window_blur(scan.N).to(now.image.device)
    sums = torch.zeros(2, scan.N, scan.N, device=now.image.device)
    flux, moves = [], []
    for rows, counts, fitted, _ in _frames(scan, now):
        rate = _rate(now, rows, subpixel)
        flux.append((counts * fitted).sum(dim=(1, 2)) / (rate * fitted).sum(dim=(1, 2)).clamp_min(1e-6))
        weight = fitted / (rate + ANSCOMBE)
        sums += torch.stack([((counts - rate) * weight).sum(dim=0), weight.sum(dim=0)])
        views = probe_views(now.conditions.probes(now.probe, rows), now.positions[rows], subpixel)
        patches = extract_patches(now.image, views.places, scan.N)
        change = project_to_counts(views.probes, patches, counts, fitted[:, None], ANSCOMBE, now.conditions.background)
        moves.append(position_updates(views, patches, change))
    excess, weight = (blur @ part @ blur for part in sums)
    factors = torch.cat(flux)
    kept = factors if now.conditions.flux is None else now.conditions.flux * factors
    return kept, (excess / weight.clamp_min(1e-12)).clamp_min(0), torch.cat(moves)


def in_words(found: list[Gain]) -> Iterator[str]:
    """A line for each term that was added, or one that none was."""
    flags: dict[Term, str] = {
        "flux": "a flux for every frame (--refine-flux)",
        "background": "a background (--refine-background)",
        "affine": "a map of the positions (--refine-affine)",
        "opr": f"a probe that changes (--opr {FULL_OPR})",
    }
    for one in found:
        yield (
            f"auto: adds {flags[one.term]}: the deviance of pixels held out falls by {one.share:.1%} "
            f"({one.score:.0f} standard errors), the image kept"
        )
    if not found:
        yield "auto: adds no more: no other term explains pixels held out better"
