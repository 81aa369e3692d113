"""Error bars: the uncertainty of every pixel of an image from photon noise.

The covariance of any unbiased estimate is at least the inverse of the Fisher information J of the Poisson model
(Cramer-Rao); maximum likelihood reaches it where the counts are many. ``z = J^-1 w`` with ``w`` of covariance J
(:meth:`Linearised.sample_score`) has covariance ``J^-1``: a few solved draws give its diagonal without building J or
its inverse. The global phase, which the counts do not determine, is removed from every draw.
"""

from collections.abc import Set
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ptychopinn.engines.fisher import Linearised, solve
from ptychopinn.engines.projections import KEPT_BYTES, Estimate, Unknown
from ptychopinn.model.processes import ALONE, Team
from ptychopinn.physics.exit_waves import SubPixel
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan

Real = NDArray[np.float32]

CG_STEPS = 20
"""Conjugate-gradient steps per draw. Fewer miss the lowest frequencies of the phase: for 100 frames of 32 pixels 10
steps give 0.0097 rad, 20 give 0.0103 and 160 give 0.0105; on Run1084 10 and 80 give traces within 1 %."""

JOINT_STEPS = 40
"""The same where more than the object is unknown."""

SMOOTH = 4.0
"""Pixels over which the draws are averaged, relative to the variance from the photons of a pixel alone."""

UNKNOWN_PHASE = np.pi / np.sqrt(3)
"""Standard deviation of an unknown phase, rad."""


class ErrorBars(NamedTuple):
    """Standard deviations of an image, (H, W) float32; NaN on pixels without light.

    Attributes:
        amplitude: of abs(object).
        phase: rad, without the global phase.
    """

    amplitude: Real
    phase: Real


def error_bars(
    scan: Scan,
    estimate: Estimate,
    subpixel: SubPixel,
    draws: int = 1,
    seed: int = 0,
    memory: float = KEPT_BYTES,
    team: Team = ALONE,
    unknowns: Set[Unknown] = frozenset(),
) -> ErrorBars:
    """Smallest standard deviations of an image under photon noise.

    With further unknowns the draws come from the information of all of them together, so the bars of the image have
    what it costs to find those from the same counts.

    Args:
        scan: counts and mask; only the mask matters, since the noise is that of the image's own rates.
        estimate: image, probe and positions.
        subpixel: model between pixels.
        draws: random vectors; each costs ``CG_STEPS`` passes over the frames and one. One knows the bars of the
            amplitude to 6 %, those of the phase, whose waves are longer than what is smoothed over, to 15 %.
        seed: of the draws.
        memory: bytes for fields that are used again.
        team: processes that share the frames.
        unknowns: what was fitted beside the object; all else is taken as known.
    """
    linear = Linearised(scan, estimate, subpixel, {"object", *unknowns}, memory=memory, team=team)
    steps = JOINT_STEPS if unknowns else CG_STEPS
    image, light, preconditioner = estimate.image, linear.light, linear.preconditioner()
    size = image.abs().clamp_min(1e-6)
    across = torch.zeros_like(light)
    along = torch.zeros_like(light)
    for number in range(seed * draws, (seed + 1) * draws):
        found = solve(linear, linear.sample_score(number), steps, preconditioner)
        draw = without_global_phase(found["object"], image, light)
        turned = draw * image.conj() / size
        along += turned.real.square() / draws
        across += turned.imag.square() / draws
    floor = torch.where(light > 0, 0.5 / light.clamp_min(1e-12), torch.nan)
    amplitude, phase = (np.sqrt(_smoothed(part, light) * floor.cpu().numpy()) for part in (along, across))
    phase = np.minimum(phase / size.cpu().numpy(), UNKNOWN_PHASE)
    return ErrorBars(amplitude.astype(np.float32), phase.astype(np.float32))


def without_global_phase(change: Tensor, image: Tensor, light: Tensor) -> Tensor:
    """A small change of an image without its best global phase, weighted by light."""
    turn = (light * (image.conj() * change).imag).sum() / (light * image.abs().square()).sum()
    return change - 1j * turn * image


def with_error_bars(
    result: Reconstruction,
    scan: Scan,
    draws: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    memory: float = KEPT_BYTES,
    team: Team = ALONE,
) -> Reconstruction:
    """A reconstruction with its error bars; unchanged when ``draws`` is 0.

    Args:
        result: image, with its positions and its probe.
        scan: its frames.
        draws: see :func:`error_bars`.
        seed: of the draws.
        device: where to compute.
        memory: see :func:`error_bars`.
        team: see there.
    """
    if not draws:
        return result
    probe = scan.probe if result.probe is None else result.probe
    image = torch.from_numpy(np.where(result.object == 0, 1, result.object))
    places = torch.from_numpy(result.positions - np.array(result.origin))
    conditions, fitted = result.conditions.to(device), cast("tuple[Unknown, ...]", result.fitted)
    estimate = Estimate(image.to(device), torch.from_numpy(probe).to(device), places.to(device), conditions)
    bars = error_bars(scan, estimate, result.subpixel, draws, seed, memory, team, frozenset(fitted))
    return replace(result, amplitude_std=bars.amplitude, phase_std=bars.phase, std_of="counts")


def noise_bound(scan: Scan, truth: Estimate, subpixel: SubPixel, mask: NDArray[np.bool_], draws: int = 6) -> float:
    """Smallest expected squared error of an unbiased image, summed over the pixels of a mask (H, W): tr(J^-1)."""
    bars = error_bars(scan, truth, subpixel, draws)
    size = truth.image.abs().cpu().numpy()
    return float(
        (bars.amplitude[mask].astype(np.float64) ** 2 + (size * bars.phase)[mask].astype(np.float64) ** 2).sum()
    )


def _smoothed(variance: Tensor, light: Tensor) -> NDArray[np.float64]:
    """Local mean of a sampled variance relative to ``1 / (2 light)``, on lit pixels."""
    weight = light.double().cpu().numpy()
    relative = 2 * variance.double().cpu().numpy() * weight
    # Dim pixels carry little information, and the solver leaves them almost unchanged.
    total = ndimage.gaussian_filter(weight, SMOOTH)
    smooth: NDArray[np.float64] = ndimage.gaussian_filter(relative * weight, SMOOTH) / np.maximum(total, 1e-300)
    return smooth
