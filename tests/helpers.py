"""Shared checks: adjoints, gradients, batches; seeded random data, groups and scans."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ptychopinn.config import DataConfig
from ptychopinn.files.reading import open_scan
from ptychopinn.inference.stitching import Stitcher
from ptychopinn.model.batches import Batch
from ptychopinn.model.features import amplitude_scale
from ptychopinn.physics.likelihood import RATE_FLOOR
from ptychopinn.physics.probe import circular_mask, normalise_probe
from ptychopinn.scan.grouping import form_groups
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import simulate

DATA = Path(os.environ.get("PTYCHOPINN_DATA", Path(__file__).parents[2] / "shared" / "data"))
RUN1084 = DATA / "run1084_object_probe_scan.npz"
needs_run1084 = pytest.mark.skipif(not RUN1084.is_file(), reason=f"PTYCHOPINN_DATA names no folder with {RUN1084.name}")

GRIDSIZES = pytest.mark.parametrize("gridsize", [1, 2, 3])

Operator = Callable[[Tensor], Tensor]


def read_npz(
    path: Path, measurement: str | None = None, nphotons: float | None = None, scan_index: int | None = None
) -> Scan:
    """A scan as commands read it, with the probe that the file holds."""
    told = {"measurement": measurement, "nphotons": nphotons, "scan_index": scan_index, "probe_scale": "keep"}
    return open_scan(path, DataConfig.model_validate(told))


def random_tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.complex128) -> Tensor:
    """Standard normal values, real or complex, drawn on the CPU from their own generator."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def random_positions(
    *shape: int,
    low: float,
    high: float,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Uniform sub-pixel positions (*shape, 2) in [low, high)."""
    drawn = torch.rand(*shape, 2, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    return low + (high - low) * drawn


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Complex inner product ``<a, b> = sum a conj(b)``."""
    return torch.vdot(b.flatten(), a.flatten())


def power(field: Tensor) -> Tensor:
    """Squared norm ``sum |field|^2`` over all axes."""
    return field.abs().square().sum()


def assert_adjoint(forward: Operator, adjoint: Operator, x: Tensor, y: Tensor, rtol: float | None = None) -> None:
    """Check ``<A x, y> = <x, A^H y>`` and that both operators keep shapes and dtype.

    Args:
        forward: A, from the space of ``x`` to the space of ``y``.
        adjoint: A^H, the way back.
        x: a random element of the domain of A.
        y: a random element of its range, of the dtype of ``x``.
        rtol: allowed difference relative to ``|A x| |y|``; 20 machine epsilons when None.
    """
    ax, ahy = forward(x), adjoint(y)
    assert (ax.shape, ax.dtype) == (y.shape, y.dtype)
    assert (ahy.shape, ahy.dtype) == (x.shape, x.dtype)
    scale = float(torch.linalg.vector_norm(ax) * torch.linalg.vector_norm(y))
    assert scale > 0, "the operator maps x to zero: the check would say nothing"
    rtol = 20 * torch.finfo(x.dtype).eps if rtol is None else rtol
    error = float((inner(ax, y) - inner(x, ahy)).abs())
    assert error <= rtol * scale, f"<Ax, y> and <x, A^H y> differ by {error / scale:.1e} |Ax| |y|, allowed {rtol:.1e}"


def assert_gradient_is_adjoint(forward: Operator, adjoint: Operator, x: Tensor, y: Tensor) -> None:
    """Check that autograd sends a gradient ``y`` at ``A x`` to ``A^H y`` at ``x``.

    This is torch's convention for complex tensors: the gradient of ``Re <A x, y>`` is ``A^H y``.
    """
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(forward(x), x, grad_outputs=y)
    torch.testing.assert_close(gradient, adjoint(y).detach())


def assert_same_batches(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.reach == b.reach
        assert all(torch.equal(x, y) for x, y in zip(a[:-1], b[:-1], strict=True))


def stitch(
    patches: Tensor, positions: Tensor, shape: tuple[int, int], weight: Tensor, phases: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Reassemble groups chunk by chunk on one canvas; the arguments are those of :meth:`Stitcher.add`.

    Returns:
        Image (H, W) and coverage (H, W), on the device of ``weight``.
    """
    canvas = Stitcher(shape, weight, moments=False)
    canvas.add(patches, positions, phases)
    return canvas.image(), canvas.coverage.contiguous()


def scale_of(counts: Tensor) -> float:
    """Input scale of the amplitudes of frames (n, N, N)."""
    return amplitude_scale(counts.shape[-1], float(counts.double().sum(dim=(-2, -1)).mean()))


def poisson_nll(rate: Tensor, counts: Tensor) -> Tensor:
    """Negative log-likelihood per element without the constant: ``rate - k log(rate)``.

    Args:
        rate: (...) expected photons, floored at ``RATE_FLOOR``.
        counts: (...) measured photons.
    """
    rate = rate.clamp_min(RATE_FLOOR)
    return rate - counts * rate.log()


def default_probe(size: int) -> Tensor:
    """The idealised probe of PtychoPINN's simulated studies: a flat disc of radius 0.17 N with a soft rim, unit power.

    The disc is where ``exp(-r^2 / (2 s^2)) > 1/2`` with ``s = N / (0.7 pi^2)``. It is blurred by a Gaussian of
    standard deviation 1 pixel, cut at 4 pixels.

    Args:
        size: edge N in pixels.

    Returns:
        (1, N, N) complex64, ``sum |P|^2 = 1``, about ``((N - 1) / 2, (N - 1) / 2)``.
    """
    disc = circular_mask(size, math.sqrt(2 * math.log(2)) * size / (0.7 * math.pi**2)).double()
    axis = torch.arange(size, dtype=torch.float64)
    apart = (axis[:, None] - axis[None, :]).abs()
    blur = torch.exp(-apart.square() / 2) * (apart <= 4)
    return normalise_probe((blur @ disc @ blur)[None].to(torch.complex128), 1.0).to(torch.complex64)


def groups_of(scan: Scan, gridsize: int, seed: int = 0) -> np.ndarray:
    """Groups of so many frames along each edge, from the nine nearest of each."""
    return form_groups(scan.positions, gridsize, 9, None, seed)


def objects(scan: Scan, count: int = 2) -> torch.Tensor:
    """Objects large enough for any group of the scan."""
    image = torch.from_numpy(scan.object).repeat(2, 2)
    return torch.stack([image.roll(7 * i, dims=0) for i in range(count)])


def at_dose(scan: Scan, nphotons: float) -> Scan:
    """The same object and positions with other light."""
    return simulate(scan.object, scan.probe, scan.positions, nphotons)
