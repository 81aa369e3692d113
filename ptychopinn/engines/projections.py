"""Projection steps in small batches on object, probe and positions: fast far from the solution."""

import math
from collections.abc import Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, Self

import numpy as np
import torch
from torch import Tensor

from ptychopinn.engines.positions import position_updates
from ptychopinn.model.processes import ALONE, Team
from ptychopinn.physics import exit_waves
from ptychopinn.physics.conditions import Conditions
from ptychopinn.physics.diffraction import diffract, project_to_counts
from ptychopinn.physics.patches import Canvas, extract_patches
from ptychopinn.physics.probe import normalise_probe, probe_power
from ptychopinn.scan.coverage import mean_overlap
from ptychopinn.scan.frames import chunks
from ptychopinn.scan.scan import Scan

Unknown = Literal[
    "object",
    "probe",
    "positions",
    "affine",
    "map",
    "flux",
    "background",
    "smooth_background",
    "opr_modes",
    "opr_weights",
]

BACKGROUNDS: Final = frozenset[Unknown](("background", "smooth_background"))
Window = tuple[slice, slice]

MOMENTUM = 0.5
DAMPING = 0.05
"""Share of the largest coverage added to the preconditioner."""

ANSCOMBE = 0.375
"""Photons added to counts and rates: their roots then have equal variance (Anscombe, Biometrika 35, 1948)."""

SMOOTH = 16.0
"""Frame edges over standard deviations of the window in which the background is one."""

LARGEST_FLUX = 0.2
"""Largest update of the logarithm of a frame's amplitude."""

LEAST_BACKGROUND = 1e-4
"""Smallest background of a pixel, counts: no information is infinite then. A pixel there that would be less stays."""

LARGEST_GAIN, LARGEST_MAP = 100.0, 1.0
"""Largest factor of the updates of an affine map, and largest move of a frame by one, pixels."""

KEPT_BYTES = 2.0**31
"""Memory for what is read or computed once and used again: counts here, fields in :mod:`ptychopinn.engines.fisher`."""

COPIES = 4
"""How often the counts of a part are in memory at most, while they are read."""

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

    def clone(self) -> "Estimate":
        """A copy that later steps do not change."""
        conditions = Conditions(*(None if part is None else part.clone() for part in self.conditions))
        return Estimate(self.image.clone(), self.probe.clone(), self.positions.clone(), conditions)


