"""The Poisson model linearised at one image: gradient, Fisher information and their solver.

With ``I = sum_m |F psi_m|^2`` and ``u_m = F psi_m / sqrt(I)``, a small change of the unknowns changes the exit waves by
``d psi = B d x`` and the root of the rate by ``A d x = Re sum_m u_m^* F B_m d x``. The Fisher information of Poisson
counts is ``J = 4 A^T A`` in the real inner product (Thibault & Guizar-Sicairos, New J. Phys. 14, 063004, 2012; Wei,
Urbach & Coene, Phys. Rev. A 102, 043516, 2020). No dense matrix is built.
"""

from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

import torch
from torch import Tensor

from ptychopinn.engines.projections import Estimate, Unknown, fitted_pixels
from ptychopinn.physics import exit_waves
from ptychopinn.physics.fourier import from_detector, to_detector
from ptychopinn.physics.likelihood import RATE_FLOOR, poisson_deviance
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.scan import Scan

Step = dict[Unknown, Tensor]
"""A change of the unknowns: object (H, W), probe (m, N, N), positions (n, 2)."""

KEPT_BYTES = 2**30
"""Keep the fields of all frames up to this memory; recompute them for every product beyond it."""

PRECISION = 1e-12
"""Relative squared residual at which a system is solved; about the precision of float32."""


class _Chunk(NamedTuple):
    """Some frames at the image: views, patches (n, N, N), unit fields u (n, m, N, N), fitted pixels or None."""

    rows: slice
    views: exit_waves.ProbeViews
    patches: Tensor
    unit: Tensor
    mask: Tensor | None


class Linearised:
    """A scan's Poisson likelihood around an estimate.

    Args:
        scan: counts and mask.
        estimate: object, probe and positions of the linearisation.
        subpixel: model between pixels.
        unknowns: what may change.
        hold_out: leave one in ``HELD_OUT`` detector pixels out of the fit, and measure the deviance on them.
        deviance_only: compute the deviances only; the other attributes and methods are then missing.

    Attributes:
        deviance: mean Poisson deviance of the fitted pixels.
        held_out: the same of the pixels held out; NaN where none are.
        gradient: of the negative log-likelihood.
        light: (H, W) photons per object pixel.
    """

    def __init__(
        self,
        scan: Scan,
        estimate: Estimate,
        subpixel: exit_waves.SubPixel,
        unknowns: Set[Unknown] = frozenset({"object"}),
        hold_out: bool = False,
        deviance_only: bool = False,
    ) -> None:
        self.scan, self.estimate, self.subpixel = scan, estimate, subpixel
        self.unknowns, self.hold_out = unknowns, hold_out
        self.shape = (estimate.image.shape[0], estimate.image.shape[1])
        self._device = estimate.image.device
        self._good = None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels).to(self._device)
        fields = 16 * len(scan) * len(estimate.probe) * scan.N**2
        self._kept: list[_Chunk] | None = [] if fields < KEPT_BYTES else None
        if not deviance_only:
            self.gradient = self._zero()
            self.light = torch.zeros(self.shape, device=self._device)
            self._seen = torch.zeros(scan.N, scan.N, device=self._device)
        sums = torch.zeros(4, dtype=torch.float64)
        for chunk, field, rate in self._frames():
            counts = scan.frames(chunk.rows).to(self._device).unsqueeze(1)
            sums += self._deviances(chunk, rate, counts)
            if not deviance_only:
                self._add(chunk, field, 1 - counts / rate)
        self.deviance, self.held_out = float(sums[0] / sums[1]), float(sums[2] / sums[3])

    def information(self, step: Step) -> Step:
        """Fisher information times a step, ``J x``."""
        total = self._zero()
        for chunk in self._chunks():
            response = (chunk.unit.conj() * to_detector(self._waves(chunk, step))).real.sum(dim=1, keepdim=True)
            if chunk.mask is not None:
                response = response * chunk.mask
            self._collect(total, chunk, from_detector(chunk.unit * response), 4.0)
        return total

    def sample_score(self, generator: torch.Generator) -> Step:
        """Sample a score, whose covariance is the Fisher information: ``2 A^T e`` with standard normal e."""
        total = self._zero()
        for chunk in self._chunks():
            count, _, size, _ = chunk.unit.shape
            noise = torch.randn(count, 1, size, size, generator=generator).to(self._device)
            if chunk.mask is not None:
                noise = noise * chunk.mask
            self._collect(total, chunk, from_detector(chunk.unit * noise), 2.0)
        return total

    def preconditioner(self) -> Step:
        """Diagonal preconditioner: about the inverse diagonal of J, damped on dim pixels.

        Half of the change of a detector field is along the field, hence 2 and not 4.
        """
        found: Step = {"object": 0.5 / (self.light + 2e-3 * self.light.max())}
        if "probe" in self.unknowns:
            found["probe"] = (0.5 / (self._seen + 2e-3 * self._seen.max())).expand_as(self.estimate.probe)
        if "positions" in self.unknowns:
            rows = [
                exit_waves.position_gradients(c.views, c.patches).abs().square().sum(dim=(2, 3, 4))
                for c in self._chunks()
            ]
            power = torch.cat(rows)
            found["positions"] = 0.5 / (power + 1e-3 * power.max())
        return found

    def _frames(self) -> Iterator[tuple[_Chunk, Tensor, Tensor]]:
        """Every chunk of frames with its detector field (n, m, N, N) and rate (n, 1, N, N)."""
        now = self.estimate
        count = exit_waves.frames_per_chunk(now.probe)
        for start in range(0, len(self.scan), count):
            rows = slice(start, min(start + count, len(self.scan)))
            views = exit_waves.probe_views(now.probe, now.positions[rows], self.subpixel)
            patches = extract_patches(now.image, views.places, self.scan.N)
            field = to_detector(views.probes * patches.unsqueeze(1))
            rate = (field.real.square() + field.imag.square()).sum(dim=1, keepdim=True).clamp_min(RATE_FLOOR)
            numbers = torch.arange(rows.start, rows.stop, device=self._device)
            mask = fitted_pixels(self.scan.N, numbers, self._good, self.hold_out)
            yield _Chunk(rows, views, patches, field * rate.rsqrt(), mask), field, rate

    def _chunks(self) -> Iterator[_Chunk]:
        if self._kept is not None:
            yield from self._kept
        else:
            yield from (chunk for chunk, _, _ in self._frames())

    def _deviances(self, chunk: _Chunk, rate: Tensor, counts: Tensor) -> Tensor:
        """Deviance and number of pixels, summed over fitted and over held-out pixels: (4,)."""
        deviance = poisson_deviance(rate.double(), counts.double())
        every = torch.ones_like(rate, dtype=torch.bool)
        fitted, good = (every if mask is None else every & mask for mask in (chunk.mask, self._good))
        held = good & ~fitted
        sums = [(deviance * fitted).sum(), fitted.sum(), (deviance * held).sum(), held.sum()]
        return torch.stack([value.double() for value in sums]).cpu()

    def _add(self, chunk: _Chunk, field: Tensor, slope: Tensor) -> None:
        """Add a chunk to the gradient, given the derivative of its likelihood by the rate."""
        if chunk.mask is not None:
            slope = slope * chunk.mask
        self._collect(self.gradient, chunk, from_detector(slope * field), 2.0)
        self.light += exit_waves.illumination_map(chunk.views, self.shape)
        self._seen += (chunk.patches.real.square() + chunk.patches.imag.square()).sum(dim=0)
        if self._kept is not None:
            self._kept.append(chunk)

    def _waves(self, chunk: _Chunk, step: Step) -> Tensor:
        """Change of the exit waves by a step: (n, m, N, N)."""
        waves = exit_waves.object_to_waves(chunk.views, step["object"])
        if "probe" in step:
            waves = waves + exit_waves.probe_to_waves(chunk.views, chunk.patches, step["probe"])
        if "positions" in step:
            gradients = exit_waves.position_gradients(chunk.views, chunk.patches)
            waves = waves + (gradients * step["positions"][chunk.rows][:, :, None, None, None]).sum(dim=1)
        return waves

    def _collect(self, total: Step, chunk: _Chunk, waves: Tensor, factor: float) -> None:
        """Add the adjoint of :meth:`_waves`, times a factor, to ``total``."""
        total["object"] += factor * exit_waves.waves_to_object(chunk.views, waves, self.shape)
        if "probe" in total:
            total["probe"] += factor * exit_waves.waves_to_probe(chunk.views, chunk.patches, waves)
        if "positions" in total:
            gradients = exit_waves.position_gradients(chunk.views, chunk.patches)
            total["positions"][chunk.rows] += factor * (gradients.conj() * waves.unsqueeze(1)).real.sum(dim=(2, 3, 4))

    def _zero(self) -> Step:
        now = self.estimate
        zeros: Step = {"object": torch.zeros_like(now.image)}
        if "probe" in self.unknowns:
            zeros["probe"] = torch.zeros_like(now.probe)
        if "positions" in self.unknowns:
            zeros["positions"] = torch.zeros(now.positions.shape, device=self._device)
        return zeros


