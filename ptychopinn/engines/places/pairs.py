"""Neighbouring frames in register: the shift between two patches of the object, for all shifts at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.spatial import cKDTree
from torch import Tensor

Patches = Callable[[Tensor], Tensor]
"""Patches (k, N, N) complex of frames (k,), from any source: a projection step, a network, an image."""

REACH = 0.8
"""Largest distance of two neighbours, in diameters of the probe."""

MOST_PAIRS = 12
"""Pairs per frame, on average; among more, some are drawn."""

WINDOW = 4.0
"""Search window about the expected shift, in standard deviations of a position."""

CELL = 16.0
"""Pixels of the object that count as one independent sample: single patches are blurred."""

APART = 3.0
"""Pixels from the best shift at which the next best one begins."""

LEAST_TRUST = 0.05

AT_ONCE = 2**22
"""Pixels of correlations computed at once."""


class Matches(NamedTuple):
    """Shifts of m pairs.

    Attributes:
        pairs: (m, 2) frames i and j.
        shifts: (m, 2) pixels, ``r_j - r_i``.
        trust: (m,) in [0, 1]: lead in log-likelihood over the next best shift, over the median lead, at most 1.
    """

    pairs: Tensor
    shifts: Tensor
    trust: Tensor


def neighbours(positions: NDArray[np.float64], distance: float, seed: int = 0) -> Tensor:
    """Pairs (m, 2) of frames within a distance, the first frames ascending; at most ``MOST_PAIRS`` per frame."""
    pairs = cKDTree(positions).query_pairs(distance, output_type="ndarray").astype(np.int64)
    most = MOST_PAIRS * len(positions)
    if len(pairs) > most:
        pairs = pairs[np.random.default_rng(seed).choice(len(pairs), most, replace=False)]
    return torch.from_numpy(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])


def register(patches: Patches, light: Tensor, pairs: Tensor, positions: Tensor, error: float) -> Matches:
    """Register pairs of patches by their correlation under the light of the probe.

    For the shift s the covariance of two patches over the light that they share, ``c = <p_i p_j^*> - <p_i><p_j>^*``, is
    divided by their standard deviations (Padfield, IEEE Trans. Image Process. 21, 2012). ``|c|`` does not see the free
    phase of a patch. The log-likelihood of a shift is ``-k log(1 - |c|^2) - |s - s_0|^2 / (4 e^2)``, with k independent
    samples in the shared area and the expected shift s_0.

    Args:
        patches: of single frames.
        light: (N, N) intensity of the probe.
        pairs: (m, 2) frames.
        positions: (n, 2) nominal, pixels.
        error: standard deviation e of a position along each axis, pixels.
    """
    size = light.shape[-1]
    edge = _even(
        size + min(size, WINDOW * error + float((positions[pairs[:, 1]] - positions[pairs[:, 0]]).abs().max()))
    )
    found = []
    for part in pairs.split(max(1, AT_ONCE // edge**2)):
        rows, where = part.unique(return_inverse=True)
        expected = (positions[part[:, 1]] - positions[part[:, 0]]).to(light)
        found.append(_matched(patches(rows), light, where, expected, error, edge))
    shifts, lead = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Matches(pairs, shifts, (lead / lead.median().clamp_min(1e-6)).clamp(LEAST_TRUST, 1))


def _matched(
    patches: Tensor, light: Tensor, where: Tensor, expected: Tensor, error: float, edge: int
) -> tuple[Tensor, Tensor]:
    """Best shifts (m, 2) of pairs ``where`` (m, 2) of patches, and their lead over the next best one (m,)."""
    correlation, shared = _correlation(patches, light, where, edge)
    samples = float(light.sum() ** 2 / light.square().sum()) / CELL
    steps = torch.fft.fftfreq(edge, 1 / edge, device=light.device)
    off = (steps - expected[:, :1]).square()[:, :, None] + (steps - expected[:, 1:]).square()[:, None, :]
    score = -samples * shared * torch.log1p(-correlation.square().clamp(max=0.999)) - off / (4 * error**2)
    score = score.masked_fill(off > 2 * (WINDOW * error) ** 2, -torch.inf).flatten(1)
    best, at = score.max(dim=1)
    row, col = at // edge, at % edge
    away = [(steps - steps[index][:, None]).abs() for index in (row, col)]
    beside = torch.maximum(away[0][:, :, None], away[1][:, None, :]) <= APART
    second = score.masked_fill(beside.flatten(1), -torch.inf).max(dim=1).values
    peak = score.view(-1, edge, edge)
    every = torch.arange(len(at), device=at.device)
    lines = [
        torch.stack([peak[every, (row + step) % edge, col] for step in (-1, 0, 1)], dim=1),
        torch.stack([peak[every, row, (col + step) % edge] for step in (-1, 0, 1)], dim=1),
    ]
    shifts = torch.stack([steps[row] + _vertex(lines[0]), steps[col] + _vertex(lines[1])], dim=1)
    return shifts.double(), best - second


def _correlation(patches: Tensor, light: Tensor, where: Tensor, edge: int) -> tuple[Tensor, Tensor]:
    """Normalised correlation of pairs at all shifts (m, edge, edge), and the share of the light that they share."""
    weight = light / light.max()
    power = patches.real.square() + patches.imag.square()
    lit = torch.fft.fft2(weight.to(patches.dtype), s=(edge, edge))
    field, squares = (torch.fft.fft2(weight * part, s=(edge, edge)) for part in (patches, power))
    first, second = where.unbind(dim=1)
    overlap = torch.fft.ifft2(lit * lit.conj()).real
    shared = overlap / overlap.max()
    floor = overlap.clamp_min(1e-3 * float(overlap.max()))
    a, b = torch.fft.ifft2(field[first] * lit.conj()), torch.fft.ifft2(lit * field[second].conj())
    covariance = torch.fft.ifft2(field[first] * field[second].conj()) - a * b / floor
    spreads = []
    for mean, squared in ((a, squares[first] * lit.conj()), (b, lit * squares[second].conj())):
        spread = torch.fft.ifft2(squared).real - (mean.real.square() + mean.imag.square()) / floor
        spreads.append(spread.clamp_min(0))
    # Where hardly any light is shared, two patches agree by chance.
    least = 0.02 * spreads[0].amax(dim=(1, 2), keepdim=True) + 1e-12
    return covariance.abs() / ((spreads[0] + least) * (spreads[1] + least)).sqrt(), shared


def _vertex(line: Tensor) -> Tensor:
    """Place of the highest point of a parabola through values (m, 3) at -1, 0 and 1; 0 at the edge of the window."""
    before, here, after = line.unbind(dim=1)
    bend = 2 * here - before - after
    place = 0.5 * (after - before) / bend.clamp_min(1e-9)
    return torch.where(torch.isfinite(bend) & (bend > 0), place, 0).clamp(-0.5, 0.5)


def _even(length: float) -> int:
    """A length with small factors, at least ``length``, whose transform is fast."""
    return int(2 * next_fast_len(-(-int(np.ceil(length)) // 2)))
