"""The image of a whole scan by a network for any set-up: all frames pull at one canvas, stage by stage."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor, nn

from ptychopinn.config import InferenceConfig
from ptychopinn.inference.own_errors import Features, error_bars, features_of
from ptychopinn.model.bundle import Run
from ptychopinn.model.execution import ready
from ptychopinn.model.whole import (
    Lights,
    as_transformed,
    best_multiple,
    light_of,
    passes,
    pull,
    smoothing,
    stage,
    vacuum,
)
from ptychopinn.physics.diffraction import project_to_modulus
from ptychopinn.physics.exit_waves import frames_per_chunk, probe_views
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.frames import chunks
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.probe_scale import as_networks_see
from ptychopinn.scan.scan import Scan

FEW = 96
"""Frames that tell how much of a smooth change is right, and which pass fits best."""

WORSE = 2.0
"""Misfit of the last pass, in units of the best, from which the best one is the image: passes may run away."""

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
        hidden, activation = model.config.hidden_channels, model.config.amp_activation
        networks = [_Tiled(network, 2 + hidden) for network in model.networks]
        before = now = vacuum(frames.light, hidden)
        best, misfit = (math.inf, before, now), math.inf
        for number in passes(len(networks)):
            before, now = now, stage(networks[number], now, frames, activation)
            misfit = frames.misfit(now.image)
            best = min(best, (misfit, before, now), key=itemgetter(0))
        if misfit > WORSE * best[0]:
            _, before, now = best
        light, pulled = frames.light[0], now.pulled[0]
    height, width = scan.canvas_shape
    inside = slice(height), slice(width)
    image, light = now.image[0][inside].clone(), light[inside].clone()
    seen = features_of(image, before.image[0][inside], pulled[inside] / light.clamp_min(DARK), light)
    if observe is not None:
        observe.features = seen
    bars = error_bars(seen, run.error_model) if run.error_model else None
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
        self.device = device
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

    def misfit(self, image: Tensor) -> float:
        """Sum of ``(|F psi| - sqrt(k))^2`` on a few frames of an image (1, H, W)."""
        modulus, lights = self._few()
        patches = 1 + extract_patches(image - 1, lights.places, modulus.shape[-1])
        change = project_to_modulus(lights.probes * patches.unsqueeze(-3), modulus, lights.good)
        return float(change.abs().square().sum())

    def _few(self) -> tuple[Tensor, Lights]:
        """Roots of the counts (1, k, N, N) of a few frames, and their light."""
        if self._kept is None:
            counts = self.scan.subset(self.few).frames(slice(None)).to(self.device)
            views = probe_views(self.probe, self.scan.canvas_positions[self.few].to(self.device), "fourier")
            lights = Lights(views.probes[None], views.places[None], self.good)
            self._kept = as_transformed(counts).sqrt()[None], lights
        return self._kept

    def _blocks(self) -> Iterator[slice]:
        return chunks(len(self.scan), frames_per_chunk(self.probe))

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
