"""Where the light of a scan falls on the object."""

import torch
from torch import Tensor

from ptychopinn.physics.patches import Canvas
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan.scan import Scan


def light_on_canvas(scan: Scan, weight: Tensor) -> Tensor:
    """Photons on each pixel of the canvas, summed over all frames.

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


def probe_coverage(scan: Scan, device: torch.device | str = "cpu") -> Tensor:
    """:func:`light_on_canvas` of the scan's own probe, on a device."""
    return light_on_canvas(scan, probe_intensity(torch.from_numpy(scan.probe).to(device)))


def mean_overlap(scan: Scan, probe: Tensor) -> float:
    """Mean number of frames that light a pixel of the object; for k frames drawn at random, k / n of it.

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
