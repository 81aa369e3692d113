"""A network on the canvas of a whole scan: the corrections of all frames together, not frame by frame.

Each stage takes the correction of one projection step of all frames, ``sum_j P_j^* dpsi_j / (sum_j I_j + c)``, and adds
its own change to the image: an unrolled reconstruction whose steps are learnt. What the frames of an overlap agree on
adds up, so that the noise falls with the photons on a pixel, of all frames.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ptychopinn.model.features import LIGHT_UNIT
from ptychopinn.model.unet import to_complex
from ptychopinn.physics.diffraction import project_to_counts
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import probe_intensity

Network = Callable[[Tensor], Tensor]
"""A stage: (B, 6, H, W) to (B, 2, H, W)."""

REPEATS = 3
"""How often the stages after the first are repeated; they are trained to go on from where they ended."""

FLOOR = 0.05
"""Regulariser c of the division by the light, in units of the mean light of a lit pixel."""

DARK = 1e-3
"""Light, in the same units, below which a pixel stays vacuum."""


def passes(stages: int, repeats: int = REPEATS) -> tuple[int, ...]:
    """Stages in the order in which they are applied: of three, 0, 1, 2 and then 1, 2 again and again."""
    once = tuple(range(stages))
    return once + repeats * once[1:]


class Lights(NamedTuple):
    """What is known of frames besides their counts.

    Attributes:
        probes: (..., n, m, N, N) complex, moved to where each frame lies between pixels; sqrt(photons).
        places: (..., n, 2) whole pixels (y, x) of the canvas.
        good_pixels: bool, broadcast to (..., n, N, N); None means all.
    """

    probes: Tensor
    places: Tensor
    good_pixels: Tensor | None


def light_of(lights: Lights, shape: tuple[int, int]) -> Tensor:
    """Photons on each pixel of the canvas, (..., H, W)."""
    return place_patches(probe_intensity(lights.probes), lights.places, shape)


def pull(image: Tensor, counts: Tensor, lights: Lights) -> Tensor:
    """``sum_j P_j^* dpsi_j`` of one projection step from an image (..., H, W), vacuum outside: (..., H, W) complex.

    Args:
        image: present estimate.
        counts: (..., n, N, N) photons.
        lights: of these frames.
    """
    patches = 1 + extract_patches(image - 1, lights.places, counts.shape[-1])
    change = project_to_counts(lights.probes, patches, counts, lights.good_pixels)
    shape = image.shape[-2], image.shape[-1]
    return place_patches((lights.probes.conj() * change).sum(dim=-3), lights.places, shape)


class Estimate(NamedTuple):
    """An image in the making.

    Attributes:
        channels: (B, 2, H, W) feature channels of amplitude and phase.
        image: (B, H, W) complex transmission.
    """

    channels: Tensor
    image: Tensor


def vacuum(light: Tensor) -> Estimate:
    """What every reconstruction starts from, for the light (B, H, W)."""
    return Estimate(light.new_zeros(len(light), 2, *light.shape[1:]), torch.ones_like(light, dtype=torch.complex64))


def stage(network: Network, estimate: Estimate, pulled: Tensor, light: Tensor, activation: str) -> Estimate:
    """One stage: the estimate with the change that a network adds.

    Args:
        network: of 6 channels to 2.
        estimate: before.
        pulled: (B, H, W) complex, see :func:`pull`.
        light: (B, H, W) photons per pixel.
        activation: of the amplitude.
    """
    usual = light.square().sum(dim=(-2, -1), keepdim=True) / light.sum(dim=(-2, -1), keepdim=True)
    step = pulled / (light + FLOOR * usual)
    known = light / (light + FLOOR * usual), torch.log1p(light) / LIGHT_UNIT
    seen = torch.cat([torch.stack([step.real, step.imag, *known], dim=1), estimate.channels], dim=1)
    channels = estimate.channels + network(seen)
    image = to_complex(channels, activation)[:, 0]
    return Estimate(channels, torch.where(light > DARK * usual, image, torch.ones_like(image)))


def reconstructed(
    networks: Sequence[Network],
    pulling: Callable[[Tensor], Tensor],
    light: Tensor,
    activation: str,
    order: Sequence[int],
    start: Estimate | None = None,
) -> list[Estimate]:
    """The estimates after each pass.

    Args:
        networks: the stages of a model.
        pulling: :func:`pull` of all frames.
        light: (B, H, W) photons per pixel.
        activation: of the amplitude.
        order: which stages, see :func:`passes`.
        start: estimate to start from; vacuum when None.
    """
    estimates, now = [], start or vacuum(light)
    for number in order:
        now = stage(networks[number], now, pulling(now.image), light, activation)
        estimates.append(now)
    return estimates
