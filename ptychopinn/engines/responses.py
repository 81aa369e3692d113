"""How the detector responds to small changes of the unknowns: the operator A of every unknown beside its adjoint.

A change of the unknowns changes the root of the rate ``I = c S + b`` by ``A dx = dI / (2 sqrt(I))``:

=============  =========================================================================
object         ``Re sum_m u_m^* F (P_m dO)``, with ``u_m = F psi_m / sqrt(I)``
probe          ``Re sum_m u_m^* F (dP_m O)``
opr_modes      ``Re u_1^* F (w_j dV O)``
opr_weights    ``Re u_1^* F (dw_j V O)``
positions      ``Re sum_m u_m^* F (d psi_m / d r . dr_j)``
affine         the same with ``dr_j = M (r_j - mean)``
flux           ``c S / sqrt(I) da_j``, of the logarithm a of the amplitude
background     ``db / (2 sqrt(I))``; a smooth one is ``db = B dc B^T``, B interpolating between knots
=============  =========================================================================
"""

from collections.abc import Set
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from ptychopinn.engines.projections import BACKGROUNDS, Estimate, Unknown
from ptychopinn.model.processes import ALONE, Team
from ptychopinn.physics import exit_waves
from ptychopinn.physics.fourier import from_detector, to_detector
from ptychopinn.physics.patches import Canvas

Step = dict[Unknown, Tensor]
"""A change of the unknowns: object (H, W), probe (m, N, N), opr_modes (K, N, N), opr_weights (n, K), positions (n, 2),
affine (2, 2), flux (n,), background (N, N), smooth_background (KNOTS, KNOTS)."""

KNOTS = 9
"""Values along an edge of the detector between which a smooth background is interpolated."""

ALIGNED = 64
"""Bytes: arrays begin at multiples of them, as torch itself lays them."""

OF_PROBES = frozenset(("probe", "opr_modes", "opr_weights"))


class Chunk(NamedTuple):
    """Some frames at an estimate.

    Attributes:
        rows: which frames.
        views: their probes, with flux, and places.
        patches: (n, N, N) object.
        unit: (n, m, N, N) fields u on the detector.
        root: (n, 1, N, N) roots of the rates.
        mask: fitted pixels; None for all.
        scale: (n,) ``sqrt(c_j)``; None for 1.
    """

    rows: slice
    views: exit_waves.ProbeViews
    patches: Tensor
    unit: Tensor
    root: Tensor
    mask: Tensor | None
    scale: Tensor | None

    @property
    def lit(self) -> Tensor:
        """Patches times the amplitude of the beam."""
        return self.patches if self.scale is None else self.patches * self.scale[:, None, None]

    @property
    def size(self) -> int:
        """Bytes."""
        parts = (*self.views, self.patches, self.unit, self.root, self.mask)
        return sum(part.nbytes for part in parts if part is not None)

    def packed(self) -> "Chunk":
        """The same in one block of memory, to be kept: kept one by one among passing arrays, they take 1.4 times it."""
        if self.root.is_cuda:
            return self
        probes, patches, unit, root = together(self.views.probes, self.patches, self.unit, self.root)
        return self._replace(views=self.views._replace(probes=probes), patches=patches, unit=unit, root=root)


