"""Terms of the likelihood beside the object: which ones a fit has, and their flags."""

import math
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from torch import Tensor

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines.projections import BACKGROUNDS, Unknown
from ptychopinn.physics.conditions import Conditions
from ptychopinn.physics.probe import probe_power

Term = Literal["flux", "background", "affine", "opr"]
"""Terms that are added to a fit that lacks them."""

FULL_OPR: Final = 2
"""Modes of a probe that changes, of ``--model full`` and ``auto``."""


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
