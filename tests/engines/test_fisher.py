"""The linear model: its gradient is that of the likelihood, its information that of Poisson counts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.engines import fisher, responses
from ptychopinn.engines.fisher import Linearised, dot, solve
from ptychopinn.engines.projections import LEAST_BACKGROUND, Estimate, held_out_pixels
from ptychopinn.physics.conditions import Conditions, expected_counts
from ptychopinn.physics.likelihood import poisson_deviance
from ptychopinn.scan.fits import deviances
from ptychopinn.scan.scan import Scan
from tests.helpers import random_positions, random_tensor

MODELS = pytest.mark.parametrize("subpixel", ["bilinear", "fourier"])
SIZES = pytest.mark.parametrize("size", [6, 8])
KINDS = pytest.mark.parametrize(
    "unknowns",
    [
        {"object"},
        {"object", "probe"},
        {"object", "positions"},
        {"object", "probe", "positions"},
        {"object", "flux"},
        {"object", "background"},
        {"object", "affine"},
        {"object", "opr_modes", "opr_weights"},
        {"object", "probe", "positions", "affine", "flux", "background", "opr_modes", "opr_weights"},
    ],
    ids=lambda names: "+".join(sorted(names)),
)


def random_case(size: int, mask: bool = False, subpixel: str = "fourier") -> tuple[Scan, Estimate]:
    """Nine frames of two modes, drawn from an object near which the estimate lies; float64."""
    probe = 3 * random_tensor(2, size, size)
    if size % 2 == 0:
        spectrum = torch.fft.fft2(probe)
        spectrum[:, size // 2], spectrum[:, :, size // 2] = 0, 0
        probe = torch.fft.ifft2(spectrum)
    positions = random_positions(9, low=size / 2 + 1, high=size / 2 + 6, seed=1)
    edge = size + 9
    image = 1 + 0.3 * random_tensor(edge, edge, seed=2)
    now = Conditions(
        flux=(0.2 * random_tensor(9, seed=6, dtype=torch.float64)).exp(),
        background=0.1 + random_tensor(size, size, seed=7, dtype=torch.float64).square(),
        opr_modes=random_tensor(2, size, size, seed=8) * (1 if size % 2 else 0.5),
        opr_weights=0.3 * random_tensor(9, 2, seed=9, dtype=torch.float64),
    )
    if size % 2 == 0:
        spectrum = torch.fft.fft2(now.opr_modes)
        spectrum[:, size // 2], spectrum[:, :, size // 2] = 0, 0
        now = now._replace(opr_modes=torch.fft.ifft2(spectrum))
    rate = expected_counts(image, probe, positions, subpixel, now)
    counts = torch.poisson(rate, generator=torch.Generator().manual_seed(3)).float().numpy()
    good = None if not mask else random_tensor(size, size, seed=4).real.numpy() > -0.8
    scan = Scan(counts, positions.numpy(), probe.to(torch.complex64).numpy(), good_pixels=good)
    return scan, Estimate(image + 0.05 * random_tensor(edge, edge, seed=5), probe, positions, now)


def random_step(linear: Linearised, seed: int) -> fisher.Step:
    """A change of every unknown, with their shapes and kinds of numbers."""
    found = {}
    for number, (name, like) in enumerate(sorted(linear.gradient.items())):
        dtype = torch.complex128 if like.is_complex() else torch.float64
        found[name] = random_tensor(*like.shape, seed=seed + number, dtype=dtype)
    return found


def moved(now: Estimate, step: fisher.Step, by: float) -> Estimate:
    """An estimate after a part of a step, written out."""
    here = {name: by * value for name, value in step.items()}
    at = now.conditions
    return Estimate(
        now.image + here["object"],
        now.probe + here.get("probe", 0),
        now.positions
        + here.get("positions", 0)
        + (now.positions - now.positions.mean(dim=0)) @ here.get("affine", torch.zeros(2, 2, dtype=torch.float64)).T,
        Conditions(
            at.flux * (2 * here.get("flux", torch.zeros(1, dtype=torch.float64))).exp(),
            at.background + here.get("background", 0),
            at.opr_modes + here.get("opr_modes", 0),
            at.opr_weights + here.get("opr_weights", 0),
        ),
    )


def negative_log_likelihood(scan: Scan, now: Estimate, subpixel: str) -> float:
    """Half the Poisson deviance, summed over all good pixels."""
    rate = expected_counts(now.image, now.probe, now.positions, subpixel, now.conditions)
    deviance = poisson_deviance(rate, torch.from_numpy(scan.counts).double())
    if scan.good_pixels is not None:
        deviance = deviance[:, torch.from_numpy(scan.good_pixels)]
    return float(deviance.sum()) / 2


@SIZES
@KINDS
@pytest.mark.parametrize("mask", [False, True])
def test_the_gradient_is_the_slope_of_the_likelihood(size, unknowns, mask):
    scan, now = random_case(size, mask)
    linear = Linearised(scan, now, "fourier", unknowns)
    for seed in (10, 20, 30):
        step = random_step(linear, seed)
        up, down = (negative_log_likelihood(scan, moved(now, step, by), "fourier") for by in (1e-5, -1e-5))
        assert dot(linear.gradient, step) == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-3)


@SIZES
def test_the_gradient_of_the_bilinear_model(size):
    scan, now = random_case(size, subpixel="bilinear")
    linear = Linearised(scan, now, "bilinear", {"object", "probe"})
    step = random_step(linear, 10)
    up, down = (negative_log_likelihood(scan, moved(now, step, by), "bilinear") for by in (1e-5, -1e-5))
    assert dot(linear.gradient, step) == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-3)


@SIZES
@KINDS
@MODELS
def test_the_information_is_symmetric_and_never_negative(size, unknowns, subpixel):
    scan, now = random_case(size, mask=True)
    linear = Linearised(scan, now, subpixel, unknowns)
    x, y = random_step(linear, 10), random_step(linear, 20)
    jx, jy = linear.information(x), linear.information(y)
    assert dot(x, jy) == pytest.approx(dot(jx, y), rel=1e-6)
    assert dot(x, jx) > 0
    assert dot(y, jy) > 0


@SIZES
@KINDS
def test_the_information_is_how_the_gradient_bends_where_the_model_fits(size, unknowns):
    scan, now = random_case(size)
    rate = expected_counts(now.image, now.probe, now.positions, "fourier", now.conditions)
    # Counts that are the rates themselves: the curvature is the information of the counts.
    fitting = replace(scan, counts=rate.float().numpy())
    linear = Linearised(fitting, now, "fourier", unknowns)
    step = random_step(linear, 10)
    up, down = (Linearised(fitting, moved(now, step, by), "fourier", unknowns).gradient for by in (1e-4, -1e-4))
    bend = linear.information(step)
    for name, value in bend.items():
        found = (up[name] - down[name]) / 2e-4
        torch.testing.assert_close(value.to(found.dtype), found, rtol=0, atol=2e-3 * float(found.abs().max()))


@pytest.mark.parametrize("mask", [False, True])
def test_drawn_vectors_have_the_information_as_covariance(mask):
    scan, now = random_case(6, mask)
    linear = Linearised(scan, now, "fourier", {"object", "probe"})
    steps = [random_step(linear, seed) for seed in (10, 20)]
    drawn = [linear.sample_score(seed) for seed in range(2000)]
    products = np.array([[dot(step, each) for step in steps] for each in drawn])
    expected = np.array([[dot(a, linear.information(b)) for b in steps] for a in steps])
    spread = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()) * 2 / 2000)
    assert (abs(products.T @ products / 2000 - expected) < 4 * spread).all()


@MODELS
def test_enough_steps_solve(subpixel):
    scan, now = random_case(8)
    linear = Linearised(scan, now, subpixel)
    right = linear.information(random_step(linear, 10))

    def rest(steps: int) -> float:
        bent = linear.information(solve(linear, right, steps))
        left = {name: bent[name] - value for name, value in right.items()}
        return (dot(left, left) / dot(right, right)) ** 0.5

    assert rest(0) == 1
    assert rest(5) < 0.3
    assert rest(400) < 1e-3


@SIZES
@MODELS
def test_a_step_leaves_the_mean_position_and_goes_down(size, subpixel):
    scan, now = random_case(size, mask=True)
    linear = Linearised(scan, now, subpixel, {"object", "positions"})
    step = solve(linear, {name: -value for name, value in linear.gradient.items()}, 40)
    assert float(step["positions"].mean(dim=0).abs().max()) < 1e-6 * float(step["positions"].abs().max())
    assert dot(linear.gradient, step) < 0
    assert Linearised(scan, moved(now, step, 1e-3), subpixel).deviance < linear.deviance


def test_every_response_has_its_adjoint():
    scan, now = random_case(8, mask=True)
    names = {"object", "probe", "positions", "affine", "flux", "background", "opr_modes", "opr_weights"}
    linear = Linearised(scan, now, "fourier", names)
    chunk = next(linear._frames())
    step, response = random_step(linear, 30), random_tensor(9, 1, 8, 8, seed=50, dtype=torch.float64)
    for name in names:
        alone = {other: value * (other == name) for other, value in step.items()}
        sums = responses.Sums(now, names)
        sums.add(chunk, response)
        there = float((responses.respond(chunk, now, alone) * response).sum())
        assert dot(alone, sums.times(1.0)) == pytest.approx(there, rel=1e-8), name
        assert there != 0


def test_the_diagonal_is_that_of_the_information():
    scan, now = random_case(8)
    names = {"object", "flux", "background"}
    linear = Linearised(scan, now, "fourier", names)
    scales = linear.preconditioner()
    for name, place in (("flux", (4,)), ("background", (2, 3))):
        unit = {other: torch.zeros_like(value) for other, value in linear.gradient.items()}
        unit[name][place] = 1
        expected = 1 / float(linear.information(unit)[name][place])
        assert float(scales[name][place]) == pytest.approx(expected, rel=0.05), name


def test_a_background_at_its_least_value_is_not_made_smaller():
    scan, now = random_case(8)
    dark = now.conditions.background.clone()
    dark[:4] = LEAST_BACKGROUND
    now = replace(now, conditions=now.conditions._replace(background=dark))
    linear = Linearised(replace(scan, counts=0 * scan.counts), now, "fourier", {"object", "background"})
    step = solve(linear, {name: -value for name, value in linear.gradient.items()}, 3)
    assert (step["background"][:4] == 0).all()
    assert (step["background"][4:] < 0).any()


def test_the_deviance_is_that_of_the_image(tiny_scan, tiny_truth):
    linear = Linearised(tiny_scan, Estimate.of(tiny_scan, image=tiny_truth), "bilinear")
    expected = deviances(tiny_truth, tiny_scan.canvas_origin, tiny_scan)[0]
    assert linear.deviance == pytest.approx(expected, rel=1e-5)
    assert np.isnan(linear.held_out)


@MODELS
def test_pixels_held_out_say_nothing_of_the_fit(tiny_scan, tiny_truth, subpixel):
    now = Estimate.of(tiny_scan, image=tiny_truth)
    held = held_out_pixels(tiny_scan.N, torch.arange(len(tiny_scan)))[:, 0].numpy()
    spoilt = replace(tiny_scan, counts=np.where(held, 7, tiny_scan.counts).astype(np.float32))
    plain, other = (Linearised(scan, now, subpixel, hold_out=True) for scan in (tiny_scan, spoilt))
    assert torch.equal(plain.gradient["object"], other.gradient["object"])
    assert plain.deviance == other.deviance
    assert plain.held_out != other.held_out
    # An image that is true explains the pixels that nobody fitted, too.
    assert plain.held_out == pytest.approx(plain.deviance, rel=0.2)


@KINDS
@pytest.mark.parametrize("memory", [0, 50_000])
def test_a_scan_that_does_not_fit_into_memory_gives_the_same(monkeypatch, unknowns, memory):
    scan, now = random_case(8)
    # Two frames are a chunk of 11 kB: 50 kB keep four of the five.
    monkeypatch.setattr("ptychopinn.physics.exit_waves.CHUNK", 2 * 2 * 64)
    kept = Linearised(scan, now, "fourier", unknowns)
    anew = Linearised(scan, now, "fourier", unknowns, memory=memory)
    assert (len(kept._kept), len(anew._kept)) == (5, 4 if memory else 0)
    step = random_step(kept, 10)
    for name, value in kept.information(step).items():
        torch.testing.assert_close(anew.information(step)[name], value)
        torch.testing.assert_close(anew.preconditioner()[name], kept.preconditioner()[name])
    kept.release()
    torch.testing.assert_close(kept.information(step)["object"], anew.information(step)["object"])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@KINDS
def test_the_gpu_solves_like_the_cpu(unknowns):
    scan, estimate = random_case(8)
    found = []
    for device in ("cpu", "cuda"):
        there = Estimate(estimate.image.to(device), estimate.probe.to(device), estimate.positions.to(device))
        linear = Linearised(scan, there, "fourier", unknowns)
        step = solve(linear, linear.sample_score(0), 5)
        found.append({name: value.cpu() for name, value in step.items()} | {"light": linear.light.cpu()})
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=0, atol=1e-4 * float(value.abs().max()))


@pytest.mark.parametrize("frames", [1, 3])
def test_kept_chunks_lie_in_one_block_and_hold_the_same(frames: int) -> None:
    parts = random_tensor(frames, 2, 5, 5), random_tensor(frames, 3, dtype=torch.float32), random_tensor(1, 7)
    found = responses.together(*parts)
    assert len({part.untyped_storage().data_ptr() for part in found}) == 1
    for part, copy in zip(parts, found, strict=True):
        assert copy.dtype == part.dtype
        assert torch.equal(copy, part)
        assert copy.data_ptr() % responses.ALIGNED == 0
