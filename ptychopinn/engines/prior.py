"""What is known of an object before its counts: how strong its waves of every length are.

The object is taken for a sample of a stationary Gaussian field: real and imaginary part of a wave of frequency f have
the covariance S(f), a 2 x 2 matrix, once the phase around each pixel is taken off. Its precision ``L = F^-1 S^-1 F``
joins the Fisher information of the counts in the same solve, ``(J + L) dx = -gradient - L x``. Long waves are free: the
counts hardly determine slow changes of the phase, and a prior that prefers some of them, as that of the field itself
does where phases are strong, bends the image by much more than its noise.

S is not given: it is what makes the counts most likely (the evidence; MacKay, Neural Computation 4, 415, 1992), found
from the powers of the image and of draws of its error. Edges and texture of the image are in S, whatever they are.

What is rare does not show in S. So single pixels that the counts see against the prior, by more than chance allows
anywhere in the image, are free of it: with E the images of these *spots*, ``L - L E (E^T L E)^-1 E^T L`` takes the
place of L. It is the precision of a field to which spots of any size are added.
"""

import math
from typing import Any, Final, Self

import torch
from torch import Tensor

from ptychopinn.engines.fisher import Linearised, Precondition, dot
from ptychopinn.engines.projections import Estimate
from ptychopinn.engines.responses import Step

PER_OCTAVE: Final = 2
"""Bands of S for every factor of 2 in frequency."""

HIGHEST: Final = math.sqrt(0.5)
"""Frequency of the first band, that of the corner of the plane, 1/px."""

LONGEST: Final = 1.5
"""Edges of the canvas over the longest wave whose power is asked for; longer ones have that of the last band."""

SMOOTH: Final = 4.0
"""Pixels of the Gaussian that takes the phase around a pixel; waves much longer than that are free."""

RIM: Final = 0.1
"""Light, in units of that of a usual pixel, at which a pixel counts half in the powers."""

LEAST: Final = 1e-3
"""Least power of a wave, in units of the noise of a usual pixel: what is weaker is not told apart."""

CHANGE: Final = 0.1
"""A power changes by this factor at most in one update, up or down."""

DETERMINED: Final = 0.05
"""Least share of a wave that counts are taken to determine, in an update. At 0.2 weak waves go on to 0, and so do the
error bars of what they held."""

CHANCE: Final = 0.01
"""Number of spots that noise alone makes in an image."""

MOST_SPOTS: Final = 400
"""Spots at most; where there are more, they are not rare, and S knows them."""

DRAW_STEPS: Final = 5
"""Conjugate-gradient steps of the draw by which S is updated: short waves, whose power it decides, need few."""


def usual_light(light: Tensor) -> float:
    """Photons on a usual lit pixel, ``sum I^2 / sum I``, of (H, W)."""
    return float(light.double().square().sum() / light.double().sum().clamp_min(1e-30))


class Bands:
    """Waves of a canvas (H, W), each between two bands of frequencies."""

    def __init__(self, shape: tuple[int, int], count: int | None = None, device: torch.device | str = "cpu") -> None:
        rows, columns = torch.fft.fftfreq(shape[0]), torch.fft.rfftfreq(shape[1])
        frequency = torch.hypot(rows[:, None], columns[None, :])
        octaves = math.log2(HIGHEST * max(shape) / LONGEST)
        self.count = max(2, 1 + math.floor(PER_OCTAVE * octaves)) if count is None else count
        place = (PER_OCTAVE * torch.log2(HIGHEST / frequency.clamp_min(1e-9))).clamp(0, self.count - 1.001)
        self.below = place.long().to(device)
        self.between = (place - place.floor()).to(device)
        # Half of the plane is stored: all but the first and, of an even width, the last column stand for two waves.
        twice = torch.full_like(frequency, 2.0)
        twice[:, 0] = 1
        if shape[1] % 2 == 0:
            twice[:, -1] = 1
        self.waves = (twice * (frequency > 0)).to(device)
        self._long = (-2 * (math.pi * SMOOTH * frequency).square()).exp().to(device)
        self.short = (1 - self._long).square()
        self.shape = shape

    def blurred(self, image: Tensor) -> Tensor:
        """An image (H, W) averaged over a Gaussian of ``SMOOTH`` pixels."""
        parts = torch.view_as_real(image.resolve_conj()).movedim(-1, 0)
        found = torch.fft.irfft2(torch.fft.rfft2(parts) * self._long, s=self.shape)
        return torch.complex(found[0], found[1])

    def means(self, values: Tensor) -> Tensor:
        """Means over the waves of each band of (H, W/2+1, 2, 2): (bands, 2, 2) float64 on the CPU."""
        total = torch.zeros(self.count, 5, dtype=torch.float64, device=values.device)
        for band, weight in ((self.below, 1 - self.between), (self.below + 1, self.between)):
            weight = (weight * self.waves).double()
            parts = torch.cat([values.flatten(-2).double() * weight[..., None], weight[..., None]], dim=-1)
            total.index_add_(0, band.flatten(), parts.flatten(0, 1))
        return (total[:, :4] / total[:, 4:].clamp_min(1e-9)).reshape(-1, 2, 2).cpu()

    def spread(self, values: Tensor) -> Tensor:
        """Symmetric matrices of the waves from those of the bands (bands, 2, 2), interpolated: (H, W/2+1, 2, 2)."""
        values = values.to(self.between)
        between = self.between[..., None, None]
        return torch.lerp(values[self.below], values[self.below + 1], between)


