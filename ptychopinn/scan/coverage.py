"""Where the light of a scan falls on the object."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.physics.patches import Canvas, place_patches
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan.scan import Scan

MAX_CANVAS = 50_000_000
"""Pixels of the largest coverage map; positions in a wrong unit ask for more."""


def coverage_map(scan: Scan) -> tuple[NDArray[np.float64], int, int] | None:
    """Photons that the whole scan puts on each object pixel.

    Points are placed bilinearly and convolved with the probe intensity: the same as placing every probe.

    Returns:
        The map (H, W), and the object row and column of its first pixel; None where the map would be huge.
    """
    from scipy.signal import fftconvolve  # it takes a second to import

    half = scan.N // 2
    low = np.floor(scan.positions.min(axis=0)).astype(int) - half
    height, width = (np.floor(scan.positions.max(axis=0)).astype(int) + half + 1 - low).tolist()
    if height * width > MAX_CANVAS:
        return None
    points = torch.ones(len(scan), 1, 1, dtype=torch.float64)
    dots = place_patches(points, torch.from_numpy(scan.positions - low), (height, width)).numpy()
    intensity = probe_intensity(torch.from_numpy(scan.probe)).double().numpy()
    light = fftconvolve(dots, intensity)[half : half + height, half : half + width]
    return light.clip(min=0), int(low[0]), int(low[1])


def light_on_canvas(scan: Scan, weight: Tensor) -> Tensor:
    """Photons per pixel that the whole scan lays on its canvas, every frame counted once.

    Args:
        scan: its positions.
        weight: (N, N) real, photons of one frame.

    Returns:
        (H, W) on the device of ``weight``.
    """
    light = Canvas(scan.canvas_shape, weight.shape[-1], torch.float32, weight.device)
    places = scan.canvas_positions.to(weight.device, torch.float32)
    light.add(weight.expand(len(places), -1, -1), places)
    return light.image.contiguous()


def crowding(scan: Scan, probe: Tensor) -> float:
    """How many frames of a scan light a pixel of its object; of k frames drawn at random it is the share k / n.

    Areas are weighted by light: ``(sum I)^2 / sum I^2`` of the probe and of the coverage.

    Args:
        scan: its positions.
        probe: (m, N, N) complex, on any scale.
    """
    intensity = probe_intensity(probe)
    alone, together = (
        float(light.sum() ** 2 / light.square().sum())
        for light in (intensity.double(), light_on_canvas(scan, intensity).double())
    )
    return len(scan) * alone / together