class Projections:
    """Epochs of batched projection steps that improve an estimate in place.

    Each step projects the exit waves of a random batch on their counts and adds
    ``place(P^* dpsi) / (place(|P|^2) + damping)`` to the object with momentum: a gradient step of the amplitude
    likelihood, scaled by the photons on each pixel. The probe takes the same step with exchanged roles, each position
    a Gauss-Newton step of its own two unknowns.

    An epoch reads the frames in parts that follow each other in the file, each part once. A batch is drawn from one
    part, and changes the window of the object under it.

    Args:
        scan: counts and mask.
        estimate: to improve.
        subpixel: model between pixels.
        unknowns: what to improve.
        seed: of the order of the frames.
        hold_out: leave out the detector pixels of :func:`held_out_pixels`.
        memory: bytes that the counts of a part may take.
        team: processes that share the frames of every batch; all have the whole estimate.

    Attributes:
        velocity: (H, W) complex, the last change of the object, of which ``MOMENTUM`` is repeated.
        rng: draws the order of the frames.
        photons: of the probe, which are kept.
        middle: (2,) mean position, which is kept.
    """

    def __init__(
        self,
        scan: Scan,
        estimate: Estimate,
        subpixel: exit_waves.SubPixel = "bilinear",
        unknowns: Set[Unknown] = frozenset({"object"}),
        seed: int = 0,
        hold_out: bool = False,
        memory: float = KEPT_BYTES,
        team: Team = ALONE,
    ) -> None:
        self.team = team
        self.scan, self.estimate, self.subpixel, self.unknowns = scan, estimate, subpixel, unknowns
        self.hold_out = hold_out
        self._device = estimate.image.device
        self.rng = np.random.default_rng(seed)
        self.velocity = torch.zeros_like(estimate.image)
        self._mask = None if scan.good_pixels is None else torch.from_numpy(scan.good_pixels).to(self._device)
        self.photons = float(probe_power(estimate.probe).sum())
        self.middle = estimate.positions.mean(dim=0)
        self._parts = _parts(scan, estimate.probe, memory)
        self._moves, self._map, self._gain = torch.zeros_like(estimate.positions), torch.zeros(2, 2), 1.0
        self._excess = torch.zeros(2, scan.N, scan.N, device=self._device)
        self._blur = window_blur(scan.N).to(self._device)

    def epoch(self, batch: int) -> float:
        """Pass once over all frames, ``batch`` of them at a time that are spread over the whole object.

        Returns:
            Mean ``|dpsi|^2`` of the exit-wave updates, photons per pixel.
        """
        moved = 0.0
        for rows, overlap in self._parts:
            mine = self.team.share(rows)
            counts = self.scan.compact_frames(mine)
            batches = max(1, round(overlap * len(self.scan) / batch))
            for some in np.array_split(self.rng.permutation(rows.stop - rows.start), batches):
                numbers = np.sort(some) + rows.start
                numbers = numbers[(numbers >= mine.start) & (numbers < mine.stop)]
                window = _window(self.estimate.positions[rows], self.scan.N, self.estimate.image.shape)
                moved += self._step(window, rows, numbers, counts, mine.start)
            del counts
        if "positions" in self.unknowns:
            # A shift of all positions is a shift of the image.
            self.estimate.positions += self.middle - self.estimate.positions.mean(dim=0)
        if "affine" in self.unknowns:
            self._improve_affine()
        if BACKGROUNDS & self.unknowns:
            self._improve_background()
        return moved / (len(self.scan) * self.scan.N**2)

    def _step(self, window: Window, part: slice, batch: np.ndarray, counts: Tensor, first: int) -> float:
        """One step.

        Args:
            window: of the object, under all frames of the part.
            part: frames that follow each other.
            batch: numbers of this process's frames, ascending.
            counts: of this process's frames of the part, from number ``first`` on.
            first: see ``counts``.
        """
        now, size = self.estimate, self.scan.N
        image, corner = now.image[window], torch.tensor([part.start for part in window], device=self._device)
        shape = (image.shape[0], image.shape[1])
        pull, light = (Canvas(shape, size, kind, self._device) for kind in (image.dtype, image.real.dtype))
        lit, pulled = torch.zeros_like(now.probe[0].real), torch.zeros_like(now.probe)
        moves, moved = torch.zeros_like(now.positions[part]), torch.zeros(1, dtype=torch.float64)
        brighter = torch.zeros(len(moves), device=self._device)
        for some in chunks(len(batch), exit_waves.frames_per_chunk(now.probe)):
            rows = torch.from_numpy(batch[some]).to(self._device)
            probes = now.conditions.probes(now.probe, rows)
            views = exit_waves.probe_views(probes, now.positions[rows] - corner, self.subpixel)
            patches = extract_patches(image, views.places, size)
            mask = fitted_pixels(size, rows, self._mask, self.hold_out)
            measured = counts[torch.from_numpy(batch[some] - first)].to(self._device).to(torch.float32)
            change = project_to_counts(views.probes, patches, measured, mask, ANSCOMBE, now.conditions.background)
            exit_waves.add_light(light, views)
            exit_waves.add_to_object(pull, views, change)
            if "probe" in self.unknowns:
                lit += (patches.real.square() + patches.imag.square()).sum(dim=0)
                pulled += exit_waves.waves_to_probe(views, patches, change)
            if {"positions", "affine"} & self.unknowns:
                moves[rows - part.start] = position_updates(views, patches, change)
            if "flux" in self.unknowns:
                brighter[rows - part.start] = flux_updates(views, patches, change)
            if BACKGROUNDS & self.unknowns:
                self._compare(measured, views, patches, self._seen_by_background(rows, mask))
            moved += float((change.real.square() + change.imag.square()).sum())
        total = self.team.total
        total(pull.pixels), total(light.pixels)
        velocity = self.velocity[window]
        velocity.mul_(MOMENTUM).add_(pull.image / (light.image + DAMPING * light.image.max()))
        image += velocity
        if "probe" in self.unknowns:
            # Object and probe share one factor: the power of the probe is kept.
            total(pulled), total(lit)
            step = pulled / (lit + DAMPING * lit.max())
            now.probe = normalise_probe(now.probe + step, self.photons)
        self._improve_frames(part, moves, brighter)
        return float(total(moved))

    def _improve_frames(self, part: slice, moves: Tensor, brighter: Tensor) -> None:
        """Move and brighten frames of a part: (k, 2) and (k,), 0 for all but the batch; note the moves for a map."""
        flux = self.estimate.conditions.flux
        if {"positions", "affine"} & self.unknowns:
            self._moves[part] += self.team.total(moves)
        if "positions" in self.unknowns:
            self.estimate.positions[part] += moves
        if flux is not None and "flux" in self.unknowns:
            flux[part] *= (2 * self.team.total(brighter)).exp()
            flux.div_(flux.log().mean().exp())

    def _improve_affine(self) -> None:
        """Update the positions by the linear map about their mean that fits the updates of single frames.

        The image adapts to wrong positions, so these updates are many times too short: as long as their maps agree the
        step grows, when they turn round it shrinks.
        """
        places = self.estimate.positions
        known = places - places.mean(dim=0)
        linear = torch.linalg.lstsq(known, self._moves - self._moves.mean(dim=0)).solution
        before, self._map = self._map.to(linear), linear
        agree = float((linear * before).sum() / (linear.norm() * before.norm()).clamp_min(1e-30))
        self._gain = min(LARGEST_GAIN, max(1.0, self._gain * (2 if agree > 0.5 else 0.5 if agree < 0 else 1)))
        longest = float((known @ linear).abs().max()) * self._gain
        self.estimate.positions = places + known @ linear * (self._gain * min(1, LARGEST_MAP / max(longest, 1e-12)))
        self._moves.zero_()

    def _seen_by_background(self, rows: Tensor, fitted: Tensor | None) -> Tensor | None:
        """Pixels of some frames that tell the background: a smooth one is told by those that are held out."""
        if not self.hold_out or "background" in self.unknowns:
            return fitted
        held = held_out_pixels(self.scan.N, rows)
        return held if self._mask is None else held & self._mask

    def _compare(self, counts: Tensor, views: exit_waves.ProbeViews, patches: Tensor, mask: Tensor | None) -> None:
        """Add frames to ``sum (k - I) / (I + c)`` and ``sum 1 / (I + c)`` of every pixel, for an unknown background."""
        rate = self.estimate.conditions.counted(diffract(views.probes, patches))
        weight = 1 / (rate + ANSCOMBE)
        if mask is not None:
            weight = weight * mask.reshape(-1, *weight.shape[1:])
        self._excess += torch.stack([((counts - rate) * weight).sum(dim=0), weight.sum(dim=0)])

    def _improve_background(self) -> None:
        """Update the background after an epoch by weighted least squares, smooth and never negative.

        Bright pixels weigh little: there the background follows its surroundings, and not the errors of a young image.
        """
        self.team.total(self._excess)
        excess, weight = (self._blur @ part @ self._blur for part in self._excess)
        background = self.estimate.conditions.background
        assert background is not None
        background.add_(excess / weight.clamp_min(1e-12)).clamp_(min=LEAST_BACKGROUND)
        self._excess.zero_()


