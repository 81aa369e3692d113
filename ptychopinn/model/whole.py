"""A network on the canvas of a whole scan: the corrections of all frames together, not frame by frame.

Each stage takes the correction of one projection step of all frames, ``sum_j P_j^* dpsi_j / (sum_j I_j + c)``, and adds
its own change to the image: an unrolled reconstruction whose steps are learnt. What the frames of an overlap agree on
adds up, so that the noise falls with the photons on a pixel, of all frames.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ptychopinn.model.features import LIGHT_UNIT
from ptychopinn.model.unet import PHASE_SCALE, to_complex
from ptychopinn.physics.diffraction import POWER_FLOOR, project_to_modulus, squared
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import probe_intensity

Network = Callable[[Tensor], Tensor]
"""A stage: (B, 7 + h, H, W) to (B, 2 + h, H, W), of h hidden channels."""

REPEATS = 6
"""How often the stages after the first are repeated; they are trained to go on from where they ended."""

MOST_CYCLES = 14
"""Times that the stages are repeated at most where the counts decide when to end."""

FLOOR = 0.05
"""Regulariser c of the division by the light, in units of the mean light of a lit pixel."""

STEP_UNIT, SMALLEST_SCALE, SCALE_UNIT = 0.3, 1e-3, 4.0
"""Mean correction below which corrections and changes are scaled, the smallest scale, and the unit of its logarithm."""

LONGEST = 0.005
"""Regulariser e of :func:`smoothing`: waves that are much longer than 40 probes are brought back in several passes."""

FINEST_EDGE, COARSEST = 1024, 8
"""Pixels of a canvas up to which its smooth part has pixels of the same size, and the largest factor beyond."""

LARGEST_MULTIPLE = 300.0
"""Of the smooth part in one pass; strongly curved probes show little of it."""

LARGEST_BEND = 0.3
"""Mean size of a smooth change in one pass, rad: its multiple is known to first order."""

OPAQUE = 0.05
"""Added to the transmission before a division by it."""

DARK = 1e-3
"""Light, in the same units, below which a pixel stays vacuum."""


def passes(stages: int, repeats: int = REPEATS) -> tuple[int, ...]:
    """Stages in the order in which they are applied: of three, 0, 1, 2 and then 1, 2 again and again."""
    once = tuple(range(stages))
    return once + repeats * once[1:]


def cycles(stages: int, most: int = MOST_CYCLES) -> Iterator[tuple[int, ...]]:
    """The order of :func:`passes`, cut after every stage 1, whose images fit the counts best: (0, 1), (2, 1), ..."""
    yield tuple(range(stages))[:2]
    for _ in range(most if stages > 1 else 0):
        yield (*range(2, stages), 1)


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


def fields_of(images: Tensor, size: int, lights: Lights) -> Tensor:
    """Fields on the detector of images (..., H, W), vacuum outside: (..., n, m, N, N), as they are transformed."""
    # A batch of images is read at positions of its own shape.
    places = lights.places.expand(*images.shape[:-2], *lights.places.shape[-2:])
    patches = 1 + extract_patches(images - 1, places, size)
    return torch.fft.fft2(lights.probes * patches.unsqueeze(-3), norm="ortho")


class Scene(Protocol):
    """What a reconstruction asks of the frames of one scan, or of each of B scans.

    Attributes:
        light: (B, H, W) photons per pixel.
        smooth: see :func:`smoothing`; None: nothing is levelled.
    """

    light: Tensor
    smooth: Tensor | None

    def pulled(self, image: Tensor) -> Tensor:
        """:func:`pull` of all frames at an image (B, H, W)."""
        ...

    def gain(self, image: Tensor, bend: Tensor) -> Tensor:
        """:func:`best_multiple` of a change of the phase of an image, (B, H, W) each: (B,)."""
        ...


class SmallScans:
    """Scans that lie in memory as a whole.

    Args:
        modulus: (B, n, N, N), see :func:`pull`.
        lights: of these frames.
        shape: of the canvas.
        levelled: whether long waves are; those of a few frames are within reach of the network.
    """

    def __init__(self, modulus: Tensor, lights: Lights, shape: tuple[int, int], levelled: bool = False) -> None:
        self.modulus, self.lights = modulus, lights
        self.light = light_of(lights, shape)
        self.smooth = smoothing(probe_intensity(lights.probes).mean(dim=1), shape) if levelled else None

    def pulled(self, image: Tensor) -> Tensor:
        """See :class:`Scene`."""
        return pull(image, self.modulus, self.lights)

    def gain(self, image: Tensor, bend: Tensor) -> Tensor:
        """See :class:`Scene`."""
        return best_multiple(image, bend, self.modulus, self.lights)


def smoothing(intensity: Tensor, shape: tuple[int, int]) -> Tensor:
    """Filter ``A / (1 - A + e)`` that brings back the smooth part of a phase, ``A = |F I|^2 / (sum I)^2``.

    A frame knows the phase under its light but for a constant, so that of a phase error f the frames together show
    ``f - I * I * f``, which is ``1 - A`` in Fourier space: the longer a wave, the less. This is how the gradients that
    single frames show add up to an image, without a bound on its size.

    Args:
        intensity: (B, N, N) of the probe.
        shape: (H, W) of the canvas.

    Returns:
        (B, 2 H, W + 1) real, for :func:`torch.fft.rfft2` of a canvas that is padded to twice its size; of coarser
        pixels where the canvas is large.
    """
    coarse = min(COARSEST, -(-max(shape) // FINEST_EDGE))
    padded = [2 * -(-edge // coarse) for edge in shape]
    light = functional.avg_pool2d(intensity[:, None], coarse, ceil_mode=True)[:, 0]
    together = torch.fft.rfft2(light / light.sum(dim=(-2, -1), keepdim=True), s=padded).abs().square()
    found = together / (1 - together + LONGEST)
    found[..., 0, 0] = 0  # the global phase is free
    return found


def smooth_part(step: Tensor, image: Tensor, known: Tensor, smooth: Tensor) -> Tensor:
    """The smooth phase (B, H, W) that corrections of an image ask for, up to a factor.

    Args:
        step: (B, H, W) complex corrections.
        image: (B, H, W) complex.
        known: (B, H, W) share of the light in the corrections, 0 to 1.
        smooth: see :func:`smoothing`.
    """
    return _filtered(known * (step * image.conj()).imag / (image.abs().square() + OPAQUE), smooth)


def without_long_waves(phase: Tensor, smooth: Tensor) -> Tensor:
    """A phase (B, H, W) times ``1 - A``: what frames together can see of it; see :func:`smoothing`."""
    return phase - _filtered(phase, (1 + LONGEST) * smooth / (1 + smooth))


def _filtered(phase: Tensor, response: Tensor) -> Tensor:
    """A phase (B, H, W) on a canvas padded with zeros, times a response as :func:`smoothing` gives it."""
    height, width = phase.shape[-2:]
    padded = response.shape[-2], 2 * (response.shape[-1] - 1)
    coarse = -(-2 * height // padded[0])
    means = functional.avg_pool2d(phase.float()[:, None], coarse, ceil_mode=True)
    found = torch.fft.irfft2(response[:, None] * torch.fft.rfft2(means, s=padded), s=padded)
    found = found[..., : means.shape[-2], : means.shape[-1]]
    if coarse > 1:
        found = functional.interpolate(found, scale_factor=coarse, mode="bilinear")
    return found[:, 0, :height, :width]


def best_multiple(image: Tensor, bend: Tensor, modulus: Tensor, lights: Lights) -> Tensor:
    """The multiple t of a small phase f for which ``O exp(i t f)`` fits the counts best, to first order: (B,).

    Least squares of ``a + t b - sqrt(k)``, with ``a = |F psi|`` and its change ``b = Re(conj(F psi) F[i f psi]) / a``.

    Args:
        image: (B, H, W) complex O.
        bend: (B, H, W) rad.
        modulus: (B, n, N, N), see :func:`pull`.
        lights: of these frames.
    """
    size = modulus.shape[-1]
    both = torch.stack([image - 1, 1j * bend * image])
    # A batch of images is read at positions of its own shape.
    places = lights.places.expand(2, *lights.places.shape)
    patches, moved = extract_patches(both, places, size)
    fields, changes = (
        torch.fft.fft2(lights.probes * part.unsqueeze(-3), norm="ortho") for part in (1 + patches, moved)
    )
    found = squared(fields).sum(dim=-3).sqrt()
    change = (fields.real * changes.real + fields.imag * changes.imag).sum(dim=-3) / found.clamp_min(POWER_FLOOR**0.5)
    if lights.good is not None:
        change = (change.unsqueeze(-3) * lights.good).squeeze(-3)
    asked, given = ((part * change).sum(dim=(-3, -2, -1)) for part in (modulus - found, change))
    return (asked / given.clamp_min(1e-12)).clamp(0, LARGEST_MULTIPLE)


class Estimate(NamedTuple):
    """An image in the making.

    Attributes:
        channels: (B, 2 + h, H, W) feature channels of amplitude and phase, and what a stage hands to the next.
        image: (B, H, W) complex transmission.
        pulled: (B, H, W) complex, see :func:`pull`, of the image before.
    """

    channels: Tensor
    image: Tensor
    pulled: Tensor

    def detach(self) -> "Estimate":
        """The same without a history."""
        return Estimate(*(part.detach() for part in self))


def vacuum(light: Tensor, hidden: int) -> Estimate:
    """What every reconstruction starts from, for the light (B, H, W) and h hidden channels."""
    image = torch.ones_like(light, dtype=torch.complex64)
    return Estimate(light.new_zeros(len(light), 2 + hidden, *light.shape[1:]), image, torch.zeros_like(image))


def stage(network: Network, estimate: Estimate, scene: Scene, activation: str) -> Estimate:
    """One stage: the estimate with the change that a network adds, and with its smooth phase levelled.

    Args:
        network: of 7 + h channels to 2 + h.
        estimate: before.
        scene: the frames.
        activation: of the amplitude.
    """
    light = scene.light
    usual = light.square().sum(dim=(-2, -1), keepdim=True) / light.sum(dim=(-2, -1), keepdim=True)
    pulled, known = scene.pulled(estimate.image), light / (light + FLOOR * usual)
    step, lit = pulled / (light + FLOOR * usual), light > DARK * usual
    # Near the end corrections are small, and so must be what a network makes of them.
    scale = (_size(step.detach(), light) / STEP_UNIT).clamp(SMALLEST_SCALE, 1.0)
    level = (scale.log() / SCALE_UNIT).expand_as(light)
    told = [*torch.view_as_real(step / scale).unbind(-1), known, torch.log1p(light) / LIGHT_UNIT, level]
    change = network(torch.cat([torch.stack(told, dim=1), estimate.channels], dim=1))
    amplitude, phase = scale * change[:, 0], scale * change[:, 1]
    if scene.smooth is not None:
        bend = torch.where(lit, smooth_part(step, estimate.image, known, scene.smooth), 0.0)
        bend = scene.gain(estimate.image, bend)[:, None, None] * bend
        bend = bend * (LARGEST_BEND / _size(bend, light).clamp_min(LARGEST_BEND))
        # What frames cannot see is not for the network: long waves of its making would grow from pass to pass.
        phase = without_long_waves(phase, scene.smooth) + bend / PHASE_SCALE
    added = torch.stack([amplitude, phase], dim=1)
    channels = estimate.channels + torch.cat([added, change[:, 2:]], dim=1)
    image = to_complex(channels[:, :2], activation)[:, 0]
    return Estimate(channels, torch.where(lit, image, torch.ones_like(image)), pulled)


def _size(change: Tensor, light: Tensor) -> Tensor:
    """Root mean square of (B, H, W), weighted by light: (B, 1, 1)."""
    total = (light * change.abs().square()).sum(dim=(-2, -1), keepdim=True)
    return (total / light.sum(dim=(-2, -1), keepdim=True)).sqrt()


def reconstructed(
    networks: Sequence[Network], scene: Scene, activation: str, order: Sequence[int], start: Estimate
) -> list[Estimate]:
    """The estimates after each pass.

    Args:
        networks: the stages of a model.
        scene: the frames.
        activation: of the amplitude.
        order: which stages, see :func:`passes`.
        start: estimate to start from, see :func:`vacuum`.
    """
    estimates, now = [], start
    for number in order:
        now = stage(networks[number], now, scene, activation)
        estimates.append(now)
    return estimates
