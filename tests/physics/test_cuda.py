"""The GPU gives the numbers of the CPU."""

import pytest
import torch

from ptychopinn.physics.diffraction import diffract, project_to_counts
from ptychopinn.physics.patches import Canvas, extract_patches, place_patches
from tests.helpers import random_positions, random_tensor

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

SIZES = pytest.mark.parametrize("size", [32, 33])


def assert_cpu_equals_cuda(function, *tensors: torch.Tensor, rtol: float = 2e-6) -> None:
    """Compare values and gradients on both devices, relative to the largest value of each."""
    results = []
    for device in ("cpu", "cuda"):
        arguments = [t.detach().to(device).requires_grad_() for t in tensors]
        value = function(*arguments)
        assert value.device.type == device
        gradients = torch.autograd.grad(value.abs().square().sum(), arguments)
        results.append([value.detach().cpu(), *(g.cpu() for g in gradients)])
    for cpu, cuda in zip(*results, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=0, atol=rtol * float(cpu.abs().max()))


@SIZES
def test_extract_patches(size):
    image = random_tensor(2, 90, 80, dtype=torch.complex64)
    positions = random_positions(2, 20, low=-10, high=95, dtype=torch.float32)
    assert_cpu_equals_cuda(lambda x, at: extract_patches(x, at, size), image, positions, rtol=1e-5)


@SIZES
def test_place_patches(size):
    patches = random_tensor(2, 20, size, size, dtype=torch.complex64)
    positions = random_positions(2, 20, low=-10, high=95, dtype=torch.float32)
    assert_cpu_equals_cuda(lambda p, at: place_patches(p, at, (90, 80)), patches, positions, rtol=1e-5)


def test_a_canvas():
    patches, weight = random_tensor(20, 32, 32, dtype=torch.complex64), random_tensor(32, 32, dtype=torch.float32)
    positions = random_positions(20, low=-10, high=95, dtype=torch.float32)
    totals = []
    for device in ("cpu", "cuda"):
        canvas = Canvas((90, 80), 32, patches.dtype, torch.device(device))
        canvas.add(patches.to(device), positions.to(device), weight.to(device))
        totals.append(canvas.image.cpu())
    torch.testing.assert_close(totals[1], totals[0], rtol=0, atol=1e-5 * float(totals[0].abs().max()))


def test_placing_is_reproducible_where_that_is_asked_for():
    patches = random_tensor(50, 32, 32, dtype=torch.complex64).cuda()
    positions = random_positions(50, low=10, high=50, dtype=torch.float32).cuda()
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (place_patches(patches, positions, (64, 64)) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(before)
    assert torch.equal(first, second)


@SIZES
def test_diffract(size):
    probe = random_tensor(3, size, size, seed=1, dtype=torch.complex64)
    patches = random_tensor(5, size, size, seed=2, dtype=torch.complex64)
    assert_cpu_equals_cuda(diffract, probe, patches, rtol=1e-5)


@SIZES
def test_project_to_counts(size):
    probe = random_tensor(3, size, size, seed=1, dtype=torch.complex64)
    patches = random_tensor(5, size, size, seed=2, dtype=torch.complex64)
    counts = random_tensor(5, size, size, seed=3, dtype=torch.float32).square()
    cpu = project_to_counts(probe, patches, counts)
    cuda = project_to_counts(probe.cuda(), patches.cuda(), counts.cuda()).cpu()
    torch.testing.assert_close(cuda, cpu, rtol=0, atol=1e-5 * float(cpu.abs().max()))