def window_blur(size: int) -> Tensor:
    """Matrix (N, N) of the Gaussian window in which a background is one, along one axis of a frame."""
    pixel = torch.arange(size)
    return (-0.5 * ((pixel[:, None] - pixel) * (SMOOTH / size)).square()).exp()


def flux_updates(views: exit_waves.ProbeViews, patches: Tensor, change: Tensor) -> Tensor:
    """Updates of the logarithm of the amplitude of each frame: a Gauss-Newton step of one unknown, (n,)."""
    waves = views.probes * patches.unsqueeze(1)
    power = (waves.real.square() + waves.imag.square()).sum(dim=(1, 2, 3)).clamp_min(1e-12)
    return ((waves.conj() * change).real.sum(dim=(1, 2, 3)) / power).clamp(-LARGEST_FLUX, LARGEST_FLUX)


def _parts(scan: Scan, probe: Tensor, memory: float) -> list[tuple[slice, float]]:
    """Frames that follow each other, and the share of the overlap of the whole scan that each such part has.

    A part of a raster is a strip of the object where all frames overlap, and the share is 1; a part of a scan in random
    order lies thinly over the whole object.
    """
    frame = np.dtype(scan.compact_frames(slice(0, 1)).numpy().dtype).itemsize * scan.N**2
    count = min(len(scan), math.ceil(COPIES * len(scan) * frame / memory))
    edges = np.linspace(0, len(scan), count + 1).round().astype(int).tolist()
    parts = [slice(start, stop) for start, stop in pairwise(edges)]
    if len(parts) == 1:
        return [(parts[0], 1.0)]
    whole = mean_overlap(scan, probe)
    return [(part, mean_overlap(scan.subset(part), probe) / whole) for part in parts]


def _window(positions: Tensor, size: int, shape: tuple[int, ...]) -> Window:
    """The rows and columns of an image of a shape (H, W) under frames at positions (n, 2)."""
    low = positions.min(dim=0).values.floor().long() - size // 2
    high = positions.max(dim=0).values.ceil().long() + size // 2 + 1
    (top, left), (bottom, right) = low.clamp_min(0).tolist(), high.tolist()
    return slice(top, min(bottom, shape[0])), slice(left, min(right, shape[1]))


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
