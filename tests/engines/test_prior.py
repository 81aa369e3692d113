"""The prior: a symmetric precision, powers as they are, better images from few photons, the same ones from many."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from ptychopinn.commands.refine import refine_scan
from ptychopinn.config import Settings
from ptychopinn.engines.prior import Prior, usual_light
from ptychopinn.engines.progress import Progress, Running
from ptychopinn.engines.refinement import refine
from ptychopinn.evaluation.metrics import score
from ptychopinn.files.checkpoint import load_checkpoint, save_checkpoint
from ptychopinn.files.signals import Stopped
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan

SHAPE = (47, 60)


def noise(seed: int, shape: tuple[int, int] = SHAPE) -> torch.Tensor:
    parts = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))
    return torch.complex(parts[0], parts[1])


def real_dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.conj() * b).real.double().sum())


@pytest.fixture(scope="module")
def prior() -> Prior:
    image = 1.5 * np.exp(0.7j) + 0.1 * noise(0) + 0.3j * torch.from_numpy(ndimage.gaussian_filter(noise(1).real, 3))
    return Prior.of(image.to(torch.complex64), torch.full(SHAPE, 50.0))


def test_the_precision_is_symmetric_and_its_root_is_one(prior):
    a, b = noise(2), noise(3)
    assert real_dot(prior.information(a), b) == pytest.approx(real_dot(a, prior.information(b)), rel=1e-4)
    torch.testing.assert_close(prior.root(prior.root(a)), prior.information(a), rtol=1e-3, atol=1e-3)
    assert prior.energy(a) == pytest.approx(real_dot(a, prior.information(a)) / 2, rel=1e-4)


def test_slow_changes_of_the_phase_are_free():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    bend = torch.from_numpy(np.exp(2j * np.cos(2 * np.pi * x / SHAPE[1])).astype(np.complex64))
    image = (1 + 0.1 * noise(0)) * bend
    prior = Prior.of(image, torch.full(SHAPE, 50.0))
    slow = torch.from_numpy(np.sin(2 * np.pi * y / SHAPE[0]).astype(np.float32)) * 1j * image
    fast = torch.from_numpy(np.sin(2 * np.pi * y / 5).astype(np.float32)) * 1j * image
    assert prior.energy(slow) < 0.1 * prior.energy(fast)


def test_the_preconditioner_is_the_inverse_in_even_light():
    light = torch.full(SHAPE, 40.0)
    prior = Prior.of(1 + 0.2 * noise(5), light)
    a = noise(6) - noise(6).mean()
    there = 2 * (1.1 * light) * prior.precondition(a) + prior.information(prior.precondition(a))
    assert float((there - a).abs().square().mean() / a.abs().square().mean()) < 0.02


def coloured(seed: int, size: int) -> np.ndarray:
    """Strong phase and weak absorption that are partly one; the phase has the power ``0.02 / (0.05^2 + f^2)``."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    power = 0.02 / (0.05**2 + frequency**2)
    shared, own = (np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) * np.sqrt(power)).real for _ in range(2))
    return 1 + 1j * shared + 0.3 * (0.6 * own - 0.8 * shared)


def test_powers_of_a_field_come_out_in_any_phase():
    image = coloured(0, 96)
    for turn in (0.0, 2.0):
        turned = torch.from_numpy((image * np.exp(1j * turn)).astype(np.complex64))
        prior = Prior.of(turned, torch.full(turned.shape, 1e6))
        bands = 0.5**0.5 * 2 ** (-np.arange(len(prior.powers)) / 2)
        # At the corner a band has few waves; the phase of the longest is taken off.
        expected = (0.02 / (0.05**2 + bands**2))[1:6]
        np.testing.assert_allclose(prior.powers[1:6, 1, 1], expected, rtol=0.4)
        np.testing.assert_allclose(prior.powers[1:6, 0, 0], 0.09 * expected, rtol=0.4)
        np.testing.assert_allclose(prior.powers[1:6, 0, 1], -0.24 * expected, rtol=0.5)


def test_updates_find_the_powers_under_the_noise():
    image = coloured(1, 128)
    light = 8.0
    sigma = 0.5 / light
    rng = np.random.default_rng(2)
    seen = image + np.sqrt(sigma) * (rng.normal(size=image.shape) + 1j * rng.normal(size=image.shape))
    there = torch.full(image.shape, light)
    start = Prior.of(torch.from_numpy(seen.astype(np.complex64)), there)
    prior = Prior(4 * start.powers, torch.ones(image.shape, dtype=torch.complex64), there)
    data = torch.from_numpy((seen - seen.mean()).astype(np.complex64))
    for _ in range(12):
        # White noise: (J + L) x = J y is solved by the preconditioner, whose light is 1.1 times as much.
        exact = Prior(prior.powers, torch.ones(image.shape, dtype=torch.complex64), there / 1.1)
        best = exact.precondition(2 * light * data)
        score_of_draw = np.sqrt(2 * light) * noise(7, image.shape) + prior.root(noise(8, image.shape))
        powers = prior.updated(best, exact.precondition(score_of_draw))
        prior = Prior(powers, torch.ones(image.shape, dtype=torch.complex64), there)
    bands = 0.5**0.5 * 2 ** (-np.arange(len(prior.powers)) / 2)
    expected = (0.02 / (0.05**2 + bands**2))[2:6]
    np.testing.assert_allclose(prior.powers[2:6, 1, 1], expected, rtol=0.45)


