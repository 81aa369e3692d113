"""Projection steps in small batches on object, probe and positions: fast far from the solution."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from ptychopinn.engines.positions import position_updates
from ptychopinn.physics import exit_waves
from ptychopinn.physics.conditions import Conditions
from ptychopinn.physics.diffraction import project_to_counts
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import normalise_probe, probe_power
from ptychopinn.scan.scan import Scan

Unknown = Literal["object", "probe", "positions", "affine", "flux", "background", "opr_modes", "opr_weights"]

MOMENTUM = 0.5
DAMPING = 0.05
"""Share of the largest coverage added to the preconditioner."""

ANSCOMBE = 0.375
"""Photons added to counts and rates: their roots then have equal variance (Anscombe, Biometrika 35, 1948)."""

HELD_OUT = 50
"""One in ``HELD_OUT`` detector pixels is held out, different ones in each frame."""


@dataclass
class Estimate:
    """Object, probe and positions as estimated so far, all on one device.

    Attributes:
        image: (H, W) complex64.
        probe: (m, N, N) complex64, sqrt(photons).
        positions: (n, 2) float64 pixels (y, x) on the image.
        conditions: flux, background and changes of the probe.
    """

    image: Tensor
    probe: Tensor
    positions: Tensor
    conditions: Conditions = Conditions()

    @classmethod
    def of(cls, scan: Scan, device: torch.device | str = "cpu", image: Tensor | None = None, margin: int = 0) -> Self:
        """Probe and positions of a scan, with an image (H, W) on its canvas or vacuum, and a vacuum margin."""
        start = torch.ones(scan.canvas_shape, dtype=torch.complex64) if image is None else image
        start = torch.nn.functional.pad(start.to(device), [margin] * 4, value=1.0)
        return cls(start, torch.from_numpy(scan.probe).to(device), (scan.canvas_positions + margin).to(device))


class Projections:
    """Epochs of batched projection steps that improve an estimate in place.

    Each step projects the exit waves of a random batch on their counts and adds
    ``place(P^* dpsi) / (place(|P|^2) + damping)`` to the object with momentum: a gradient step of the amplitude
    likelihood, scaled by the photons on each pixel. The probe takes the same step with exchanged roles, each position
    a Gauss-Newton step of its own two unknowns.

    Args:
        scan: counts and mask.
        estimate: to improve.
        subpixel: model between pixels.
        unknowns: what to improve.
        seed: of the order of the frames.
        hold_out: leave out the detector pixels of :func:`held_out_pixels`.
    """

    def __init__(
        self,
        scan: Scan,
        estimate: Estimate,
        subpixel: exit_waves.SubPixel = "bilinear",
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
            Mean ``|dpsi|^2`` of the exit-wave updates, photons per pixel.
        """
        batches = max(1, round(len(self.scan) / batch))
        order = np.array_split(self._rng.permutation(len(self.scan)), batches)
        moved = sum(self._step(index) for index in order)
        if "positions" in self.unknowns:
            # A shift of all positions is a shift of the image.
            self.estimate.positions += self._middle - self.estimate.positions.mean(dim=0)
        return moved / (len(self.scan) * self.scan.N**2)

    def _step(self, index: np.ndarray) -> float:
        now, rows = self.estimate, torch.from_numpy(index).to(self._device)
        views = exit_waves.probe_views(now.probe, now.positions[rows], self.subpixel)
        patches = extract_patches(now.image, views.places, self.scan.N)
        counts = self.scan.frames(index).to(self._device)
        mask = fitted_pixels(self.scan.N, rows, self._mask, self.hold_out)
        change = project_to_counts(views.probes, patches, counts, mask, ANSCOMBE)
        shape = (now.image.shape[0], now.image.shape[1])
        light = exit_waves.illumination_map(views, shape)
        pull = exit_waves.waves_to_object(views, change, shape) / (light + DAMPING * light.max())
        self._velocity = MOMENTUM * self._velocity + pull
        if "probe" in self.unknowns:
            self._improve_probe(views, patches, change)
        if "positions" in self.unknowns:
            now.positions[rows] += position_updates(views, patches, change)
        now.image += self._velocity
        return float((change.real.square() + change.imag.square()).sum())

    def _improve_probe(self, views: exit_waves.ProbeViews, patches: Tensor, change: Tensor) -> None:
        """Update the probe; its power is kept, since object and probe share one factor."""
        seen = (patches.real.square() + patches.imag.square()).sum(dim=0)
        step = exit_waves.waves_to_probe(views, patches, change) / (seen + DAMPING * seen.max())
        self.estimate.probe = normalise_probe(self.estimate.probe + step, self._photons)


def fitted_pixels(size: int, frames: Tensor, good: Tensor | None, hold_out: bool) -> Tensor | None:
    """Pixels of some frames that are fitted: (n, 1, size, size) or (size, size) bool; None means all.

    Args:
        size: edge N of a frame.
        frames: (n,) their numbers.
        good: (N, N) bool good detector pixels; None means all.
        hold_out: leave out :func:`held_out_pixels`.
    """
    if not hold_out:
        return good
    fitted = ~held_out_pixels(size, frames)
    return fitted if good is None else fitted & good


def held_out_pixels(size: int, frames: Tensor) -> Tensor:
    """Pixels of some frames (n,) that are held out, different ones in each: (n, 1, size, size) bool."""
    pixel = torch.arange(size, device=frames.device)
    lattice = 7 * pixel[:, None] + 19 * pixel[None, :]
    return ((lattice + 11 * frames[:, None, None, None]) % HELD_OUT) == 0
