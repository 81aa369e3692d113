"""Input of the network: scaled amplitudes, or projection-step corrections in real space."""

import torch
from torch import Tensor

from ptychopinn.physics.diffraction import project_to_counts
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan.scan import Scan

RELATIVE_FLOOR = 0.1
"""Regulariser of the division by the probe, in units of its mean intensity over the support."""


LIGHT_UNIT = 8.0
"""Brings the logarithm of 1 to 1e7 photons to the size of the other features."""

SCALE_FRAMES = 4096
"""First frames of a scan that decide its input scale."""


def input_scale(scan: Scan) -> float:
    """:func:`amplitude_scale` of a scan, from its first ``SCALE_FRAMES`` frames."""
    return amplitude_scale(scan.N, scan.subset(slice(0, SCALE_FRAMES)).photons)


def amplitude_scale(size: int, photons: float) -> float:
    """Factor that scales amplitudes to a mean ``sum x^2 = (N/2)^2``, from the edge N and the mean photons per frame."""
    return size / 2 / max(photons, 1e-12) ** 0.5


def centre(images: Tensor, size: int) -> Tensor:
    """Central ``size`` x ``size`` pixels around ``[N // 2, N // 2]``: (..., N, N) -> (..., size, size)."""
    start = images.shape[-1] // 2 - size // 2
    return images[..., start : start + size, start : start + size]


def recentred(images: Tensor, size: int, outside: float = 0.0) -> Tensor:
    """Crop or pad about the centre: (..., n, n) -> (..., size, size); pad with ``outside``."""
    before = size // 2 - images.shape[-1] // 2
    after = size - images.shape[-1] - before
    return torch.nn.functional.pad(images, (before, after, before, after), value=outside)


def probe_share(probe: Tensor, support: int) -> Tensor:
    """Share of the probe, and not of the regulariser, in each pixel: ``I / (I + c)``, (..., support, support)."""
    intensity = centre(probe_intensity(probe), support)
    return intensity / (intensity + RELATIVE_FLOOR * intensity.mean(dim=(-2, -1), keepdim=True))


def light_level(probe: Tensor, support: int, dose: Tensor | None) -> Tensor:
    """Light on each object pixel, ``ln(1 + d I) / 8``: how noisy a frame is, (B, 1, support, support).

    Args:
        probe: (m, N, N) or (B, 1, m, N, N) complex, sqrt(photons).
        support: edge of the central square.
        dose: (B,) d, photons that were counted per photon of the probe; 1 when None.
    """
    intensity = centre(probe_intensity(probe), support)
    return torch.log1p(intensity if dose is None else intensity * dose[:, None, None, None]) / LIGHT_UNIT


def corrections(counts: Tensor, probe: Tensor, patches: Tensor, support: int, mask: Tensor | None) -> Tensor:
    """Patch update of one projection step: ``sum_m P_m^* dpsi_m / (I + c)``.

    Args:
        counts: (B, C, N, N) photons.
        probe: (m, N, N) complex, or (B, 1, m, N, N), a probe for each group.
        patches: (B, C, N, N) complex present estimate; ones mean vacuum.
        support: edge of the central square to return.
        mask: (N, N) bool, True for good detector pixels; or (B, 1, 1, N, N).

    Returns:
        (B, C, support, support) complex.
    """
    change = centre(project_to_counts(probe, patches, counts, mask), support)
    return (step_weight(probe, support) * change).sum(dim=-3)


def step_weight(probe: Tensor, support: int) -> Tensor:
    """Weight that maps an exit-wave update to a patch update, ``P_m^* / (I + c)``: (..., m, support, support)."""
    intensity = centre(probe_intensity(probe), support).unsqueeze(-3)
    return centre(probe, support).conj() / (intensity + RELATIVE_FLOOR * intensity.mean(dim=(-2, -1), keepdim=True))


def on_canvas(images: Tensor, offsets: Tensor, size: int) -> Tensor:
    """Place each image of a group on a canvas of its own, a single one at its centre: (B, C, size, size).

    Args:
        images: (B, C, n, n).
        offsets: (B, C, 2) pixels relative to the centre of each group; unused where C is 1.
        size: edge of the canvas.
    """
    if images.shape[1] == 1:
        return recentred(images, size)
    return place_patches(images[:, :, None], (offsets + size // 2)[:, :, None], (size, size))


def off_canvas(canvas: Tensor, offsets: Tensor, size: int) -> Tensor:
    """Patches of the frames of a group; vacuum outside its canvas.

    Args:
        canvas: (B, M, M) complex.
        offsets: (B, C, 2) as for :func:`on_canvas`.
        size: edge N of the patches.

    Returns:
        (B, C, N, N).
    """
    if offsets.shape[1] == 1:
        return recentred(canvas[:, None], size, outside=1.0)
    return 1 + extract_patches(canvas - 1, offsets + canvas.shape[-1] // 2, size)
