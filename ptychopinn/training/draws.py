"""Batches for a network that is to know any set-up: frames of many probes, doses and objects at once."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ptychopinn.model.whole import Lights, as_transformed
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import probe_views
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.illumination import Illumination
from ptychopinn.training.objects import random_image
from ptychopinn.training.setups import SECOND_MODE, Field, SetUp, random_setup

SIZES: Final = {32: 0.22, 48: 0.1, 64: 0.6, 96: 0.025, 128: 0.05, 256: 0.005}
"""N, and its share of the batches."""

AREA, FEWEST, MOST = 16 * 36**2, 4, 32
"""Lit pixels of a batch, and its fewest and most frames: every step costs about the same."""

POOL, OBJECTS = 24, 32
"""Set-ups of each kind, and objects, that are held; every other batch replaces a set-up, every eighth an object."""

EDGE = 320
"""Pixels of the objects."""

SCANS, WIDEST, FRAME_PIXELS = 4, 60, 2**17
"""Small scans in a batch, pixels by which the frames of one may spread, and most pixels of its frames."""

TOGETHER = 8
"""Set-ups in a batch."""

FAINTEST, BRIGHTEST = 2.0, 9.0
"""Powers of ten of the photons per frame."""


class Draw(NamedTuple):
    """A batch of single frames, each with a set-up of its own.

    Attributes:
        counts: (B, 1, N, N) photons.
        light: probes (B, 1, m, N, N) in sqrt(photons), good pixels (B, 1, 1, N, N), largest support.
        targets: (B, 1, N, N) complex patches.
        photons: (B,) of the probes.
        kinds: (B,) of the probes.
    """

    counts: Tensor
    light: Illumination
    targets: Tensor
    photons: Tensor
    kinds: Sequence[str]

    def to(self, device: str) -> "Draw":
        """The same on a device."""
        return Draw(
            self.counts.to(device),
            self.light.to(device),
            self.targets.to(device),
            self.photons.to(device),
            self.kinds,
        )


class SmallScan(NamedTuple):
    """A batch of small scans, each with a set-up of its own.

    Attributes:
        counts: (B, n, N, N) photons.
        lights: probes and places as the network is told them.
        targets: (B, E, E) complex objects.
        photons: (B,) of a probe.
        kinds: (B,) of the probes.
    """

    counts: Tensor
    lights: Lights
    targets: Tensor
    photons: Tensor
    kinds: Sequence[str]

    def to(self, device: str) -> "SmallScan":
        """The same on a device."""
        probes, places, good = self.lights
        lights = Lights(probes.to(device), places.to(device), None if good is None else good.to(device))
        return SmallScan(self.counts.to(device), lights, self.targets.to(device), self.photons.to(device), self.kinds)


class Draws:
    """An endless source of batches; the same seed gives the same batches.

    Args:
        seed: of everything that is drawn.
        given: measured probes (m, n, n) to vary, besides generated ones.
    """

    def __init__(self, seed: int, given: tuple[Field, ...] = ()) -> None:
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.given = given
        self.pools: dict[tuple[int, int], list[SetUp]] = {}
        self.objects: list[Tensor] = []
        self.count = 0

    def next(self) -> Draw:
        """One batch: set-ups of equal N and number of modes, and of similar lit squares."""
        rng = self.rng
        N, modes = int(rng.choice(list(SIZES), p=list(SIZES.values()))), 1 + int(rng.random() < SECOND_MODE)
        pool = self._pool(N, modes)
        self._renew_objects()
        self.count += 1
        # Small lit squares a little more often: they are cheap.
        first = int(rng.beta(1.0, 1.5) * (POOL - TOGETHER + 1))
        chosen = pool[first : first + TOGETHER]
        frames = min(MOST, max(FEWEST, AREA // max(setup.support for setup in chosen) ** 2))
        return self._frames([chosen[i % TOGETHER] for i in range(frames)])

    def next_scans(self) -> SmallScan:
        """One batch of small scans: frames on a jittered raster, more or less dense, of one object each."""
        rng = self.rng
        N, modes = int(rng.choice(list(SIZES), p=list(SIZES.values()))), 1 + int(rng.random() < SECOND_MODE)
        pool = self._pool(N, modes)
        self._renew_objects()
        self.count += 1
        first = int(rng.beta(1.0, 1.5) * (len(pool) - SCANS + 1))
        chosen = pool[first : first + SCANS]
        support = max(setup.support for setup in chosen)
        side = int(rng.integers(2, 6))
        while side > 2 and side**2 * N**2 * modes > FRAME_PIXELS:
            side -= 1
        room = max(8, WIDEST - support // 3)
        step = min(support * rng.uniform(0.08, 0.3), room / max(1, side - 1))
        edge = min(-(-int(support + (side - 1) * step + 6) // 4) * 4, EDGE)
        parts = [self._scan(setup, side, step, edge) for setup in chosen]
        counts, probes, places, targets, photons = (torch.stack(part) for part in zip(*parts, strict=True))
        good = as_transformed(torch.stack([setup.good_pixels for setup in chosen]))[:, None, None]
        return SmallScan(counts, Lights(probes, places, good), targets, photons, [setup.kind for setup in chosen])

    def _scan(self, setup: SetUp, side: int, step: float, edge: int) -> tuple[Tensor, ...]:
        """Counts, probes and places as told, object and photons of one small scan."""
        rng, N = self.rng, setup.probe.shape[-1]
        grid = np.stack(np.meshgrid(*[np.arange(side) - (side - 1) / 2] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
        places = edge / 2 + step * (grid + rng.uniform(-0.25, 0.25, grid.shape))
        told = places + rng.normal(size=grid.shape) * (rng.uniform(0, 0.6) if rng.random() < 0.2 else 0.0)
        photons = 10 ** rng.uniform(FAINTEST, BRIGHTEST)
        image = self.objects[int(rng.integers(len(self.objects)))]
        y, x = rng.integers(0, EDGE - edge + 1, 2)
        target = image[y : y + edge, x : x + edge].to(torch.complex64)
        true, seen = (
            probe_views(probe * photons**0.5, torch.from_numpy(where), "fourier")
            for probe, where in ((setup.light, places), (setup.probe, told))
        )
        patches = 1 + extract_patches(target - 1, true.places, N)
        rates = diffract(true.probes, patches) + setup.background * photons / N**2
        counts = torch.poisson(rates, self.generator) * setup.good_pixels
        return counts, seen.probes, seen.places, target, torch.tensor(photons)

    def _pool(self, N: int, modes: int) -> list[SetUp]:
        """Set-ups in the order of their lit squares, one of them new."""
        pool = self.pools.setdefault((N, modes), [])
        if len(pool) == POOL and self.count % 2 == 0:
            pool.pop(int(self.rng.integers(POOL)))
        while len(pool) < POOL:
            pool.append(random_setup(N, self.rng, modes, self.given))
        pool.sort(key=lambda setup: setup.support)
        return pool

    def _renew_objects(self) -> None:
        if self.count % 8 == 0 and len(self.objects) == OBJECTS:
            self.objects.pop(0)
        while len(self.objects) < OBJECTS:
            self.objects.append(torch.from_numpy(random_image(EDGE, self.rng)))

    def _frames(self, setups: list[SetUp]) -> Draw:
        """A frame of each set-up, anywhere on any object."""
        N, rng = setups[0].probe.shape[-1], self.rng
        targets = torch.stack([self._patch(N) for _ in setups])[:, None]
        photons = torch.from_numpy(10 ** rng.uniform(FAINTEST, BRIGHTEST, len(setups))).float()
        good = torch.stack([setup.good_pixels for setup in setups])[:, None, None]
        light = torch.stack([setup.light for setup in setups])[:, None]
        stray = torch.tensor([setup.background for setup in setups]) / N**2
        rates = (diffract(light, targets) + stray[:, None, None, None]) * photons[:, None, None, None]
        counts = torch.poisson(rates, self.generator) * good[:, :, 0]
        told = torch.stack([setup.probe for setup in setups])[:, None] * photons.sqrt()[:, None, None, None, None]
        support = max(setup.support for setup in setups)
        return Draw(counts, Illumination(told, good, support), targets, photons, [setup.kind for setup in setups])

    def _patch(self, N: int) -> Tensor:
        """A patch (N, N); half of them lie between pixels, where a bilinear image is smoother than on them."""
        image = self.objects[int(self.rng.integers(len(self.objects)))]
        y, x = self.rng.integers(0, EDGE - N, 2)
        part = image[y : y + N + 1, x : x + N + 1]
        dy, dx = self.rng.uniform(0, 1, 2) * (self.rng.random() < 0.5)
        part = (1 - dy) * part[:-1] + dy * part[1:]
        return ((1 - dx) * part[:, :-1] + dx * part[:, 1:]).to(torch.complex64)
