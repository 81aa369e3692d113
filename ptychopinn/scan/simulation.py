"""Objects, scan patterns and doses: parts of a scan with a known truth."""

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, special

from ptychopinn.errors import PtychoError
from ptychopinn.memory import check_memory
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import SubPixel, probe_views
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import normalise_probe, probe_power
from ptychopinn.scan.beamline import Beamline
from ptychopinn.scan.frames import MAX_COUNTS, chunks
from ptychopinn.scan.scan import Scan

Complex = NDArray[np.complex64]
Interpolation = Literal["bilinear", "cubic", "fourier"]
CHUNK = 256

FRAME_BYTES = 12
"""Memory per pixel of a frame while a scan is simulated and written."""

MAX_POSITIONS = 1e8
"""Positions of the largest raster."""


def simulate(
    image: Complex,
    probe: Complex,
    positions: NDArray[np.float64],
    nphotons: float | None = None,
    seed: int = 0,
    interpolation: Interpolation = "bilinear",
    beamline: Beamline | None = None,
) -> Scan:
    """Scan an object: ``counts_j ~ Poisson(sum_m |F(P_m O[patch at r_j])|^2)``.

    Args:
        image: (H, W) complex transmission, 1 in vacuum.
        probe: (m, N, N) complex; its shape matters, its power too unless ``nphotons`` is given.
        positions: (n, 2) pixels (y, x), every patch inside the object.
        nphotons: mean photons per frame, before noise; the probe gets the power that it takes.
        seed: of the photon noise.
        interpolation: how the object is read between pixels; with "fourier" the probe moves, not the object.
        beamline: true positions, probes and faults, where they differ from those given; ``nphotons`` is then without
            background and hot pixels.

    Returns:
        A scan that carries ``image`` as its truth, and that of the beamline.

    Raises:
        PtychoError: when a patch leaves the object, or an opaque object is to give ``nphotons``.
    """
    size = probe.shape[-1]
    there = positions if beamline is None else beamline.positions
    _check_inside(there, size, image.shape)
    light = torch.from_numpy(probe)
    if nphotons is not None:
        if nphotons > MAX_COUNTS:
            raise PtychoError(f"nphotons: {nphotons:g} given; at most {MAX_COUNTS:g} photons per frame are simulated.")
        light = normalise_probe(light, nphotons)
    frames = torch.empty(len(positions), size, size)
    scale = math.sqrt(float(probe_power(light).sum()) / float(probe_power(torch.from_numpy(probe)).sum()))
    between: SubPixel = "fourier" if interpolation == "fourier" else "bilinear"
    for part in chunks(len(positions), CHUNK):
        probes = light if beamline is None else beamline.probes(part, scale)
        views = probe_views(probes, torch.from_numpy(there[part]), between)
        rates = diffract(views.probes, _read(image, views.places.double().numpy(), size, interpolation))
        frames[part] = rates if beamline is None else beamline.seen(rates)
    if nphotons is not None:
        dim = light
        light, frames = _at_dose(light, frames, nphotons)
        scale *= math.sqrt(float(probe_power(light).sum()) / float(probe_power(dim).sum()))
    generator = torch.Generator().manual_seed(seed)
    if beamline is not None:
        frames = beamline.read_out(frames, generator)
    for part in chunks(len(positions), CHUNK) if beamline is None else ():
        frames[part] = torch.poisson(frames[part], generator)
    return Scan(
        counts=frames.numpy(),
        positions=np.asarray(positions, dtype=np.float64),
        probe=light.numpy().astype(np.complex64),
        object=image,
        interpolation=interpolation,
        truth={} if beamline is None else beamline.truth(scale),
    )


