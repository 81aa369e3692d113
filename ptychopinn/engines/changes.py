"""Conditions to start from, and estimates after a step of their unknowns."""

import math
from collections.abc import Set

import torch

from ptychopinn.engines.projections import BACKGROUNDS, LEAST_BACKGROUND, Estimate, Unknown
from ptychopinn.engines.responses import Step, background_change
from ptychopinn.physics.conditions import IDEAL, Conditions
from ptychopinn.physics.probe import normalise_probe, probe_power
from ptychopinn.scan.scan import Scan


def first_conditions(
    scan: Scan, unknowns: Set[Unknown], device: torch.device | str, known: Conditions = IDEAL
) -> Conditions:
    """Conditions to start from, of those that are unknown: ``known`` ones, flux of the totals, next to no background.

    Most objects absorb little, so that the totals are nearly the flux; a slow drift is what converges last.
    """
    flux, background = None, None
    if "flux" in unknowns:
        totals = torch.from_numpy(scan.totals).clamp_min(1.0)
        flux = (totals / totals.log().mean().exp()).to(device, torch.float32)
    if BACKGROUNDS & unknowns:
        background = torch.full((scan.N, scan.N), LEAST_BACKGROUND, device=device)
    known = known.to(device)
    if flux is not None and known.flux is not None:
        flux = known.flux.float()
    if background is not None and known.background is not None:
        background = known.background.float().clamp_min(LEAST_BACKGROUND)
    if "opr_modes" in unknowns and known.opr_modes is not None and known.opr_weights is not None:
        return Conditions(flux, background, known.opr_modes, known.opr_weights.float())
    return Conditions(flux, background)


def changed(estimate: Estimate, step: Step) -> Estimate:
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
    if "affine" in step:
        about = positions - positions.mean(dim=0)
        positions = positions + about @ step["affine"].to(about.dtype).T
    return Estimate(image, probe, positions, _conditions(estimate.conditions, step))


def _conditions(conditions: Conditions, step: Step) -> Conditions:
    """Conditions after a step that keeps the mean logarithm of the flux, and no background negative."""
    flux, background, modes, weights = conditions
    if flux is not None and "flux" in step:
        flux = flux * (2 * (step["flux"] - step["flux"].mean())).exp()
    if background is not None and (change := background_change(step, background.shape[-1])) is not None:
        background = (background + change).clamp_min(LEAST_BACKGROUND)
    if modes is not None and weights is not None and "opr_modes" in step:
        modes, weights = modes + step["opr_modes"], weights + step["opr_weights"]
    return Conditions(flux, background, modes, weights)


def unknowns_of(probe: bool, positions: bool, also: Set[Unknown], opr: int) -> Set[Unknown]:
    """All unknowns of a fit."""
    of_opr: Set[Unknown] = {"opr_modes", "opr_weights"} if opr else set()
    asked: dict[Unknown, bool] = {"object": True, "probe": probe, "positions": positions}
    return {name for name, on in asked.items() if on} | also | of_opr
