"""Small batches of projection steps on the stitched object, its probe and its positions: fast far from the solution."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from ptychopinn.engines.positions import moves
from ptychopinn.physics.diffraction import project_to_counts
from ptychopinn.physics.exit_waves import SubPixel, Views, light_of_views, look, object_of_waves, probe_of_waves
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import normalise_probe, probe_power
from ptychopinn.scan.scan import Scan

Unknown = Literal["object", "probe", "positions"]

MOMENTUM = 0.5
DAMPING = 0.05
"""Share of the largest coverage added to the preconditioner."""

ANSCOMBE = 0.375
"""Photons added to counts and rates, so that their roots have one variance (Anscombe, Biometrika 35, 1948)."""

HELD_OUT = 50
"""One detector pixel in so many is held out, another one in every frame."""


@dataclass
class Estimate:
    """What is known so far, all on one device.

    Attributes:
        image: (H, W) complex64.
        probe: (m, N, N) complex64, sqrt(photons).
        positions: (n, 2) float64 pixels (y, x) on the image.
    """

    image: Tensor
    probe: Tensor
    positions: Tensor

    @classmethod
    def of(cls, scan: Scan, device: torch.device | str = "cpu", image: Tensor | None = None, margin: int = 0) -> Self:
        """The probe and the positions of a scan, with an image (H, W) on its canvas or vacuum, and vacuum around."""
        start = torch.ones(scan.canvas_shape, dtype=torch.complex64) if image is None else image
        start = torch.nn.functional.pad(start.to(device), [margin] * 4, value=1.0)
        return cls(start, torch.from_numpy(scan.probe).to(device), (scan.canvas_positions + margin).to(device))


class Projections:
    """Epochs of batched projection steps that improve an estimate in place.

    Each step takes a random batch of frames, asks every exit wave for its projection on the counts and adds
    ``place(P^* dpsi) / (place(|P|^2) + damping)`` to the object with momentum: a scaled gradient step of the
    amplitude likelihood, the curvature being the light that a pixel receives. The probe takes the same step with the
    roles exchanged, each position the Gauss-Newton step of its own two unknowns.

    Args:
        scan: counts and mask.
        estimate: to improve.
        subpixel: model between pixels.
        unknowns: what to improve.
        seed: of the order of the frames.
        hold_out: leave out the detector pixels that :func:`held_out_pixels` names.
    """

    def __init__(
        self,
        scan: Scan,
        estimate: Estimate,
        subpixel: SubPixel = "bilinear",
        unknowns: Set[Unknown] = frozenset({"object"}),
        seed: int = 0,
        hold_out: bool = False,
    ) -> None:
        self.scan, self.estimate, self.subpixel, self.unknowns = scan, estimate, subpixel, unknowns
        self.hold_out = hold_out
        self._device = estimate.image.device
        self._rng = np.random.default_rng(seed)
        self._velocity = torch.zeros_like(estimate.image)
        self._mask = None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels).to(self._device)
        self._photons = float(probe_power(estimate.probe).sum())
        self._middle = estimate.positions.mean(dim=0)

    def epoch(self, batch: int) -> float:
        """Pass once over all frames, ``batch`` at a time.

        Returns:
            How far the exit waves still had to move, mean of ``|dpsi|^2`` in photons per pixel.
        """
        batches = max(1, round(len(self.scan) / batch))
        moved = 0.0
        for index in np.array_split(self._rng.permutation(len(self.scan)), batches):
            moved += self._step(index)
        if "positions" in self.unknowns:
            # A common move is one of the image, too.
            self.estimate.positions += self._middle - self.estimate.positions.mean(dim=0)
        return moved / (len(self.scan) * self.scan.N**2)

    def _step(self, index: np.ndarray) -> float:
        now, rows = self.estimate, torch.from_numpy(index).to(self._device)
        views = look(now.probe, now.positions[rows], self.subpixel)
        patches = extract_patches(now.image, views.places, self.scan.N)
        counts = self.scan.frames(index).to(self._device)
        mask = self._mask
        if self.hold_out:
            left = ~held_out_pixels(self.scan.N, rows)
            mask = left if mask is None else left & mask
        change = project_to_counts(views.probes, patches, counts, mask, ANSCOMBE)
        shape = (now.image.shape[0], now.image.shape[1])
        light = light_of_views(views, shape)
        pull = object_of_waves(views, change, shape) / (light + DAMPING * light.max())
        self._velocity = MOMENTUM * self._velocity + pull
        if "probe" in self.unknowns:
            self._improve_probe(views, patches, change)
        if "positions" in self.unknowns:
            now.positions[rows] += moves(views, patches, change)
        now.image += self._velocity
        return float((change.real.square() + change.imag.square()).sum())

    def _improve_probe(self, views: Views, patches: Tensor, change: Tensor) -> None:
        """Step of the probe; its power stays, since object and probe share one factor."""
        seen = (patches.real.square() + patches.imag.square()).sum(dim=0)
        step = probe_of_waves(views, patches, change) / (seen + DAMPING * seen.max())
        self.estimate.probe = normalise_probe(self.estimate.probe + step, self._photons)


def held_out_pixels(size: int, frames: Tensor) -> Tensor:
    """Which pixels of some frames are held out, another set in each: (n, 1, size, size) bool."""
    pixel = torch.arange(size, device=frames.device)
    lattice = 7 * pixel[:, None] + 19 * pixel[None, :]
    return ((lattice + 11 * frames[:, None, None, None]) % HELD_OUT) == 0