def _check_inside(positions: NDArray[np.float64], size: int, shape: tuple[int, ...]) -> None:
    """Refuse positions (n, 2) whose patches leave an object of this shape, and more frames than fit into memory."""
    low, high = positions.min(axis=0) - size / 2, positions.max(axis=0) + size / 2
    if (low < 0).any() or (high > np.array(shape)).any():
        raise PtychoError(
            f"object: {shape[0]} x {shape[1]} pixels, but the patches reach from "
            f"({low[0]:.1f}, {low[1]:.1f}) to ({high[0]:.1f}, {high[1]:.1f})."
        )
    what = f"simulation: {len(positions)} frames of {size} x {size} pixels; use a larger step or a smaller object"
    check_memory(FRAME_BYTES * len(positions) * size**2, what)


def _at_dose(probe: torch.Tensor, rates: torch.Tensor, nphotons: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A probe (m, N, N) and its rates (n, N, N), scaled in place to ``nphotons`` in the mean frame."""
    mean = sum(float(rate.double().sum()) for rate in rates) / len(rates)
    if not mean > 0:
        raise PtychoError(f"object: lets no light through; {nphotons:g} photons per frame need some.")
    return probe * math.sqrt(nphotons / mean), rates.mul_(nphotons / mean)


def raster(
    shape: tuple[int, int], size: int, step: float, jitter: float = 0.2, seed: int = 0, room: float = 0.0
) -> NDArray[np.float64]:
    """A raster of positions that fills an object, each moved at random to avoid the raster pathology.

    Args:
        shape: of the object, pixels.
        size: N, the patch edge.
        step: pixels between neighbours.
        jitter: largest move, as a fraction of ``step``.
        seed: of the moves.
        room: pixels to keep free at every edge.

    Returns:
        (n, 2) positions (y, x), row by row.
    """
    margin = size / 2 + 1 + jitter * step + room
    if math.prod(length / step for length in shape) > MAX_POSITIONS:
        raise PtychoError(
            f"step: {step:g} px between positions gives more than {MAX_POSITIONS:g} frames on an object of "
            f"{shape[0]} x {shape[1]} pixels; a larger step is needed."
        )
    axes = []
    for length in shape:
        count = int((length - 2 * margin) // step) + 1
        if count < 1:
            raise PtychoError(
                f"object: {length} pixels are too few for patches of {size} pixels that move by up to "
                f"{jitter * step:g} pixels (jitter x step)."
            )
        axes.append((np.arange(count) - (count - 1) / 2) * step + length / 2)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return grid + np.random.default_rng(seed).uniform(-jitter * step, jitter * step, grid.shape)


def siemens_star(edge: int, spokes: int = 24, phase: float = -0.8, absorption: float = 0.15) -> Complex:
    """A Siemens star with soft edges and a clear rim: spokes of constant phase and absorption.

    Args:
        edge: pixels of the square object.
        spokes: number of dark sectors.
        phase: of the spokes, rad.
        absorption: loss of amplitude in the spokes.
    """
    y, x = np.mgrid[:edge, :edge] - (edge - 1) / 2
    r, angle = np.hypot(y, x), np.arctan2(y, x)
    # Softened over about one pixel of arc, so that the spokes stay representable near the centre.
    spoke = 0.5 + 0.5 * np.tanh(np.sin(spokes * angle) * r / spokes)
    rim = special.expit(0.42 * edge - r) * special.expit(r - 0.02 * edge)
    pattern = spoke * rim
    return ((1 - absorption * pattern) * np.exp(1j * phase * pattern)).astype(np.complex64)


def smooth_lines(edge: int, seed: int = 0) -> Complex:
    """A weak smooth field with thin lines across it, the test object of the reference programs."""
    rng = np.random.default_rng(seed)
    phase, absorption = (_smooth(rng, edge, 8.0) for _ in range(2))
    lines = _lines(rng, edge, 30, (30.0, 120.0), signed=False)
    lines = ndimage.gaussian_filter(lines, 0.7)
    lines /= max(float(lines.max()), 1e-9)
    amplitude = (0.9 + 0.095 * absorption - 0.25 * lines).clip(0.2, 1.3)
    return (amplitude * np.exp(1j * (0.26 * phase + 0.5 * lines))).astype(np.complex64)


def random_object(edge: int, rng: np.random.Generator, max_phase: float = 1.5) -> Complex:
    """One of a broad family of objects to learn from: fields, lines, discs and boxes at random contrast.

    Args:
        edge: pixels of the square object.
        rng: source of randomness.
        max_phase: largest standard deviation of the phase, rad; drawn log-uniformly from 0.1 up.
    """
    phase, other = _mixture(rng, edge), _mixture(rng, edge)
    relation = rng.uniform(-1, 1)
    absorption = relation * phase + math.sqrt(1 - relation**2) * other
    amplitude = (0.95 + rng.uniform(0.02, 0.2) * absorption).clip(0.02, 1.6)
    strength = math.exp(rng.uniform(math.log(0.1), math.log(max_phase)))
    return (amplitude * np.exp(1j * strength * phase)).astype(np.complex64)


def _read(image: Complex, positions: NDArray[np.float64], size: int, interpolation: Interpolation) -> torch.Tensor:
    """Patches (n, size, size) of the object at sub-pixel positions."""
    if interpolation != "cubic":
        return extract_patches(torch.from_numpy(image), torch.from_numpy(positions), size)
    offset = np.arange(size) - size // 2
    patches = np.empty((len(positions), size, size), dtype=np.complex64)
    for patch, (y, x) in zip(patches, positions, strict=True):
        where = np.meshgrid(y + offset, x + offset, indexing="ij")
        patch[:] = ndimage.map_coordinates(image, where, order=3, mode="nearest")
    return torch.from_numpy(patches)


def _smooth(rng: np.random.Generator, edge: int, length: float) -> NDArray[np.float64]:
    field = ndimage.gaussian_filter(rng.standard_normal((edge, edge)), length, mode="wrap")
    return (field - field.mean()) / field.std()


def _lines(
    rng: np.random.Generator, edge: int, count: int, lengths: tuple[float, float], signed: bool
) -> NDArray[np.float64]:
    image = np.zeros((edge, edge))
    for _ in range(count):
        y, x = rng.uniform(0, edge, 2)
        angle, length = rng.uniform(0, math.pi), rng.uniform(*lengths)
        along = np.arange(-length / 2, length / 2, 0.4)
        rows = np.rint(y + along * math.sin(angle)).astype(int)
        cols = np.rint(x + along * math.cos(angle)).astype(int)
        inside = (rows >= 0) & (rows < edge) & (cols >= 0) & (cols < edge)
        image[rows[inside], cols[inside]] = rng.uniform(-1, 1) if signed else 1.0
    return image


def _mixture(rng: np.random.Generator, edge: int) -> NDArray[np.float64]:
    """A zero-mean, unit-variance mixture of smooth fields, lines, discs and boxes."""
    field = np.zeros((edge, edge))
    for length in rng.choice([1.5, 3.0, 5.0, 8.0, 12.0, 20.0], 2, replace=False):
        field += rng.uniform(0, 1) * _smooth(rng, edge, length)
    if rng.random() < 0.5:
        field = np.tanh(rng.uniform(1, 6) * field)
    lines = ndimage.gaussian_filter(
        _lines(rng, edge, int(rng.integers(0, 60)), (5.0, 150.0), True), rng.uniform(0.5, 1.2)
    )
    lines /= max(float(abs(lines).max()), 1e-9)
    shapes = np.zeros((edge, edge))
    y, x = np.mgrid[:edge, :edge]
    for _ in range(rng.integers(0, 25)):
        row, col, height, width = *rng.uniform(0, edge, 2), *rng.uniform(3, 40, 2)
        if rng.random() < 0.5:
            inside = (y - row) ** 2 + (x - col) ** 2 < height**2
        else:
            inside = (abs(y - row) < height) & (abs(x - col) < width)
        shapes += rng.uniform(-1, 1) * inside
    shapes = ndimage.gaussian_filter(shapes, rng.uniform(0.5, 1.0))
    total = rng.uniform(0, 1) * field + rng.uniform(0, 2) * lines + rng.uniform(0, 1) * shapes
    return (total - total.mean()) / max(float(total.std()), 1e-9)
