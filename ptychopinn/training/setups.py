"""Set-ups to learn from: probes as measured ones are, their modes, and what is wrong with a measurement."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ptychopinn.scan.probe.light import support

Field = NDArray[np.complex128]

SECOND_MODE = 0.3
"""Share of the set-ups whose light has a second mode."""

LENS, APERTURE, SPECKLE, GIVEN = "lens", "aperture", "speckle", "given"


@dataclass(frozen=True)
class SetUp:
    """The light and the detector of one measurement.

    Attributes:
        probe: (m, N, N) complex64 that the network is told, of unit power.
        light: (m, N, N) complex64 that makes the frames, of unit power.
        good_pixels: (N, N) bool, False where the detector has no count.
        background: photons beside those of the light, as a share of them, spread evenly over the detector.
        support: edge of the lit square, pixels.
        kind: of probe.
    """

    probe: torch.Tensor
    light: torch.Tensor
    good_pixels: torch.Tensor
    background: float
    support: int
    kind: str


def random_setup(N: int, rng: np.random.Generator, modes: int = 1, given: tuple[Field, ...] = ()) -> SetUp:
    """One set-up of N x N pixels.

    Args:
        N: edge of the frames, pixels.
        rng: source of randomness.
        modes: of the probe.
        given: measured probes (m, n, n) that a quarter of the set-ups vary.
    """
    if given and rng.random() < 0.25:
        kind, probe = GIVEN, _varied(given[rng.integers(len(given))], N, rng)[:modes]
    else:
        kind = str(rng.choice([LENS, APERTURE, SPECKLE], p=[0.5, 0.28, 0.22]))
        first = {LENS: lens_probe, APERTURE: aperture_field, SPECKLE: speckle_probe}[kind](N, rng)
        probe = first[None]
    if modes > len(probe):
        probe = np.concatenate([probe, _second_mode(probe[0], rng)[None]])
    probe = probe / math.sqrt(float((abs(probe) ** 2).sum()))
    light = _slightly_other(probe, rng) if rng.random() < 0.4 else probe
    told, true = (torch.from_numpy(one.astype(np.complex64)) for one in (probe, light))
    background = float(10 ** rng.uniform(-4, -1.7)) if rng.random() < 0.2 else 0.0
    return SetUp(told, true, torch.from_numpy(_good_pixels(N, rng)), background, support(told.numpy()), kind)


def lens_probe(N: int, rng: np.random.Generator) -> Field:
    """The field (N, N) behind a lens: pupil with or without a central stop, aberrations, roughness and defocus.

    ``F^-1[A(k) exp(i W(k))]``. The defocus ``a rho^2`` of a pupil of radius q spreads the light over ``a N / (pi q)``
    pixels around the focus, rho being 1 at the rim (geometrical optics).
    """
    k = np.mgrid[:N, :N] - N // 2 - rng.uniform(-0.06, 0.06, (2, 1, 1)) * N
    radius = rng.uniform(0.1, 0.42) * N
    rho, angle = np.hypot(*k) / radius, np.arctan2(*k)
    soft = rng.uniform(0.5, 2.5) / radius
    pupil = _step((1 - rho) / soft)
    if rng.random() < 0.5:
        stop = rng.uniform(0.15, 0.65)
        pupil *= 1 - (1 - rng.choice([0.0, rng.uniform(0, 0.2)])) * _step((stop - rho) / soft)
    if rng.random() < 0.2:
        pupil *= np.exp(-(rho**2) * rng.uniform(0.3, 2))
    pupil *= 1 + rng.uniform(0, 0.4) * _noise(N, rng.uniform(1.0, 6.0), rng)
    spread = 0.0 if rng.random() < 0.3 else rng.uniform(0.5, 0.42 * N)
    waves = math.pi * spread * radius / N * rng.choice([-1, 1]) * rho**2
    strength = rng.choice([0.2, 0.7, 1.5])
    waves += strength * rng.normal() * rho**2 * np.cos(2 * (angle - rng.uniform(0, math.pi)))
    waves += strength * rng.normal() * (3 * rho**3 - 2 * rho) * np.cos(angle - rng.uniform(0, 2 * math.pi))
    waves += 0.5 * strength * rng.normal() * (6 * rho**4 - 6 * rho**2)
    waves += rng.uniform(0, 0.8) * _noise(N, rng.uniform(2.0, 0.15 * N), rng)
    field = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil * np.exp(1j * np.where(rho < 1.5, waves, 0)))))
    return _moved(field, rng)


def aperture_field(N: int, rng: np.random.Generator) -> Field:
    """The field (N, N) behind an aperture, or a Gaussian beam: soft edges, curvature, a little propagation."""
    y, x = np.mgrid[:N, :N] - N // 2 - rng.uniform(-1.5, 1.5, (2, 1, 1))
    turn, stretch = rng.uniform(0, math.pi), math.exp(rng.normal() * 0.12)
    u = (math.cos(turn) * x + math.sin(turn) * y) * stretch
    v = (math.cos(turn) * y - math.sin(turn) * x) / stretch
    radius = math.exp(rng.uniform(math.log(5.0), math.log(0.38 * N)))
    r = np.hypot(u, v) / radius
    kind = rng.integers(3)
    if kind == 0:
        shape = _step((1 - r) * radius / rng.uniform(0.5, 2.5))
    elif kind == 1:
        shape = np.exp(-(r**2))
    else:
        shape = _step((1 - np.maximum(abs(u), abs(v)) / radius) * radius / rng.uniform(0.5, 1.5))
    shape *= (1 + rng.uniform(0, 0.25) * _noise(N, rng.uniform(1.5, 6), rng)).clip(0)
    waves = rng.uniform(-1, 1) * rng.choice([3.0, 8.0, 0.5 * radius]) * r**2
    waves += rng.uniform(0, 0.6) * _noise(N, rng.uniform(3, 8), rng)
    field: Field = shape * np.exp(1j * waves)
    if rng.random() < 0.5:
        k = np.fft.fftfreq(N)
        # Fringes of an edge are sqrt(distance) wide, in units where the angular spectrum is exp(-i pi z k^2).
        z = rng.uniform(0, 0.1 * radius) * radius
        field = np.fft.ifft2(np.fft.fft2(field) * np.exp(-1j * math.pi * z * (k[:, None] ** 2 + k**2)))
    return field


def speckle_probe(N: int, rng: np.random.Generator) -> Field:
    """Speckle on a strongly curved wave front: ``E(r) (1 - s + s n(r)) exp(i c r^2)``, n complex noise."""
    y, x = np.mgrid[:N, :N] - N // 2 - rng.uniform(-0.04, 0.04, (2, 1, 1)) * N
    r2, radius = x**2 + y**2, rng.uniform(0.12, 0.4) * N
    shape = rng.choice([1.0, 2.0, 4.0])
    envelope = np.exp(-((r2 / radius**2) ** shape))
    length, share = rng.uniform(1.5, 6), rng.uniform(0.1, 0.9)
    noise = _noise(N, length, rng) + 1j * _noise(N, length, rng)
    # The curvature stays below the largest phase per pixel that frames of N pixels can hold.
    curvature = rng.uniform(-0.45, 0.45) * math.pi / max(radius, 1.0)
    return np.asarray(envelope * (1 - share + share * noise / math.sqrt(2)) * np.exp(1j * curvature * r2))


def _varied(probe: Field, N: int, rng: np.random.Generator) -> Field:
    """A measured probe (m, N, N): turned, mirrored, moved and defocused; its far field cut or padded to N."""
    turned = np.rot90(probe, int(rng.integers(4)), axes=(-2, -1))
    if rng.random() < 0.5:
        turned = turned[..., ::-1]
    size = turned.shape[-1]
    if size != N:
        low, room = (size - N) // 2, max(0, (N - size) // 2)
        pad = [(0, 0), (room, N - size - room), (room, N - size - room)]
        turned = np.pad(turned, pad) if size < N else turned[..., low : low + N, low : low + N]
    k = np.fft.fftfreq(N)
    phase = np.exp(1j * rng.normal() * 0.1 * N * math.pi * (k[:, None] ** 2 + k**2))
    field = np.fft.ifft2(np.fft.fft2(turned) * phase)
    state = int(rng.integers(2**31))
    return np.stack([_moved(mode, rng, state) for mode in field])


def _second_mode(first: Field, rng: np.random.Generator) -> Field:
    """A weaker mode, orthogonal to the first: that one times a ramp, or moved."""
    N = len(first)
    y, x = (np.mgrid[:N, :N] - N // 2) / N
    angle = rng.uniform(0, 2 * math.pi)
    other = first * (math.cos(angle) * x + math.sin(angle) * y)
    if rng.random() < 0.5:
        other = np.roll(first, tuple(rng.integers(-3, 4, 2)), (0, 1))
    power = float((abs(first) ** 2).sum())
    other = other - first * (np.vdot(first, other) / power)
    strength = float((abs(other) ** 2).sum())
    return np.asarray(other * math.sqrt(rng.uniform(0.02, 0.4) * power / max(strength, 1e-9 * power)))


def _slightly_other(probe: Field, rng: np.random.Generator) -> Field:
    """The same probe with a small error: rough phase and amplitude, and a beam centre that is off."""
    N = probe.shape[-1]
    y, x = (np.mgrid[:N, :N] - N // 2) / N
    off = rng.uniform(-0.15, 0.15, 2)
    error = rng.uniform(0, 0.05) * _noise(N, rng.uniform(2, 6), rng) + 1j * (
        rng.uniform(0, 0.1) * _noise(N, rng.uniform(3, 10), rng) + 2 * math.pi * (off[0] * y + off[1] * x)
    )
    other = probe * np.exp(error)
    return np.asarray(other / math.sqrt(float((abs(other) ** 2).sum())))


def _good_pixels(N: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Pixels with a count: all, or without single ones, a line or a gap between modules."""
    good = np.ones((N, N), dtype=bool)
    if rng.random() < 0.25:
        good[tuple(rng.integers(N, size=(2, int(rng.integers(1, max(2, N * N // 300))))))] = False
    if rng.random() < 0.08:
        start, width = rng.integers(N), rng.integers(1, 1 + max(1, N // 32))
        good[start : start + width] = False
        if rng.random() < 0.5:
            good = good.T.copy()
    return good


def _moved(field: Field, rng: np.random.Generator, seed: int | None = None) -> Field:
    """The field moved by up to 2 pixels, fractions included."""
    draw = rng if seed is None else np.random.default_rng(seed)
    k, (dy, dx) = np.fft.fftfreq(len(field)), draw.uniform(-2, 2, 2)
    return np.asarray(np.fft.ifft2(np.fft.fft2(field) * np.exp(-2j * math.pi * (k[:, None] * dy + k * dx))))


def _step(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """A logistic step from 0 to 1."""
    return 1 / (1 + np.exp(-x.clip(-40, 40)))


def _noise(N: int, length: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise (N, N) of unit variance."""
    field = ndimage.gaussian_filter(rng.standard_normal((N, N)), length, mode="wrap")
    return np.asarray(field / max(float(field.std()), 1e-12))
