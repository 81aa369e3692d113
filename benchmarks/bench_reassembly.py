"""Reassembly of 10,000 patches of 64 x 64: the package's ``Stitcher`` next to a plain loop over patches."""

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.floors import Work
from ptychopinn.inference.stitching import Stitcher
from ptychopinn.physics.reassembly import normalise

COUNT, SIZE, EDGE = 10_000, 64, 1024


def plain_loop(patches: Tensor, positions: Tensor, shape: tuple[int, int], weight: Tensor) -> Tensor:
    """What one writes first: for every patch, four shifted slices of the canvas."""
    total = torch.zeros(shape, dtype=torch.complex64)
    coverage = torch.zeros(shape)
    size = patches.shape[-1]
    for patch, (y, x) in zip(patches[:, 0], positions[:, 0].tolist(), strict=True):
        top, left = y - size // 2, x - size // 2
        row, col = int(np.floor(top)), int(np.floor(left))
        v, u = top - row, left - col
        for i, j, share in ((0, 0, (1 - v) * (1 - u)), (0, 1, (1 - v) * u), (1, 0, v * (1 - u)), (1, 1, v * u)):
            where = (slice(row + i, row + i + size), slice(col + j, col + j + size))
            total[where] += share * weight * patch
            coverage[where] += share * weight
    return normalise(total, coverage)


@pytest.fixture(scope="module")
def problem() -> tuple[Tensor, Tensor, tuple[int, int], Tensor]:
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(COUNT, 1, SIZE, SIZE, dtype=torch.complex64, generator=generator)
    low, high = SIZE, EDGE - SIZE
    positions = low + (high - low) * torch.rand(COUNT, 1, 2, generator=generator)
    weight = torch.rand(SIZE, SIZE, generator=generator)
    return patches, positions, (EDGE, EDGE), weight


@pytest.fixture(scope="module")
def expected(problem) -> Tensor:
    return plain_loop(*problem)


def stitch(patches: Tensor, positions: Tensor, shape: tuple[int, int], weight: Tensor) -> Tensor:
    canvas = Stitcher(shape, weight, moments=False)
    canvas.add(patches, positions)
    return canvas.image()


def work(problem) -> Work:
    """Every patch read and both results written once."""
    patches, _, (height, width), _ = problem
    formula = "every patch read, image and coverage written"
    return Work(COUNT, "patches", formula, bytes=patches.nbytes + 12 * height * width)


def test_stitch(measure, problem, expected) -> None:
    image = measure(stitch, *problem, work=work(problem), rounds=5)
    assert torch.allclose(image, expected, atol=1e-3)


def test_plain_loop(measure, problem, expected) -> None:
    image = measure(plain_loop, *problem, work=work(problem), rounds=1, warmup=0)
    assert torch.equal(image, expected)
