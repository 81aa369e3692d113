"""The image of a whole scan by a network for any set-up: all frames pull at one canvas, stage by stage."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ptychopinn.config import InferenceConfig
from ptychopinn.inference.own_errors import Features, error_bars, features_of
from ptychopinn.model.bundle import Run
from ptychopinn.model.execution import ready
from ptychopinn.model.model import PtychoModel
from ptychopinn.model.whole import (
    Estimate,
    Lights,
    as_transformed,
    best_multiple,
    cycles,
    fields_of,
    light_of,
    pull,
    smoothing,
    stage,
    vacuum,
)
from ptychopinn.physics.conditions import IDEAL, expected_counts
from ptychopinn.physics.diffraction import squared
from ptychopinn.physics.exit_waves import frames_per_chunk, probe_views
from ptychopinn.physics.likelihood import expected_deviance, poisson_deviance
from ptychopinn.physics.patches import chunk_length
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.frames import chunks
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.probe_scale import as_networks_see
from ptychopinn.scan.scan import Scan

FEW = 96
"""Frames that tell how much of a smooth change is right, and how well an image fits."""

DONE, ALIKE = 0.05, 0.01
"""Shares of the deviance beyond that of noise: what a cycle of passes must take off for another one to follow, and by
which its image may be worse than the one before and still be the result. Passes may run away in the end."""

LEAST = 1e-3
"""The same two shares of the whole deviance, where there is hardly more than noise."""

IN_CACHE = 2**17
"""Values of the probes of one block on a CPU: 1 MiB, which stays in the cache of a core from one step to the next."""

INNERMOST, LIT = 100, 0.3
"""Frames whose simulated counts tell the network's own errors, and the least light of pixels that count there."""

DARK = 1e-6
"""Photons; a pixel with fewer has no correction."""

TILE, HALO = 512, 48
"""Pixels of a tile of the canvas that the network sees at once, and around it: more than its field of view."""


class Observed:
    """What error bars are regressed on, kept for a calibration."""

    features: Features


def infer_whole(
    run: Run,
    scan: Scan,
    chosen: InferenceConfig = InferenceConfig(),  # noqa: B008 - cannot be changed
    device: str = "cpu",
    observe: Observed | None = None,
) -> Reconstruction:
    """Reconstruct a scan with a network for any set-up; see :mod:`ptychopinn.model.whole`.

    Frames are read once for each stage, in blocks; the probe moves between pixels. Error bars are those of
    :mod:`ptychopinn.inference.own_errors`, where the run has a model of them.

    Args:
        run: with ``any_setup``.
        scan: of any object and probe, checked.
        chosen: settings of inference.
        device: torch device.
        observe: receives the features of the error bars.
    """
    began = time.perf_counter()
    frames = _Frames(scan, chosen.patch_memory, 2**run.model.config.depth, device)
    model = ready(run.model, device, chosen.inference_precision)
    with torch.inference_mode():
        now, last, begun, excess = _cycles(model, frames)
        own = _bootstrap(model, frames, now.image)
    height, width = scan.canvas_shape
    inside = 0, slice(height), slice(width)
    images = [one.image[inside].clone() for one in (now, last, begun)]
    image, light = images[0], frames.light[inside].clone()
    seen = features_of(images, now.pulled[inside] / light.clamp_min(DARK), light, (excess, *own))
    if observe is not None:
        observe.features = seen
    known = run.error_model and len(run.error_model[0]) == len(seen)  # runs of before saw other features
    bars = error_bars(seen, run.error_model) if known else None
    result = Reconstruction.from_canvas(
        frames.factor * image,
        scan,
        light / frames.factor**2,
        amplitude_std=None if bars is None else (frames.factor * bars[0]).astype(np.float32),
        phase_std=None if bars is None else bars[1].astype(np.float32),
        std_of="network",
        subpixel="fourier",
        seconds={"network": time.perf_counter() - began},
    )
    result = result.with_deviance(scan, device, sampled=not frames.held)
    return replace(result, dark=scan.numbers[frames.dark])


