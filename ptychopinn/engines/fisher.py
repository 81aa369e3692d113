"""The Poisson model linearised at one image: gradient, Fisher information and their solver.

With ``I = sum_m |F psi_m|^2`` and ``u_m = F psi_m / sqrt(I)``, a small change of the unknowns changes the exit waves by
``d psi = B d x`` and the root of the rate by ``A d x = Re sum_m u_m^* F B_m d x``. The Fisher information of Poisson
counts is ``J = 4 A^T A`` in the real inner product (Thibault & Guizar-Sicairos, New J. Phys. 14, 063004, 2012; Wei,
Urbach & Coene, Phys. Rev. A 102, 043516, 2020). No dense matrix is built.
"""

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Protocol

import torch
from torch import Tensor

from ptychopinn.engines.projections import (
    BACKGROUNDS,
    KEPT_BYTES,
    LEAST_BACKGROUND,
    Estimate,
    Unknown,
    fitted_pixels,
)
from ptychopinn.engines.responses import Chunk, Step, Sums, background_basis, diagonal, respond
from ptychopinn.model.processes import ALONE, Team
from ptychopinn.physics import exit_waves
from ptychopinn.physics.fourier import to_detector
from ptychopinn.physics.likelihood import RATE_FLOOR, poisson_deviance
from ptychopinn.physics.patches import Canvas, extract_patches
from ptychopinn.scan.scan import Scan

PRECISION = 1e-12
"""Relative squared residual at which a system is solved; about the precision of float32."""

DAMPING = 1e-3
"""Share of the largest diagonal that is added to the others."""

PER_FRAME = ("positions", "flux", "opr_weights")