def together(*parts: Tensor) -> list[Tensor]:
    """Copies of tensors that lie one after the other in one block of memory."""
    starts = [0, *accumulate(-(-part.nbytes // ALIGNED) * ALIGNED for part in parts)]
    block = torch.empty(starts[-1], dtype=torch.uint8, device=parts[0].device)
    found = []
    for part, start in zip(parts, starts, strict=False):
        found.append(block[start : start + part.nbytes].view(part.dtype).view(part.shape).copy_(part))
    return found


def respond(chunk: Chunk, now: Estimate, step: Step) -> Tensor:
    """``A dx`` of some frames: (n, 1, N, N) real."""
    waves = exit_waves.object_to_waves(chunk.views, step["object"])
    if OF_PROBES & step.keys():
        waves = waves + exit_waves.probe_to_waves(chunk.views, chunk.lit, _probe_change(chunk, now, step))
    if "positions" in step or "affine" in step:
        moves = torch.zeros(len(chunk.patches), 2, dtype=chunk.root.dtype, device=chunk.root.device)
        if "positions" in step:
            moves = moves + step["positions"][chunk.rows]
        if "affine" in step:
            moves = moves + _about_middle(now, chunk.rows) @ step["affine"].T
        gradients = exit_waves.position_gradients(chunk.views, chunk.patches)
        waves = waves + (gradients * moves[:, :, None, None, None]).sum(dim=1)
    response = (chunk.unit.conj() * to_detector(waves)).real.sum(dim=1, keepdim=True)
    if "flux" in step:
        response = response + _of_flux(chunk, now) * step["flux"][chunk.rows][:, None, None, None]
    if (change := background_change(step, response.shape[-1])) is not None:
        response = response + change / (2 * chunk.root)
    return response if chunk.mask is None else response * chunk.mask


class Sums:
    """Running sums of ``A^T y`` over the frames of all processes; the object is added to on its own canvas."""

    def __init__(self, now: Estimate, unknowns: Set[Unknown], team: Team = ALONE) -> None:
        image, real = now.image, now.probe.real
        self._now, self._team = now, team
        self._canvas = Canvas((image.shape[0], image.shape[1]), now.probe.shape[-1], image.dtype, image.device)
        count, size, modes = len(now.positions), now.probe.shape[-1], now.conditions.opr_modes
        shapes: dict[Unknown, tuple[int, ...]] = {
            "positions": (count, 2),
            "affine": (2, 2),
            "flux": (count,),
            "background": (size, size),
            "smooth_background": (KNOTS, KNOTS),
            "opr_weights": (count, 0 if modes is None else len(modes)),
        }
        self.others: Step = {name: real.new_zeros(shape) for name, shape in shapes.items() if name in unknowns}
        if "probe" in unknowns:
            self.others["probe"] = torch.zeros_like(now.probe)
        if "opr_modes" in unknowns and modes is not None:
            self.others["opr_modes"] = torch.zeros_like(modes)

    def add(self, chunk: Chunk, response: Tensor) -> None:
        """Add the adjoint of :func:`respond` of (n, 1, N, N)."""
        total, rows = self.others, chunk.rows
        if chunk.mask is not None:
            response = response * chunk.mask
        waves = from_detector(chunk.unit * response)
        exit_waves.add_to_object(self._canvas, chunk.views, waves)
        if OF_PROBES & total.keys():
            self._add_probes(chunk, waves)
        if "positions" in total or "affine" in total:
            gradients = exit_waves.position_gradients(chunk.views, chunk.patches)
            moves = (gradients.conj() * waves.unsqueeze(1)).real.sum(dim=(2, 3, 4))
            if "positions" in total:
                total["positions"][rows] += moves
            if "affine" in total:
                total["affine"] += moves.T @ _about_middle(self._now, rows)
        if "flux" in total:
            total["flux"][rows] += (_of_flux(chunk, self._now) * response).sum(dim=(1, 2, 3))
        if BACKGROUNDS & total.keys():
            self._add_background((response / (2 * chunk.root)).sum(dim=(0, 1)))

    def times(self, factor: float) -> Step:
        """The sums over all processes, times a factor."""
        self._team.total(self._canvas.pixels)
        for value in self.others.values():
            self._team.total(value)
        total: Step = {"object": self._canvas.image, **self.others}
        return {name: value.mul_(factor) for name, value in total.items()}

    def _add_background(self, detector: Tensor) -> None:
        """Add the adjoint of :func:`background_change` of (N, N)."""
        if "background" in self.others:
            self.others["background"] += detector
        if "smooth_background" in self.others:
            basis = background_basis(detector)
            self.others["smooth_background"] += basis.T @ detector @ basis

    def _add_probes(self, chunk: Chunk, waves: Tensor) -> None:
        """Add the adjoint of the waves of :func:`_probe_change`, of (n, m, N, N)."""
        total, conditions = self.others, self._now.conditions
        if not {"opr_modes", "opr_weights"} & total.keys():
            total["probe"] += exit_waves.waves_to_probe(chunk.views, chunk.lit, waves)
            return
        fields = exit_waves.waves_to_probes(chunk.views, chunk.lit, waves)
        assert conditions.opr_modes is not None
        assert conditions.opr_weights is not None
        if "probe" in total:
            total["probe"] += fields.sum(dim=0)
        first = fields[:, 0]
        if "opr_modes" in total:
            weights = conditions.opr_weights[chunk.rows].to(first.dtype)
            total["opr_modes"] += torch.einsum("nk,nyx->kyx", weights, first)
        if "opr_weights" in total:
            total["opr_weights"][chunk.rows] += torch.einsum("kyx,nyx->nk", conditions.opr_modes.conj(), first).real


def diagonal(chunk: Chunk, now: Estimate, unknowns: Set[Unknown]) -> Step:
    """Part of some frames in the diagonal of ``A^T A``, for all unknowns but the object; rows of frames alone.

    Half of the change of a detector field is along the field: those of waves are half their squared length.
    """
    intensity, found = chunk.lit.real.square() + chunk.lit.imag.square(), Step()
    modes, weights = now.conditions.opr_modes, now.conditions.opr_weights
    if "probe" in unknowns:
        found["probe"] = (intensity.sum(dim=0) / 2).expand_as(now.probe)
    if "opr_modes" in unknowns and weights is not None:
        found["opr_modes"] = torch.einsum("nk,nyx->kyx", weights[chunk.rows].square(), intensity) / 2
    if "opr_weights" in unknowns and modes is not None:
        power = modes.real.square() + modes.imag.square()
        found["opr_weights"] = torch.einsum("nyx,kyx->nk", intensity, power) / 2
    if {"positions", "affine"} & set(unknowns):
        moves = exit_waves.position_gradients(chunk.views, chunk.patches).abs().square().sum(dim=(2, 3, 4)) / 2
        found |= {"positions": moves, "affine": moves.T @ _about_middle(now, chunk.rows).square()}
    if "flux" in unknowns:
        found["flux"] = _of_flux(chunk, now).square().sum(dim=(1, 2, 3))
    if BACKGROUNDS & unknowns:
        detector = (1 / (4 * chunk.root.square())).sum(dim=(0, 1))
        basis = background_basis(detector).square()
        found |= {"background": detector, "smooth_background": basis.T @ detector @ basis}
    return {name: value for name, value in found.items() if name in unknowns}


def background_change(step: Step, size: int) -> Tensor | None:
    """Change of the background by a step, ``db + B dc B^T``: (N, N) with N = ``size``; None without any."""
    change = step.get("background")
    if "smooth_background" in step:
        coarse = step["smooth_background"]
        basis = background_basis(coarse.new_empty(size, size))
        smooth = basis @ coarse @ basis.T
        change = smooth if change is None else change + smooth
    return change


def background_basis(like: Tensor) -> Tensor:
    """Linear interpolation B between ``KNOTS`` values along the edge of a frame (N, N): (N, KNOTS)."""
    place = torch.linspace(0, KNOTS - 1, like.shape[-1], dtype=like.dtype, device=like.device)
    knot = torch.arange(KNOTS, dtype=like.dtype, device=like.device)
    return (1 - (place[:, None] - knot).abs()).clamp_min(0)


def _probe_change(chunk: Chunk, now: Estimate, step: Step) -> Tensor:
    """Change of the probes of some frames, ``dP + w_j dV + dw_j V``: (m, N, N) or (n, m, N, N)."""
    change = step["probe"] if "probe" in step else torch.zeros_like(now.probe)
    modes, weights = now.conditions.opr_modes, now.conditions.opr_weights
    if not {"opr_modes", "opr_weights"} & step.keys() or modes is None or weights is None:
        return change
    first = torch.zeros(len(chunk.patches), *change.shape[1:], dtype=change.dtype, device=change.device)
    for name, factors, fields in (
        ("opr_modes", weights[chunk.rows], step.get("opr_modes")),
        ("opr_weights", step["opr_weights"][chunk.rows] if "opr_weights" in step else None, modes),
    ):
        if name in step and factors is not None and fields is not None:
            first = first + torch.einsum("nk,kyx->nyx", factors.to(change.dtype), fields)
    others = change[1:].expand(len(first), -1, -1, -1)
    return torch.cat([(change[0] + first).unsqueeze(1), others], dim=1)


def _of_flux(chunk: Chunk, now: Estimate) -> Tensor:
    """``c S / sqrt(I) = sqrt(I) - b / sqrt(I)``: (n, 1, N, N)."""
    background = now.conditions.background
    return chunk.root if background is None else chunk.root - background / chunk.root


def _about_middle(now: Estimate, rows: slice) -> Tensor:
    """Positions of some frames about the mean of all: (n, 2)."""
    return (now.positions[rows] - now.positions.mean(dim=0)).to(now.probe.real.dtype)
