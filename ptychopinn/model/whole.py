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
from ptychopinn.physics.diffraction import project_to_modulus
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import probe_intensity

Network = Callable[[Tensor], Tensor]
"""A stage: (B, 6 + h, H, W) to (B, 2 + h, H, W), of h hidden channels."""

REPEATS = 6
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
        good: bool, broadcast to (..., n, m, N, N), zero frequency at [0, 0]; None means all pixels.
    """

    probes: Tensor
    places: Tensor
    good: Tensor | None


def light_of(lights: Lights, shape: tuple[int, int]) -> Tensor:
    """Photons on each pixel of the canvas, (..., H, W)."""
    return place_patches(probe_intensity(lights.probes), lights.places, shape)


def as_transformed(detector: Tensor) -> Tensor:
    """(..., N, N) with the zero frequency at [0, 0]: ordered once, not in every pass."""
    return torch.fft.ifftshift(detector, dim=(-2, -1))


def pull(image: Tensor, modulus: Tensor, lights: Lights) -> Tensor:
    """``sum_j P_j^* dpsi_j`` of one projection step from an image (..., H, W), vacuum outside: (..., H, W) complex.

    Args:
        image: present estimate.
        modulus: (..., n, N, N) roots of the counts, see :func:`as_transformed`.
        lights: of these frames.
    """
    patches = 1 + extract_patches(image - 1, lights.places, modulus.shape[-1])
    change = project_to_modulus(lights.probes * patches.unsqueeze(-3), modulus, lights.good)
    shape = image.shape[-2], image.shape[-1]
    return place_patches((lights.probes.conj() * change).sum(dim=-3), lights.places, shape)


class Estimate(NamedTuple):
    """An image in the making.

    Attributes:
        channels: (B, 2 + h, H, W) feature channels of amplitude and phase, and what a stage hands to the next.
        image: (B, H, W) complex transmission.
    """

    channels: Tensor
    image: Tensor

    def detach(self) -> "Estimate":
        """The same without a history."""
        return Estimate(self.channels.detach(), self.image.detach())


def vacuum(light: Tensor, hidden: int) -> Estimate:
    """What every reconstruction starts from, for the light (B, H, W) and h hidden channels."""
    channels = light.new_zeros(len(light), 2 + hidden, *light.shape[1:])
    return Estimate(channels, torch.ones_like(light, dtype=torch.complex64))


def stage(network: Network, estimate: Estimate, pulled: Tensor, light: Tensor, activation: str) -> Estimate:
    """One stage: the estimate with the change that a network adds.

    Args:
        network: of 6 + h channels to 2 + h.
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
    image = to_complex(channels[:, :2], activation)[:, 0]
    return Estimate(channels, torch.where(light > DARK * usual, image, torch.ones_like(image)))


def reconstructed(
    networks: Sequence[Network],
    pulling: Callable[[Tensor], Tensor],
    light: Tensor,
    activation: str,
    order: Sequence[int],
    start: Estimate,
) -> list[Estimate]:
    """The estimates after each pass.

    Args:
        networks: the stages of a model.
        pulling: :func:`pull` of all frames.
        light: (B, H, W) photons per pixel.
        activation: of the amplitude.
        order: which stages, see :func:`passes`.
        start: estimate to start from, see :func:`vacuum`.
    """
    estimates, now = [], start
    for number in order:
        now = stage(networks[number], now, pulling(now.image), light, activation)
        estimates.append(now)
    return estimates
