"""The physics between object and loss: extract, place, diffract, likelihood, and all of them with their gradients."""

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.floors import Work, transform_flops
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.likelihood import poisson_deviance
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import curved_disc, normalise_probe
from ptychopinn.physics.reassembly import reassemble

CHECKED = 8
"""Frames that are compared with double precision."""

LAYERS = 16
"""Frames that cover a pixel of the canvas, on average; the canvas then fits in a cache."""

COMPLEX, REAL = 8, 4
"""Bytes of a number."""


class Problem:
    """Frames at random places of a canvas."""

    def __init__(self, count: int, N: int, device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        edge = N + max(64, round((count * N**2 / LAYERS) ** 0.5) - N)
        self.count, self.N, self.shape = count, N, (edge, edge)
        self.image = torch.polar(torch.ones(self.shape), torch.rand(self.shape, generator=generator)).to(device)
        low, high = N / 2 + 1, edge - N / 2 - 1
        self.positions = (low + (high - low) * torch.rand(count, 2, generator=generator)).to(device)
        self.probe = normalise_probe(curved_disc(N, N / 5, 2.5), 1e6).to(device)
        self.patches = extract_patches(self.image, self.positions, N)
        self.rate = diffract(self.probe, self.patches)
        self.counts = self.rate.round()
        self.pixels = count * N**2

    def work(self, bytes_per_pixel: float, formula: str, transforms: int = 0) -> Work:
        return Work(
            self.count,
            "patterns",
            f"{formula}; transforms: {transforms}" if transforms else formula,
            bytes=bytes_per_pixel * self.pixels,
            fft_flops=transforms * self.count * transform_flops(self.N),
        )


@pytest.fixture(scope="module")
def problem(count: int, N: int, device: str) -> Problem:
    return Problem(count, N, device)


def in_double(problem: Problem) -> Tensor:
    """Counts of the first frames in double precision by numpy."""
    probe = problem.probe.cpu().numpy().astype(np.complex128)
    patches = problem.patches[:CHECKED].cpu().numpy().astype(np.complex128)
    field = np.fft.fftshift(np.fft.fft2(probe * patches[:, None], norm="ortho"), axes=(-2, -1))
    return torch.from_numpy((np.abs(field) ** 2).sum(axis=1))


def assert_near(found: Tensor, wanted: Tensor, tolerance: float = 1e-4) -> None:
    wanted = wanted.to(found.device)
    assert float((found - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


def test_extract(measure, problem: Problem, device: str) -> None:
    work = problem.work(COMPLEX, "8 N^2 bytes written a pattern; the image comes from a cache")
    patches = measure(extract_patches, problem.image, problem.positions, problem.N, work=work, device=device)
    y, x = (int(v) for v in problem.positions[0].floor() - problem.N // 2)
    v, u = (problem.positions[0] - problem.positions[0].floor()).tolist()
    near = problem.image[y : y + problem.N + 1, x : x + problem.N + 1]
    rows = (1 - v) * near[:-1] + v * near[1:]
    assert_near(patches[0], (1 - u) * rows[:, :-1] + u * rows[:, 1:])


def test_place(measure, problem: Problem, device: str) -> None:
    work = problem.work(COMPLEX, "8 N^2 bytes read a pattern; the image stays in a cache")
    image = measure(place_patches, problem.patches, problem.positions, problem.shape, work=work, device=device)
    there = torch.vdot(problem.patches.flatten(), problem.patches.flatten())
    assert_near(torch.vdot(image.flatten(), problem.image.flatten()), there, 1e-3)


def test_reassemble(measure, problem: Problem, device: str) -> None:
    weight = problem.probe.abs().square().sum(dim=0)
    work = problem.work(COMPLEX, "8 N^2 bytes read a pattern; image and coverage stay in a cache")
    arguments = problem.patches, problem.positions, problem.shape, weight
    image, coverage = measure(reassemble, *arguments, work=work, device=device)
    # Patches of ones are an image of ones wherever light falls.
    flat, _ = reassemble(torch.ones_like(problem.patches), problem.positions, problem.shape, weight)
    lit = coverage > 1e-6 * coverage.max()
    assert_near(flat[lit], torch.ones_like(flat[lit]))
    assert float(image.abs().max()) < 1 + 1e-4


def test_diffract(measure, problem: Problem, device: str) -> None:
    work = problem.work(COMPLEX + REAL, "12 N^2 bytes a pattern: patch read, counts written", transforms=1)
    rate = measure(diffract, problem.probe, problem.patches, work=work, device=device)
    assert_near(rate[:CHECKED].double(), in_double(problem))


def test_diffract_backward(measure, problem: Problem, device: str) -> None:
    patches = problem.patches.clone().requires_grad_()
    ones = torch.ones_like(problem.counts)

    def both() -> Tensor:
        return torch.autograd.grad(diffract(problem.probe, patches), patches, ones)[0]

    formula = "32 N^2 bytes a pattern: patch read, counts written, their gradient and the patch read, its own written"
    work = problem.work(3 * COMPLEX + 2 * REAL, formula, transforms=2)
    found = measure(both, work=work, device=device)
    # The sum of all counts is the power behind the object: its gradient is known, 2 |P|^2 O.
    power = problem.probe.abs().square().sum(dim=0)
    assert_near(found, 2 * power * problem.patches)


def test_poisson_loss(measure, problem: Problem, device: str) -> None:
    rate = (problem.rate + 1).requires_grad_()

    def both() -> Tensor:
        return torch.autograd.grad(poisson_deviance(rate, problem.counts).sum() / 2, rate)[0]

    work = problem.work(3 * REAL, "12 N^2 bytes a pattern: rate and counts read, gradient written")
    found = measure(both, work=work, device=device)
    assert_near(found, 1 - problem.counts / rate.detach())


def test_chain(measure, problem: Problem, device: str) -> None:
    image = (0.9 * problem.image).requires_grad_()

    def chain(image: Tensor, probe: Tensor) -> Tensor:
        patches = extract_patches(image, problem.positions, problem.N)
        return torch.autograd.grad(poisson_deviance(diffract(probe, patches), problem.counts).sum() / 2, image)[0]

    formula = "60 N^2 bytes a pattern: every step, and every step back, reads its input and writes its output once"
    work = problem.work(5 * COMPLEX + 5 * REAL, formula, transforms=2)
    found = measure(chain, image, problem.probe, work=work, device=device)
    assert_near(found, chain(image.to(torch.complex128), problem.probe.to(torch.complex128)), 1e-3)
