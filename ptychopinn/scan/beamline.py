"""What a beamline does to a scan and its file does not say: the truth of simulated scans."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ptychopinn.physics.fourier import from_detector, to_detector
from ptychopinn.physics.probe import probe_power
from ptychopinn.scan.scan import TRUTH

Real = NDArray[np.float64]
Complex = NDArray[np.complex64]

GOOD, DARK, ELSEWHERE = 0, 1, 2
"""Frames of :attr:`Beamline.bad`: right ones, those without a beam, those of another position."""

SMOOTH = 0.06
"""Correlation length of a drifting probe's changes, share of a frame."""


@dataclass(frozen=True, eq=False)
class Beamline:
    """The true conditions of n frames.

    Attributes:
        positions: (n, 2) pixels (y, x).
        probe: (m, N, N) mean probe, in the unit of the one that the user gets.
        modes: (K, N, N) ways in which its first mode changes, each of the power of the probe.
        weights: (n, K): frame j has the first mode ``P + sum_k w_jk V_k``.
        flux: (n,) factors of the photons, of mean 1.
        background: (N, N) counts per pixel.
        dead: (N, N) bool pixels that read 0.
        hot: (N, N) bool pixels that read as much as the brightest of a mean frame, and more.
        bad: (n,) ``GOOD``, ``DARK`` or ``ELSEWHERE``.
        blur: standard deviation of the detector's point spread, pixels.
        saturation: largest count.
    """

    positions: Real
    probe: Complex
    modes: Complex
    weights: Real
    flux: Real
    background: Real
    dead: NDArray[np.bool_]
    hot: NDArray[np.bool_]
    bad: NDArray[np.int64]
    blur: float = 0.0
    saturation: float | None = None

    def probes(self, rows: slice, scale: float = 1.0) -> torch.Tensor:
        """Probes of some frames, ``sqrt(c_j) (P + sum_k w_jk V_k)``: (k, m, N, N) complex64."""
        probe = torch.from_numpy(self.probe)[None].repeat(len(self.flux[rows]), 1, 1, 1)
        weights = torch.from_numpy(self.weights[rows]).to(probe.dtype)
        probe[:, 0] += torch.einsum("nk,kyx->nyx", weights, torch.from_numpy(self.modes))
        return probe * torch.from_numpy(scale * np.sqrt(self.flux[rows])).float()[:, None, None, None]

    def seen(self, light: torch.Tensor) -> torch.Tensor:
        """Light (k, N, N) behind the point spread of the detector."""
        if not self.blur:
            return light
        return torch.from_numpy(ndimage.gaussian_filter(light.numpy(), (0, self.blur, self.blur), mode="nearest"))

    def read_out(self, light: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Counts of all frames, from the light of each (n, N, N), which is overwritten.

        A hot pixel has the light of the brightest pixel of the mean frame on top, a dark frame the background alone.
        """
        elsewhere = np.flatnonzero(self.bad == ELSEWHERE)
        light[elsewhere] = light[(elsewhere + len(light) // 2) % len(light)].clone()
        light[np.flatnonzero(self.bad == DARK)] = 0
        hot = float(light.mean(dim=0).max()) * torch.from_numpy(self.hot)
        light += torch.from_numpy(self.background).float() + hot
        for rows in torch.arange(len(light)).split(256):
            counts = torch.poisson(light[rows], generator) * ~torch.from_numpy(self.dead)
            light[rows] = counts if self.saturation is None else counts.clamp_max(math.floor(self.saturation))
        return light

    def truth(self, scale: float) -> dict[str, NDArray[Any]]:
        """The arrays of :data:`TRUTH`, with the probe ``scale`` times as strong."""
        arrays = (
            *(self.positions[:, 0], self.positions[:, 1], self.flux, self.bad, self.weights),
            *((scale * self.probe).astype(np.complex64), (scale * self.modes).astype(np.complex64)),
            *(self.background, self.dead, self.hot),
        )
        return dict(zip(TRUTH, arrays, strict=True))


def room(what: Mapping[str, Any], reach: float) -> float:
    """Pixels by which true positions may lie outside those of the file, for a scan of this half diagonal."""
    turned = math.radians(abs(what["position_rotation"])) + abs(what["position_scale"]) + abs(what["position_shear"])
    return turned * reach + 5 * what["position_error"] + what["position_drift"] + what["backlash"]


def draw(what: Mapping[str, Any], positions: Real, probe: Complex, seed: int = 0) -> tuple[Beamline, Complex]:
    """Draw the conditions of a scan.

    Args:
        what: settings of ``BeamlineConfig`` by name.
        positions: (n, 2) of the file.
        probe: (m, N, N), before defocus and modes.
        seed: of the draw.

    Returns:
        The conditions, and the probe of the file: its first modes, defocused.
    """
    rng, count, size = np.random.default_rng([seed, 77]), len(positions), probe.shape[-1]
    time = np.linspace(0, 1, count)
    flux = (1 - what["flux_drift"] * time) * (1 + what["flux_jitter"] * rng.standard_normal(count)).clip(0.05)
    modes, weights = _drifting(probe, what["probe_drift"], time, rng)
    bad = np.zeros(count, np.int64)
    wrong = rng.permutation(count)[: round(what["bad_frames"] * count)]
    bad[wrong] = np.where(np.arange(len(wrong)) % 2, DARK, ELSEWHERE)
    dead, hot = _broken(size, what["dead_pixels"], what["hot_pixels"], rng)
    beamline = Beamline(
        positions=_true_positions(what, positions, time, rng),
        probe=_partly_coherent(probe, what["probe_modes"], what["mode_power"]),
        modes=modes,
        weights=weights,
        flux=flux / flux.mean(),
        background=_background(size, what["background"]),
        dead=dead,
        hot=hot,
        bad=bad,
        blur=what["detector_blur"],
        saturation=what["saturation"],
    )
    return beamline, defocused(probe, what["start_defocus"])


def defocused(probe: Complex, phase: float) -> Complex:
    """A probe (m, N, N) with ``exp(i phase (q / (N / 8))^2)`` on the detector, q pixels from its middle."""
    if not phase:
        return probe
    size = probe.shape[-1]
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    turn = phase * (axis[:, None] ** 2 + axis[None, :] ** 2) / (size / 8) ** 2
    field = to_detector(torch.from_numpy(probe)) * torch.polar(torch.ones_like(turn), turn)
    return from_detector(field).numpy().astype(np.complex64)


def _true_positions(what: Mapping[str, Any], positions: Real, time: Real, rng: np.random.Generator) -> Real:
    """Positions (n, 2) after an affine map about their middle, drift, backlash and independent errors."""
    angle, larger, shear = math.radians(what["position_rotation"]), 1 + what["position_scale"], what["position_shear"]
    # From x to y: the direction (0, 1) of (y, x) turns towards (1, 0).
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
    found = middle + (positions - middle) @ (larger * turn @ np.array([[1.0, 0.0], [shear, 1.0]])).T
    moves = np.diff(positions, axis=0, prepend=positions[:1])
    drift = what["position_drift"] * (time - 0.5)[:, None] * np.array([math.cos(0.7), math.sin(0.7)])
    error = what["position_error"] * rng.standard_normal(positions.shape).clip(-4, 4)
    moved: Real = found + drift + what["backlash"] / 2 * np.sign(moves) + error
    return moved


def _drifting(probe: Complex, share: float, time: Real, rng: np.random.Generator) -> tuple[Complex, Real]:
    """Two ways in which the first mode changes, (2, N, N), orthogonal to it, and their weights (n, 2).

    The first grows steadily through the scan, the second comes and goes; ``share`` is the rms of both together.
    """
    size, first = probe.shape[-1], probe[0].astype(np.complex128)
    found: list[NDArray[np.complex128]] = []
    for _ in range(2):
        pattern = rng.standard_normal((2, size, size))
        smooth = ndimage.gaussian_filter(pattern, (0, SMOOTH * size, SMOOTH * size), mode="wrap")
        mode = first * (smooth[0] + 1j * smooth[1])
        for other in (first, *found):
            mode -= other * np.vdot(other, mode) / np.vdot(other, other)
        found.append(mode * np.sqrt((abs(first) ** 2).sum() / (abs(mode) ** 2).sum()))
    weights = np.stack([2 * time - 1, np.sin(2 * math.pi * time * 1.5 + 1)], axis=1)
    weights -= weights.mean(axis=0)
    weights *= share / math.sqrt(2) / np.sqrt((weights**2).mean(axis=0)).clip(1e-12)
    return np.stack(found).astype(np.complex64), weights


def _partly_coherent(probe: Complex, modes: int, power: float) -> Complex:
    """A probe (1 or more, N, N), its power shared with Hermite-like modes ``(x / s)^a (y / s)^b P``."""
    if modes == 1:
        return probe
    size, first = probe.shape[-1], probe[0].astype(np.complex128)
    y, x = (np.mgrid[:size, :size] - size // 2) / size
    found = [first]
    for factor in (x, y, x * y, x * x, y * y)[: modes - 1]:
        mode = first * factor
        for other in found:
            mode -= other * np.vdot(other, mode) / np.vdot(other, other)
        found.append(mode)
    shares = [1 - power, *[power / (modes - 1)] * (modes - 1)]
    whole = float(probe_power(torch.from_numpy(probe)).sum())
    scaled = [
        mode * math.sqrt(share * whole / (abs(mode) ** 2).sum()) for mode, share in zip(found, shares, strict=True)
    ]
    return np.stack(scaled).astype(np.complex64)


def _background(size: int, mean: float) -> Real:
    """Counts per pixel (N, N): half of them everywhere, half in a wide halo beside the middle."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    halo = np.exp(-((y - 0.1) ** 2 + (x + 0.05) ** 2) / (2 * 0.25**2))
    return np.asarray(mean * (0.5 + 0.5 * halo / halo.mean()))


def _broken(size: int, dead: int, hot: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Dead and hot pixels (N, N) at random places, none both."""
    places = rng.permutation(size**2)
    masks = np.zeros((2, size**2), bool)
    masks[0, places[:dead]] = masks[1, places[dead : dead + hot]] = True
    return masks[0].reshape(size, size), masks[1].reshape(size, size)