Precondition = Callable[[Step], Step]
"""About the inverse of an information, times a step."""


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
        fitted: number of these.
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
        self._kept: list[Chunk] = []
        sums = torch.zeros(4, dtype=torch.float64)
        if deviance_only:
            for chunk, counts in self._measured():
                sums += self._deviances(chunk, counts)
        else:
            self._linearise(sums)
        team.total(sums)
        self.deviance, self.held_out = float(sums[0] / sums[1]), float(sums[2] / sums[3])
        self.fitted = float(sums[1])

    def _linearise(self, sums: Tensor) -> None:
        """Gradient and diagonal of the information; keep the first chunks, and add the deviances to ``sums``."""
        gradient, left = Sums(self.estimate, self.unknowns, self.team), self.memory
        light = Canvas(self.shape, self.scan.N, self.estimate.probe.real.dtype, self._device)
        self._diagonal = {name: torch.zeros_like(part.real) for name, part in gradient.others.items()}
        for chunk, counts in self._measured():
            sums += self._deviances(chunk, counts)
            gradient.add(chunk, chunk.root - counts / chunk.root)
            exit_waves.add_light(light, chunk.views)
            for name, part in diagonal(chunk, self.estimate, self.unknowns).items():
                if name in PER_FRAME:
                    self._diagonal[name][chunk.rows] = part
                else:
                    self._diagonal[name] += part
            left -= chunk.size
            if left >= 0:
                self._kept.append(chunk.packed())
        for part in (light.pixels, *self._diagonal.values()):
            self.team.total(part)
        self.gradient, self.light = gradient.times(2.0), light.image

    @property
    def objective(self) -> float:
        """What a step makes less: the deviance."""
        return self.deviance

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
        sums = Sums(self.estimate, self.unknowns, self.team)
        for chunk in self._chunks():
            sums.add(chunk, respond(chunk, self.estimate, step))
        return sums.times(4.0)

    def sample_score(self, seed: int) -> Step:
        """Sample a score, whose covariance is the Fisher information: ``2 A^T e`` with standard normal e.

        Every frame draws with a seed of its own, so that chunks and processes change nothing.
        """
        sums, generator = Sums(self.estimate, self.unknowns, self.team), torch.Generator()
        size = self.scan.N
        for chunk in self._chunks():
            seeds = range(seed * len(self.scan) + chunk.rows.start, seed * len(self.scan) + chunk.rows.stop)
            noise = torch.stack([torch.randn(1, size, size, generator=generator.manual_seed(one)) for one in seeds])
            sums.add(chunk, noise.to(self._device))
        return sums.times(2.0)

    def preconditioning(self) -> Precondition:
        """:meth:`preconditioner`, times a step."""
        return scaling(self.preconditioner())

    def preconditioner(self) -> Step:
        """Diagonal preconditioner: about the inverse diagonal of J, damped where it is small.

        A background at its least value that would be smaller has 0: no step changes it.
        """
        found: Step = {"object": 0.5 / (self.light + 2e-3 * self.light.max())}
        for name, whole in self._diagonal.items():
            damping = 0.0 if name in BACKGROUNDS else 2e-3 if name == "probe" else DAMPING
            found[name] = 0.25 / (whole + damping * whole.max()).clamp_min(1e-30)
        if "background" in found:
            background = self.estimate.conditions.background
            assert background is not None
            found["background"] *= ~((background <= LEAST_BACKGROUND) & (self.gradient["background"] > 0))
        if "smooth_background" in found:
            background = self.estimate.conditions.background
            assert background is not None
            basis = background_basis(background)
            none = basis.T @ (background > LEAST_BACKGROUND).to(basis.dtype) @ basis == 0
            found["smooth_background"] *= ~(none & (self.gradient["smooth_background"] > 0))
        return found

    def _frames(self, first: int | None = None) -> Iterator[Chunk]:
        """Chunks of this process's frames from one on."""
        now = self.estimate
        first, count = self._rows.start if first is None else first, exit_waves.frames_per_chunk(now.probe)
        for start in range(first, self._rows.stop, count):
            rows = slice(start, min(start + count, self._rows.stop))
            probes = now.conditions.probes(now.probe, rows)
            views = exit_waves.probe_views(probes, now.positions[rows], self.subpixel)
            patches = extract_patches(now.image, views.places, self.scan.N)
            field = to_detector(views.probes * patches.unsqueeze(1))
            light = (field.real.square() + field.imag.square()).sum(dim=1, keepdim=True)
            root = now.conditions.counted(light).clamp_min(RATE_FLOOR).sqrt()
            numbers = torch.arange(rows.start, rows.stop, device=self._device)
            mask = fitted_pixels(self.scan.N, numbers, self._good, self.hold_out)
            yield Chunk(rows, views, patches, field / root, root, mask, now.conditions.amplitudes(rows, now.probe))

    def _measured(self) -> Iterator[tuple[Chunk, Tensor]]:
        """:meth:`_frames` with their counts (n, 1, N, N)."""
        for chunk in self._frames():
            yield chunk, self.scan.frames(chunk.rows).to(self._device).unsqueeze(1)

    def _chunks(self) -> Iterator[Chunk]:
        yield from self._kept
        yield from self._frames(self._kept[-1].rows.stop if self._kept else None)

    def _deviances(self, chunk: Chunk, counts: Tensor) -> Tensor:
        """Deviance and number of pixels, summed over fitted and over held-out pixels: (4,)."""
        rate = chunk.root.square()
        deviance = poisson_deviance(rate.double(), counts.double())
        every = torch.ones_like(rate, dtype=torch.bool)
        fitted, good = (every if mask is None else every & mask for mask in (chunk.mask, self._good))
        held = good & ~fitted
        sums = [(deviance * fitted).sum(), fitted.sum(), (deviance * held).sum(), held.sum()]
        return torch.stack([value.double() for value in sums]).cpu()


def _centre(step: Step) -> Step:
    """Subtract the means of positions and flux: object and probe take them up, and nothing changes."""
    for name in ("positions", "flux"):
        if name in step:
            step[name] -= step[name].mean(dim=0)
    return step


class Quadratic(Protocol):
    """What :func:`solve` needs of a model."""

    def information(self, step: Step) -> Step:
        """Fisher information times a step."""

    def preconditioning(self) -> Precondition:
        """About its inverse, times a step."""


def scaling(scales: Step) -> Precondition:
    """A diagonal, times a step."""
    return lambda step: {name: scales[name] * value for name, value in step.items()}


def solve(linear: Quadratic, right: Step, iterations: int, precondition: Precondition | None = None) -> Step:
    """Solve ``J x = right`` by preconditioned conjugate-gradient steps from zero.

    Few steps leave out what the counts hardly determine: they act as a regularisation. The mean position stays.
    """
    inverse = linear.preconditioning() if precondition is None else precondition
    found = {name: torch.zeros_like(value) for name, value in right.items()}
    rest = _centre({name: value.clone() for name, value in right.items()})
    towards = _centre(inverse(rest))
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
        scaled = _centre(inverse(rest))
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
