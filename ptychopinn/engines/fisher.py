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

from ptychopinn.engines.projections import KEPT_BYTES, Estimate, Unknown, fitted_pixels
from ptychopinn.model.processes import ALONE, Team
from ptychopinn.physics import exit_waves
from ptychopinn.physics.fourier import from_detector, to_detector
from ptychopinn.physics.likelihood import RATE_FLOOR, poisson_deviance
from ptychopinn.physics.patches import Canvas, extract_patches
from ptychopinn.scan.scan import Scan

Step = dict[Unknown, Tensor]
"""A change of the unknowns: object (H, W), probe (m, N, N), positions (n, 2)."""

PRECISION = 1e-12
"""Relative squared residual at which a system is solved; about the precision of float32."""


class _Chunk(NamedTuple):
    """Some frames at the image: views, patches (n, N, N), unit fields u (n, m, N, N), fitted pixels or None."""

    rows: slice
    views: exit_waves.ProbeViews
    patches: Tensor
    unit: Tensor
    mask: Tensor | None

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(x.nbytes for x in (*self.views, self.patches, self.unit, self.mask) if x is not None)


class _Sums:
    """Running sums of a step over the frames of all processes; the object is added to in place, on its own canvas."""

    def __init__(self, estimate: Estimate, unknowns: Set[Unknown], team: Team) -> None:
        self.team = team
        image, shape = estimate.image, (estimate.image.shape[0], estimate.image.shape[1])
        self.canvas = Canvas(shape, estimate.probe.shape[-1], image.dtype, image.device)
        self.others: Step = {}
        if "probe" in unknowns:
            self.others["probe"] = torch.zeros_like(estimate.probe)
        if "positions" in unknowns:
            self.others["positions"] = torch.zeros(estimate.positions.shape, device=image.device)

    def add(self, chunk: _Chunk, waves: Tensor) -> None:
        """Add the adjoint of :meth:`Linearised._waves`."""
        exit_waves.add_to_object(self.canvas, chunk.views, waves)
        if "probe" in self.others:
            self.others["probe"] += exit_waves.waves_to_probe(chunk.views, chunk.patches, waves)
        if "positions" in self.others:
            gradients = exit_waves.position_gradients(chunk.views, chunk.patches)
            self.others["positions"][chunk.rows] += (gradients.conj() * waves.unsqueeze(1)).real.sum(dim=(2, 3, 4))

    def times(self, factor: float) -> Step:
        """The sums over all processes, times a factor."""
        self.team.total(self.canvas.pixels)
        for value in self.others.values():
            self.team.total(value)
        total: Step = {"object": self.canvas.image, **self.others}
        return {name: value.mul_(factor) for name, value in total.items()}