def _cycles(model: PtychoModel, frames: "_Frames") -> tuple[Estimate, Estimate, Estimate, float]:
    """Passes until the counts ask for no more.

    Returns:
        The estimate that fits, those before its last pass and its last cycle, and its deviance over that of noise.
    """
    hidden, activation = model.config.hidden_channels, model.config.amp_activation
    networks = [_Tiled(network, 2 + hidden) for network in model.networks]
    now = vacuum(frames.light, hidden)
    kept, lowest = (now, now, now, 1.0), math.inf
    for cycle in cycles(len(networks)):
        begun = now
        for number in cycle:
            last, now = now, stage(networks[number], now, frames, activation)
        deviance, noise = frames.deviance(now.image)
        excess = min(deviance, lowest) - noise
        if deviance < lowest + max(ALIKE * excess, LEAST * deviance):
            kept = now, last, begun, deviance / noise
        if not deviance <= lowest - max(DONE * excess, LEAST * deviance):
            break
        lowest = deviance
    return kept


def _bootstrap(model: PtychoModel, frames: "_Frames", image: Tensor) -> tuple[float, float]:
    """Errors of amplitude and phase with which simulated counts of an image (1, H, W) are reconstructed.

    Of the ``INNERMOST`` frames; root mean squares over lit pixels, after one factor.
    """
    scan = frames.scan
    distance = np.linalg.norm(scan.positions - np.median(scan.positions, axis=0), axis=1)
    part = scan.subset(np.sort(np.argsort(distance, kind="stable")[:INNERMOST]))
    places = torch.from_numpy(part.positions - scan.canvas_origin).to(frames.device)
    rates = expected_counts(image[0], frames.probe, places, "fourier", IDEAL).cpu()
    counts = torch.poisson(rates, generator=torch.Generator().manual_seed(0)).numpy()
    again = _Frames(replace(part, counts=counts), frames.memory, frames.multiple, str(frames.device))
    found = _cycles(model, again)[0].image[0]
    top, left = (there - here for there, here in zip(part.canvas_origin, scan.canvas_origin, strict=True))
    height, width = part.canvas_shape
    light = again.light[0, :height, :width]
    weight = light * (light > LIT * light.max())
    truth, found = image[0, top : top + height, left : left + width], found[:height, :width]
    product = weight * found * truth.conj()
    factor = (weight * truth.abs()).sum() / (weight * found.abs()).sum()
    errors = factor * found.abs() - truth.abs(), (product * product.sum().conj()).angle()
    amplitude, phase = ((weight * error.square()).sum() / weight.sum() for error in errors)
    return float(amplitude.sqrt()), float(phase.sqrt())