def sparse_light(photons: float, seed: int = 0) -> Scan:
    """Natural texture, the focus of a lens whose light falls on a seventh of the detector; made by numpy alone."""
    rng, size, edge = np.random.default_rng(seed), 32, 80
    rough = sum(ndimage.gaussian_filter(rng.normal(size=(edge, edge)), width) * width**1.5 for width in (0.7, 1.5, 4))
    truth = np.exp((0.3j - 0.03) * rough / rough.std())
    q = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    wave = np.fft.fftshift(np.fft.ifft2((q < 0.21) * np.exp(90j * q**2)))
    wave *= np.sqrt(photons / (abs(wave) ** 2).sum())
    places = np.stack([axis.ravel() for axis in np.mgrid[17:64:4, 17:64:4]], axis=1) + rng.integers(-1, 2, (144, 2))
    exits = [wave * truth[y - 16 :, x - 16 :][:size, :size] for y, x in places]
    rates = abs(np.fft.fftshift(np.fft.fft2(exits, norm="ortho"), axes=(1, 2))) ** 2
    return Scan(
        counts=rng.poisson(rates).astype(np.float32),
        positions=places.astype(np.float64),
        probe=wave[None].astype(np.complex64),
        object=truth.astype(np.complex64),
    )


def refined(scan: Scan, **settings: object) -> tuple[Reconstruction, list[str]]:
    lines: list[str] = []
    return refine_scan(scan, Settings.of(settings), "cpu", report=lines.append), lines


def error(result: Reconstruction, scan: Scan) -> float:
    assert scan.object is not None
    return score(result.window(scan.object.shape)[scan.scan_box], scan.object[scan.scan_box]).complex_error


@pytest.mark.parametrize(("photons", "most"), [(600.0, 0.9), pytest.param(5e3, 0.95, marks=pytest.mark.slow)])
def test_few_photons_give_a_better_image_whose_bars_hold(photons, most):
    scan = sparse_light(photons)
    with_prior, lines = refined(scan)
    without, _ = refined(scan, prior="none", error_draws=0)
    assert any(line.startswith("prior: ") for line in lines)
    assert error(with_prior, scan) < most * error(without, scan)
    box = scan.scan_box
    image, truth = with_prior.window(scan.object.shape)[box], scan.object[box]
    off = abs(np.angle(image * truth.conj() * np.vdot(image, truth)))
    (y, x), size = with_prior.origin, with_prior.object.shape
    bars = np.full(scan.object.shape, np.nan)
    bars[y : y + size[0], x : x + size[1]] = with_prior.phase_std
    assert 0.8 < (off < 1.645 * bars[box]).mean() < 0.97
    assert without.prior_share is None
    assert without.prior_powers is None


def test_the_share_of_the_prior_falls_with_the_photons():
    shares = [
        refined(sparse_light(photons), prior="spectrum", epochs=40, error_draws=2)[0].prior_share
        for photons in (600, 2e4)
    ]
    lit = [share[np.isfinite(share)] for share in shares]
    assert all(((share >= 0) & (share <= 1)).all() for share in lit)
    assert np.median(lit[1]) < 0.8 * np.median(lit[0])


def test_where_photons_suffice_nothing_changes():
    scan = sparse_light(1e6)
    asked, lines = refined(scan, prior="spectrum", epochs=40, error_draws=1)
    plain, _ = refined(scan, prior="none", epochs=40, error_draws=1)
    np.testing.assert_array_equal(asked.object, plain.object)
    np.testing.assert_array_equal(asked.phase_std, plain.phase_std)
    assert any("the counts suffice" in line for line in lines)
    silent = refined(replace(scan, object=None), epochs=12, error_draws=0)[1]
    assert not any(line.startswith("prior") for line in silent)


def test_a_fit_with_a_prior_goes_on_to_the_same_end(tmp_path: Path):
    scan = sparse_light(600)
    path, saves = tmp_path / "checkpoint.pt", []

    def keep(progress: Progress) -> None:
        save_checkpoint(path, progress.state())
        saves.append(progress.powers)
        if len(saves) == 13:
            raise Stopped("SIGTERM")

    whole = refine(scan, epochs=70, prior=True)
    stopped = refine(scan, epochs=70, prior=True, running=Running(keep=keep))
    assert stopped.stopped
    assert saves[-1] is not None
    found = refine(scan, epochs=70, prior=True, running=Running(resume=Progress.of(load_checkpoint(path), "cpu")))
    assert torch.equal(found.estimate.image, whole.estimate.image)
    assert torch.equal(found.progress.powers, whole.progress.powers)


@pytest.mark.slow
def test_probe_and_flux_are_fitted_beside_it():
    scan = sparse_light(2e3)
    flux = np.random.default_rng(5).uniform(0.6, 1.4, len(scan))
    counts = np.random.default_rng(6).binomial(scan.counts.astype(int), flux[:, None, None] / 1.4).astype(np.float32)
    dimmer = replace(scan, counts=counts, probe=scan.probe / np.float32(np.sqrt(1.4)))
    errors = [
        error(refined(dimmer, refine_flux=True, prior=prior, error_draws=0)[0], scan) for prior in ("spectrum", "none")
    ]
    assert errors[0] < errors[1]
    assert np.isfinite(refined(dimmer, refine_probe=True, prior="spectrum", epochs=60)[0].phase_std).any()


def test_usual_light_is_that_of_lit_pixels():
    light = torch.zeros(10, 10)
    light[:5] = 40.0
    assert usual_light(light) == pytest.approx(40)
    assert usual_light(torch.zeros(3, 3)) == 0