class Linearised:
    """A scan's Poisson likelihood around an estimate.

    Args:
        scan: counts and mask.
        estimate: object, probe and positions of the linearisation.
        subpixel: model between pixels.
        unknowns: what may change.
        hold_out: leave one in ``HELD_OUT`` detector pixels out of the fit, and measure the deviance on them.
        deviance_only: compute the deviances only; the other attributes and methods are then missing.
        memory: bytes for the fields of the first frames, which are kept; those of the others are computed for every
            product.
        team: processes that share the frames; each one keeps the fields of the first ones of its share.

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
        memory: float = KEPT_BYTES,
        team: Team = ALONE,
    ) -> None:
        self.team, self._rows = team, team.share(slice(0, len(scan)))
        self.scan, self.estimate, self.subpixel = scan, estimate, subpixel
        self.unknowns, self.hold_out, self.memory = unknowns, hold_out, memory
        self.shape = (estimate.image.shape[0], estimate.image.shape[1])
        self._device = estimate.image.device
        self._good = None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels).to(self._device)
        self._kept: list[_Chunk] = []
        sums = torch.zeros(4, dtype=torch.float64)
        if deviance_only:
            for chunk, _, rate, counts in self._measured():
                sums += self._deviances(chunk, rate, counts)
        else:
            self._linearise(sums)
        team.total(sums)
        self.deviance, self.held_out = float(sums[0] / sums[1]), float(sums[2] / sums[3])

    def _linearise(self, sums: Tensor) -> None:
        """Gradient and diagonal of the information; keep the first chunks, and add the deviances to ``sums``."""
        gradient, left = _Sums(self.estimate, self.unknowns, self.team), self.memory
        light = Canvas(self.shape, self.scan.N, self.estimate.probe.real.dtype, self._device)
        self._seen = torch.zeros(self.scan.N, self.scan.N, device=self._device)
        self._power = torch.zeros(len(self.scan), 2, device=self._device)
        for chunk, field, rate, counts in self._measured():
            sums += self._deviances(chunk, rate, counts)
            slope = 1 - counts / rate
            if chunk.mask is not None:
                slope = slope * chunk.mask
            gradient.add(chunk, from_detector(slope * field))
            exit_waves.add_light(light, chunk.views)
            self._seen += (chunk.patches.real.square() + chunk.patches.imag.square()).sum(dim=0)
            if "positions" in self.unknowns:
                slopes = exit_waves.position_gradients(chunk.views, chunk.patches)
                self._power[chunk.rows] = slopes.abs().square().sum(dim=(2, 3, 4)).float()
            left -= chunk.size
            if left >= 0:
                self._kept.append(chunk)
        for part in (light.pixels, self._seen, self._power):
            self.team.total(part)
        self.gradient, self.light = gradient.times(2.0), light.image

    def at(self, estimate: Estimate) -> "Linearised":
        """The likelihood around another estimate."""
        return Linearised(
            self.scan, estimate, self.subpixel, self.unknowns, self.hold_out, False, self.memory, self.team
        )

    def release(self) -> None:
        """Free the fields that are kept: no product will be asked for."""
        self._kept = []

    def information(self, step: Step) -> Step:
        """Fisher information times a step, ``J x``."""
        total = _Sums(self.estimate, self.unknowns, self.team)
        for chunk in self._chunks():
            response = (chunk.unit.conj() * to_detector(self._waves(chunk, step))).real.sum(dim=1, keepdim=True)
            if chunk.mask is not None:
                response = response * chunk.mask
            total.add(chunk, from_detector(chunk.unit * response))
        return total.times(4.0)

    def sample_score(self, seed: int) -> Step:
        """Sample a score, whose covariance is the Fisher information: ``2 A^T e`` with standard normal e.

        Every frame draws with a seed of its own, so that chunks and processes change nothing.
        """
        total, generator = _Sums(self.estimate, self.unknowns, self.team), torch.Generator()
        size = self.scan.N
        for chunk in self._chunks():
            seeds = range(seed * len(self.scan) + chunk.rows.start, seed * len(self.scan) + chunk.rows.stop)
            noise = torch.stack([torch.randn(1, size, size, generator=generator.manual_seed(one)) for one in seeds])
            noise = noise.to(self._device)
            if chunk.mask is not None:
                noise = noise * chunk.mask
            total.add(chunk, from_detector(chunk.unit * noise))
        return total.times(2.0)

    def preconditioner(self) -> Step:
        """Diagonal preconditioner: about the inverse diagonal of J, damped on dim pixels.

        Half of the change of a detector field is along the field, hence 2 and not 4.
        """
        found: Step = {"object": 0.5 / (self.light + 2e-3 * self.light.max())}
        if "probe" in self.unknowns:
            found["probe"] = (0.5 / (self._seen + 2e-3 * self._seen.max())).expand_as(self.estimate.probe)
        if "positions" in self.unknowns:
            power = self._power
            found["positions"] = 0.5 / (power + 1e-3 * power.max())
        return found

    def _frames(self, first: int | None = None) -> Iterator[tuple[_Chunk, Tensor, Tensor]]:
        """Chunks of this process's frames from one on: with the detector field (n, m, N, N), the rate (n, 1, N, N)."""
        now = self.estimate
        first, count = self._rows.start if first is None else first, exit_waves.frames_per_chunk(now.probe)
        for start in range(first, self._rows.stop, count):
            rows = slice(start, min(start + count, self._rows.stop))
            views = exit_waves.probe_views(now.probe, now.positions[rows], self.subpixel)
            patches = extract_patches(now.image, views.places, self.scan.N)
            field = to_detector(views.probes * patches.unsqueeze(1))
            rate = (field.real.square() + field.imag.square()).sum(dim=1, keepdim=True).clamp_min(RATE_FLOOR)
            numbers = torch.arange(rows.start, rows.stop, device=self._device)
            mask = fitted_pixels(self.scan.N, numbers, self._good, self.hold_out)
            yield _Chunk(rows, views, patches, field * rate.rsqrt(), mask), field, rate

    def _measured(self) -> Iterator[tuple[_Chunk, Tensor, Tensor, Tensor]]:
        """:meth:`_frames` with their counts (n, 1, N, N)."""
        for chunk, field, rate in self._frames():
            yield chunk, field, rate, self.scan.frames(chunk.rows).to(self._device).unsqueeze(1)

    def _chunks(self) -> Iterator[_Chunk]:
        yield from self._kept
        yield from (chunk for chunk, _, _ in self._frames(self._kept[-1].rows.stop if self._kept else None))

    def _deviances(self, chunk: _Chunk, rate: Tensor, counts: Tensor) -> Tensor:
        """Deviance and number of pixels, summed over fitted and over held-out pixels: (4,)."""
        deviance = poisson_deviance(rate.double(), counts.double())
        every = torch.ones_like(rate, dtype=torch.bool)
        fitted, good = (every if mask is None else every & mask for mask in (chunk.mask, self._good))
        held = good & ~fitted
        sums = [(deviance * fitted).sum(), fitted.sum(), (deviance * held).sum(), held.sum()]
        return torch.stack([value.double() for value in sums]).cpu()

    def _waves(self, chunk: _Chunk, step: Step) -> Tensor:
        """Change of the exit waves by a step: (n, m, N, N)."""
        waves = exit_waves.object_to_waves(chunk.views, step["object"])
        if "probe" in step:
            waves = waves + exit_waves.probe_to_waves(chunk.views, chunk.patches, step["probe"])
        if "positions" in step:
            gradients = exit_waves.position_gradients(chunk.views, chunk.patches)
            waves = waves + (gradients * step["positions"][chunk.rows][:, :, None, None, None]).sum(dim=1)
        return waves


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
    """Real inner product of two steps, summed in float64 over a few rows at a time."""
    total = 0.0
    for name, value in a.items():
        other = b[name]
        if value.is_complex():
            value, other = torch.view_as_real(value.resolve_conj()), torch.view_as_real(other.resolve_conj())
        rows = max(1, exit_waves.CHUNK_ON_GPU // max(1, value[0].numel()))
        total += sum(
            float((x.double() * y.double()).sum()) for x, y in zip(value.split(rows), other.split(rows), strict=True)
        )
    return total