def _centre(step: Step) -> Step:
    """Subtract the mean of the positions: a common shift of positions and object changes nothing."""
    if "positions" in step:
        step["positions"] -= step["positions"].mean(dim=0)
    return step


def solve(linear: Linearised, right: Step, iterations: int, preconditioner: Step | None = None) -> Step:
    """Solve ``J x = right`` by preconditioned conjugate-gradient steps from zero.

    Few steps leave out what the counts hardly determine: they act as a regularisation. The mean position stays.
    """
    scales = linear.preconditioner() if preconditioner is None else preconditioner
    found = {name: torch.zeros_like(value) for name, value in right.items()}
    rest = _centre({name: value.clone() for name, value in right.items()})
    towards = _centre({name: scales[name] * value for name, value in rest.items()})
    product = first = dot(rest, towards)
    for _ in range(iterations):
        # Below the precision of the numbers, further steps would only add rounding errors.
        if not product > PRECISION * first:
            break
        bent = _centre(linear.information(towards))
        curvature = dot(towards, bent)
        if not curvature > 0:
            break
        length = product / curvature
        for name, direction in towards.items():
            found[name] += length * direction
            rest[name] -= length * bent[name]
        scaled = _centre({name: scales[name] * value for name, value in rest.items()})
        before, product = product, dot(rest, scaled)
        towards = {name: value + (product / before) * towards[name] for name, value in scaled.items()}
    return found


def dot(a: Mapping[Unknown, Tensor], b: Mapping[Unknown, Tensor]) -> float:
    """Real inner product of two steps."""
    total = 0.0
    for name, value in a.items():
        other = b[name]
        if value.is_complex():
            value, other = torch.view_as_real(value.resolve_conj()), torch.view_as_real(other.resolve_conj())
        total += float((value.double() * other.double()).sum())
    return total