class _Frames:
    """The frames of a scan, as networks see it, that pull at a canvas.

    Args:
        scan: to read.
        memory: MiB within which counts and probes are kept from one stage to the next.
        multiple: of which the edges of the canvas are made.
        device: torch device.
    """

    def __init__(self, scan: Scan, memory: int, multiple: int, device: str) -> None:
        self.scan, self.factor = as_networks_see(scan)
        self.device, self.memory, self.multiple = device, memory, multiple
        self.probe, good, _ = Illumination.of(self.scan).to(device)
        self.good = None if good is None else as_transformed(good)
        height, width = scan.canvas_shape
        self.shape = -(-height // multiple) * multiple, -(-width // multiple) * multiple
        self.held = len(scan) * scan.N**2 * (4 + 8 * len(self.probe)) <= memory * 2**20
        self.dark = np.zeros(len(scan), dtype=bool)
        self._lights: dict[int, Lights] = {}
        self._roots: dict[int, Tensor] = {}
        self.light = self._light()[None]
        self.smooth: Tensor | None = smoothing(probe_intensity(self.probe)[None], self.shape)
        self._kept: tuple[Tensor, Lights] | None = None
        self.few = np.linspace(0, len(self.scan) - 1, min(FEW, len(self.scan))).round().astype(np.int64)

    def _light(self) -> Tensor:
        """Photons on each pixel, (H, W)."""
        found = torch.zeros(self.shape, device=self.device)
        for some in self._blocks():
            found += light_of(self._seen(some), self.shape)
        return found

    def pulled(self, image: Tensor) -> Tensor:
        """:func:`pull` of all frames at an image (1, H, W)."""
        found = torch.zeros_like(image[0])
        for some in self._blocks():
            found += pull(image[0], self._modulus(some), self._seen(some))
        return found[None]

    def gain(self, image: Tensor, bend: Tensor) -> Tensor:
        """:func:`best_multiple` on a few frames, (1,)."""
        return best_multiple(image, bend, *self._few())

    def deviance(self, image: Tensor) -> tuple[float, float]:
        """Poisson deviance of a few frames under an image (1, H, W), summed, and what noise alone leaves of it."""
        modulus, lights = self._few()
        rates = squared(fields_of(image, modulus.shape[-1], lights)).sum(dim=-3)
        good = 1.0 if lights.good is None else lights.good
        found = poisson_deviance(rates, modulus.square()) * good, expected_deviance(rates) * good
        return float(found[0].sum(dtype=torch.float64)), float(found[1].sum(dtype=torch.float64))

    def _few(self) -> tuple[Tensor, Lights]:
        """Roots of the counts (1, k, N, N) of a few frames, and their light."""
        if self._kept is None:
            counts = self.scan.subset(self.few).frames(slice(None)).to(self.device)
            views = probe_views(self.probe, self.scan.canvas_positions[self.few].to(self.device), "fourier")
            lights = Lights(views.probes[None], views.places[None], self.good)
            self._kept = as_transformed(counts).sqrt()[None], lights
        return self._kept

    def _blocks(self) -> Iterator[slice]:
        most = frames_per_chunk(self.probe) if self.probe.is_cuda else chunk_length(self.probe.numel(), IN_CACHE)
        return chunks(len(self.scan), most)

    def _seen(self, some: slice) -> Lights:
        """Probes and places of a block; kept where there is room."""
        if some.start in self._lights:
            return self._lights[some.start]
        places = self.scan.canvas_positions[some].to(self.device)
        views = probe_views(self.probe, places, "fourier")
        lights = Lights(views.probes, views.places, self.good)
        if self.held:
            self._lights[some.start] = lights
        return lights

    def _modulus(self, some: slice) -> Tensor:
        """Roots of the counts (n, N, N) of a block, as they are transformed; kept where there is room."""
        if some.start in self._roots:
            return self._roots[some.start]
        counts = self.scan.frames(some)
        self.dark[some] = counts.numpy().max(axis=(-2, -1)) == 0
        modulus = as_transformed(counts.to(self.device)).sqrt()
        if self.held:
            self._roots[some.start] = modulus
        return modulus


class _Tiled:
    """A network that works on tiles of a large canvas; each tile sees more around it than the network looks at.

    Args:
        network: (1, channels, H, W) to (1, found, H, W).
        found: channels.
    """

    def __init__(self, network: nn.Module, found: int) -> None:
        self.network, self.found = network, found

    def __call__(self, seen: Tensor) -> Tensor:
        """The same as the network, in less memory."""
        height, width = seen.shape[-2:]
        found = seen.new_empty(1, self.found, height, width)
        for y in range(0, height, TILE):
            for x in range(0, width, TILE):
                top, left = max(0, y - HALO), max(0, x - HALO)
                part = self.network(seen[..., top : y + TILE + HALO, left : x + TILE + HALO])
                inner = part[..., y - top : y - top + TILE, x - left : x - left + TILE]
                found[..., y : y + TILE, x : x + TILE] = inner[..., : height - y, : width - x]
        return found