class Prior:
    """The precision L of an object on a canvas.

    Args:
        powers: (bands, 2, 2) covariances S of real and imaginary part, from the highest frequency on, once the phase
            around each pixel is taken off.
        image: (H, W) complex whose phase that is.
        light: (H, W) photons on each pixel.
        spots: (k, 2) pixels (y, x) that are free of it.
    """

    def __init__(self, powers: Tensor, image: Tensor, light: Tensor, spots: Tensor | None = None) -> None:
        self.spots = torch.empty(0, 2, dtype=torch.int64) if spots is None else spots
        self.powers, self._bands = powers, Bands((image.shape[0], image.shape[1]), len(powers), image.device)
        self._turn = torch.polar(torch.ones_like(light), self._bands.blurred(image).angle())
        self._usual = usual_light(light)
        self._lit = (2 * (light + RIM * self._usual)).sqrt()
        self._window = light / (light + RIM * self._usual)
        values, vectors = torch.linalg.eigh(powers)
        logs = self._bands.spread(vectors @ torch.diag_embed(-values.log()) @ vectors.mT)
        half, across = (logs[..., 0, 0] - logs[..., 1, 1]) / 2, logs[..., 0, 1]
        middle, radius = (logs[..., 0, 0] + logs[..., 1, 1]) / 2, torch.hypot(half, across)
        angle = torch.atan2(across, half) / 2
        self._cos, self._sin = angle.cos(), angle.sin()
        self._logs = torch.stack([middle + radius, middle - radius])
        self._known = self._bands.short
        self._at = (self.spots[:, 0].to(image.device), self.spots[:, 1].to(image.device))
        self._free = self._between_spots()

    @classmethod
    def of(cls, image: Tensor, light: Tensor) -> Self:
        """The prior of an image (H, W) to begin with: its own powers, less those of the noise of its pixels."""
        bands = Bands((image.shape[0], image.shape[1]), device=image.device)
        flat = torch.eye(2, dtype=torch.float64).expand(bands.count, 2, 2)
        start = cls(flat, image, light)
        raw, noise = start.powers_of(image, centred=True), 0.5 / start._usual
        values, vectors = torch.linalg.eigh(raw)
        kept = torch.maximum(values - noise, CHANGE * values).clamp_min(start._least)
        return cls(vectors @ torch.diag_embed(kept) @ vectors.mT, image, light)

    @property
    def _least(self) -> float:
        return LEAST * 0.5 / self._usual

    def information(self, change: Tensor) -> Tensor:
        """``L x`` of an image (H, W)."""
        return self._without_spots(self._precise(change))

    def energy(self, image: Tensor) -> float:
        """``x L x / 2``: the negative logarithm of the prior, but for a constant."""
        return dot({"object": image}, {"object": self.information(image)}) / 2

    def root(self, change: Tensor) -> Tensor:
        """``L^(1/2) x``; of white noise it is a sample of covariance L."""
        return self._without_spots(self._filtered(change, (self._logs / 2).exp() * self._known.sqrt()))

    def precondition(self, change: Tensor) -> Tensor:
        """About ``(J + L)^-1 x``, with J twice the light of each pixel."""
        kept = 1 / (1 + self._logs.exp() * self._known / (2 * self._usual))
        return self._filtered(change / self._lit, kept) / self._lit

    def powers_of(self, image: Tensor, centred: bool = False) -> Tensor:
        """Covariances of real and imaginary part of the waves of an image (H, W) where light is: (bands, 2, 2)."""
        if centred:
            image = image - (image * self._window).sum() / self._window.sum()
        parts = torch.view_as_real(image * self._turn.conj()).movedim(-1, 0)
        waves = torch.fft.rfft2(parts * self._window).movedim(0, -1)
        products = (waves[..., :, None] * waves[..., None, :].conj()).real
        return self._bands.means(products / self._window.square().sum())

    def updated(self, image: Tensor, draw: Tensor) -> Tensor:
        """Powers S that make the counts more likely: (bands, 2, 2).

        With P the powers of the image, V those of its error and ``g = 1 - V / S`` the share of the counts, a wave of
        noise N has ``P = g^2 (S' + N)`` under its true power S' and ``V = g N``: so ``S' = P / g^2 - V / g``. That is
        the maximum at once where all waves of a band share one N and the image is the most likely one, and overshoots
        else; ``P / g`` has the same fixed point and falls short (MacKay). The mean of the two is taken. Matrices are
        in units of S, and change by a factor of ``CHANGE`` at most.

        Args:
            image: (H, W) the most likely one under this prior.
            draw: (H, W) a sample of its error.
        """
        values, vectors = torch.linalg.eigh(self.powers)
        root = vectors @ torch.diag_embed(values.sqrt()) @ vectors.mT
        inverse = vectors @ torch.diag_embed(values.rsqrt()) @ vectors.mT
        smooth = (self._filled(part) for part in (image, draw))
        powers, errors = (inverse @ self.powers_of(part, k == 0) @ inverse for k, part in enumerate(smooth))
        shares, turns = torch.linalg.eigh(torch.eye(2, dtype=errors.dtype) - errors)
        weight = turns @ torch.diag_embed(shares.clamp(DETERMINED, 1).rsqrt()) @ turns.mT
        slow = weight @ powers @ weight
        grown, axes = torch.linalg.eigh((slow + weight @ (slow - errors) @ weight) / 2)
        grown = axes @ torch.diag_embed(grown.clamp(CHANGE, 1 / CHANGE)) @ axes.mT
        found, ways = torch.linalg.eigh(root @ grown @ root)
        return ways @ torch.diag_embed(found.clamp_min(self._least)) @ ways.mT

    def with_new_spots(self, image: Tensor, pull: Tensor) -> Tensor:
        """The spots, and those that are new: (k, 2).

        At the most likely image the counts pull a pixel with ``-g`` against ``L x``. Under a right prior the square of
        that over the information of the pixel, ``t^2``, is above u by chance in a share ``exp(-u / 2)`` of the pixels.

        Args:
            image: (H, W) the most likely one.
            pull: (H, W) gradient g of the counts.
        """
        light = torch.where(self._window > 0.5, self._lit.square() / 2 - RIM * self._usual, torch.inf)
        against = -(pull.conj() * self.information(image)).real / (2 * light)
        limit = 2 * math.log(max(2.0, float((self._window > 0.5).sum())) / CHANCE)
        order = against.flatten().argsort(descending=True)[: MOST_SPOTS + 1]
        sure = order[against.flatten()[order] > limit].cpu()
        width = image.shape[1]
        found = torch.cat([self.spots, torch.stack([sure // width, sure % width], dim=1)]).unique(dim=0)
        return found if len(found) <= MOST_SPOTS else self.spots

    def _precise(self, image: Tensor) -> Tensor:
        """``F^-1 S^-1 F x``."""
        return self._filtered(image, self._logs.exp() * self._known)

    def _between_spots(self) -> Tensor | None:
        """Cholesky factor of ``E^T L E``, (2k, 2k); None without spots."""
        if not len(self.spots):
            return None
        kernels = []
        for unit in (1, 1j):
            impulse = torch.zeros_like(self._turn)
            impulse[0, 0] = unit * self._turn[0, 0]
            kernels.append(torch.view_as_real(self._precise(impulse) * self._turn.conj()))
        rows, columns = (place[:, None] - place[None, :] for place in self._at)
        blocks = torch.stack([kernel[rows, columns] for kernel in kernels], dim=-1)
        matrix = blocks.permute(0, 2, 1, 3).reshape(2 * len(self.spots), -1).double()
        return torch.linalg.cholesky(matrix + 1e-6 * matrix.diagonal().mean() * torch.eye(len(matrix)).to(matrix))

    def _spots_of(self, pull: Tensor) -> Tensor:
        """``E (E^T L E)^-1 E^T y`` of an image y (H, W)."""
        assert self._free is not None
        turn = self._turn[self._at]
        there = torch.view_as_real(pull[self._at] * turn.conj()).reshape(-1, 1).double()
        sizes = torch.cholesky_solve(there, self._free).reshape(-1, 2).to(self._lit.dtype).contiguous()
        found = torch.zeros_like(pull)
        found[self._at] = torch.view_as_complex(sizes) * turn
        return found

    def _without_spots(self, pull: Tensor) -> Tensor:
        """``y - L E (E^T L E)^-1 E^T y``: the spots are not pulled."""
        return pull if self._free is None else pull - self._precise(self._spots_of(pull))

    def _filled(self, image: Tensor) -> Tensor:
        """An image with its spots taken off: there it is as likely as its surroundings make it."""
        return image if self._free is None else image - self._spots_of(self._precise(image))

    def _filtered(self, image: Tensor, values: Tensor) -> Tensor:
        """An image whose waves are multiplied by matrices of these eigenvalues (2, H, W/2+1)."""
        waves = torch.fft.rfft2(torch.view_as_real(image * self._turn.conj()).movedim(-1, 0))
        first = (self._cos * waves[0] + self._sin * waves[1]) * values[0]
        second = (self._cos * waves[1] - self._sin * waves[0]) * values[1]
        mixed = torch.stack([self._cos * first - self._sin * second, self._sin * first + self._cos * second])
        found = torch.fft.irfft2(mixed, s=self._bands.shape)
        return torch.complex(found[0], found[1]) * self._turn


class Joined(Linearised):
    """A likelihood and a prior of the object, around an estimate.

    Args:
        args: see :class:`Linearised`.
        powers: of the prior; None for those to begin with.
        spots: of the prior.
        kwargs: see :class:`Linearised`.
    """

    def __init__(self, *args: Any, powers: Tensor | None = None, spots: Tensor | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._set(powers, spots)

    def _set(self, powers: Tensor | None, spots: Tensor | None) -> None:
        image = self.estimate.image
        self.prior = Prior.of(image, self.light) if powers is None else Prior(powers, image, self.light, spots)
        self._of_counts = self.gradient["object"]
        self.gradient = self.gradient | {"object": self._of_counts + self.prior.information(image)}

    @property
    def objective(self) -> float:
        """Deviance, and twice the energy of the prior, per pixel fitted."""
        return self.deviance + 2 * self.prior.energy(self.estimate.image) / self.fitted

    def at(self, estimate: Estimate) -> "Joined":
        """The same around another estimate."""
        made = (self.scan, estimate, self.subpixel, self.unknowns, self.hold_out, False, self.memory, self.team)
        return Joined(*made, powers=self.prior.powers, spots=self.prior.spots)

    def learn(self, draw: Tensor) -> None:
        """Update the prior by a sample of the error of the image."""
        powers = self.prior.updated(self.estimate.image, draw)
        spots = self.prior.with_new_spots(self.estimate.image, self._of_counts)
        self.gradient = self.gradient | {"object": self._of_counts}
        self._set(powers, spots)

    def information(self, step: Step) -> Step:
        """Information of the counts and precision of the prior, times a step."""
        found = super().information(step)
        return found | {"object": found["object"] + self.prior.information(step["object"])}

    def sample_score(self, seed: int) -> Step:
        """Sample what has the covariance ``J + L``; every process draws the same noise for the prior."""
        found = super().sample_score(seed)
        return found | {"object": found["object"] + self.prior.root(self.white(seed))}

    def white(self, seed: int) -> Tensor:
        """The white noise (H, W) of the prior in :meth:`sample_score`."""
        noise = torch.randn(2, *self.shape, generator=torch.Generator().manual_seed(seed))
        return torch.complex(noise[0], noise[1]).to(self.estimate.image.device)

    def share(self, draw: Tensor, seed: int) -> Tensor:
        """What the prior gives around each pixel, before an average: (H, W), of mean ``diag L^1/2 (J + L)^-1 L^1/2``.

        Args:
            draw: (H, W) the solution for :meth:`sample_score`.
            seed: of that sample.
        """
        return (self.prior.root(draw) * self.white(seed).conj()).real / 2

    def preconditioning(self) -> Precondition:
        """That of the prior for the object, a diagonal for all else."""
        diagonal = self.preconditioner()

        def apply(step: Step) -> Step:
            found = {name: diagonal[name] * value for name, value in step.items() if name != "object"}
            return Step(found | {"object": self.prior.precondition(step["object"])})

        return apply
