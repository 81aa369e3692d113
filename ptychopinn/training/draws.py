"""Batches for a network that is to know any set-up: frames of many probes, doses and objects at once."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ptychopinn.physics.diffraction import diffract
from ptychopinn.scan.illumination import Illumination
from ptychopinn.training.objects import random_image
from ptychopinn.training.setups import SECOND_MODE, Field, SetUp, random_setup

SIZES: Final = {32: (0.2, 24), 48: (0.08, 20), 64: (0.6, 16), 96: (0.04, 10), 128: (0.07, 8), 256: (0.01, 4)}
"""N: its share of the batches, and the frames of a batch."""

POOL, OBJECTS = 24, 32
"""Set-ups of each kind, and objects, that are held; every other batch replaces a set-up, every eighth an object."""

EDGE = 320
"""Pixels of the objects."""

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
        N = int(rng.choice(list(SIZES), p=[share for share, _ in SIZES.values()]))
        frames, modes = SIZES[N][1], 1 + int(rng.random() < SECOND_MODE)
        pool = self._pool(N, modes)
        self._renew_objects()
        self.count += 1
        chosen = max(2, frames // 2)
        first = int(rng.integers(0, len(pool) - chosen + 1))
        return self._frames([pool[first + i % chosen] for i in range(frames)])

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
