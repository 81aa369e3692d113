"""Error bars: the diagonal of the inverse information, and what they promise about noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage, special

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines.error_bars import UNKNOWN_PHASE, error_bars, noise_bound, with_error_bars, without_global_phase
from ptychopinn.engines.fisher import Linearised
from ptychopinn.engines.native import reconstruct
from ptychopinn.engines.projections import Estimate
from ptychopinn.engines.refinement import refine
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import probe_views
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import curved_disc
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import random_object, raster, simulate
from tests.conditions import made, measured


@pytest.fixture(scope="module")
def small() -> tuple[Scan, Estimate]:
    """36 frames of 16 x 16 pixels, spaced 2 px, and the truth on their canvas."""
    positions = raster((28, 28), 16, step=2.0)
    image = random_object(28, np.random.default_rng(0))
    scan = simulate(image, curved_disc(16, 4.0, 2.0).numpy(), positions, nphotons=1e5)
    return scan, Estimate.of(scan, image=torch.from_numpy(scan.on_canvas(image, outside=1)))


def dense_information(linear: Linearised) -> np.ndarray:
    """J as a matrix over the real and the imaginary parts of all pixels, column by column."""
    height, width = linear.shape
    columns = []
    for number in range(height * width):
        for unit in (1, 1j):
            step = torch.zeros(height * width, dtype=torch.complex64)
            step[number] = unit
            bent = linear.information({"object": step.reshape(height, width)})["object"]
            columns.append(torch.view_as_real(bent.resolve_conj()).flatten().double().numpy())
    return np.array(columns)


def test_the_bound_is_the_trace_of_the_inverse(small):
    scan, truth = small
    linear = Linearised(scan, truth, "fourier")
    light = linear.light.numpy()
    mask = light > 0.3 * light.max()
    matrix = dense_information(linear)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-4 * matrix.max())
    # Pixels that hardly any light reaches are bounded by nothing: a weak prior stands for them.
    inverse = np.linalg.inv(matrix + 1e-5 * matrix.diagonal().max() * np.eye(len(matrix)))
    turn = 1j * truth.image.numpy()
    along, weighted = (np.stack([part.real, part.imag], axis=-1).ravel() for part in (turn, light * turn))
    without = np.eye(len(matrix)) - np.outer(along, weighted) / (along @ weighted)
    shape = (*light.shape, 2, *light.shape, 2)
    variance = np.einsum("yxcyxc->yx", (without @ inverse @ without.T).reshape(shape))
    expected = variance[mask].sum()
    assert noise_bound(scan, truth, "fourier", mask, draws=40) == pytest.approx(expected, rel=0.1)


def test_the_global_phase_is_no_error(tiny_scan, tiny_truth):
    light = Linearised(tiny_scan, Estimate.of(tiny_scan, image=tiny_truth), "bilinear").light
    turned = tiny_truth * np.exp(1e-4j) - tiny_truth
    left = without_global_phase(turned, tiny_truth, light)
    assert float(left.abs().max()) < 1e-3 * float(turned.abs().max())
    noise = torch.randn(tiny_truth.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    once = without_global_phase(noise, tiny_truth, light)
    torch.testing.assert_close(without_global_phase(once, tiny_truth, light), once)


def test_four_times_the_photons_halve_the_bars(small):
    scan, truth = small
    brighter = Estimate(truth.image, 2 * truth.probe, truth.positions)
    few, many = (error_bars(scan, now, "fourier", draws=4) for now in (truth, brighter))
    for dim, bright in zip(few[:2], many[:2], strict=True):
        middle = dim < 0.5 * UNKNOWN_PHASE
        np.testing.assert_allclose(bright[middle], dim[middle] / 2, rtol=0.02)


def test_more_overlap_makes_smaller_bars_and_no_light_none(tiny_scan, tiny_truth):
    half = tiny_scan.subset(slice(None, None, 2))
    bars = [error_bars(scan, Estimate.of(scan), "fourier", seed=1) for scan in (tiny_scan, half)]
    shapes = [tiny_scan.canvas_shape, half.canvas_shape]
    assert [each.phase.shape for each in bars] == shapes
    middles = [np.nanmedian(each.phase[24:-24, 24:-24]) for each in bars]
    assert middles[0] < 0.8 * middles[1]
    far = tiny_scan.subset(np.array([0, len(tiny_scan) - 1]))
    apart = error_bars(far, Estimate.of(far), "fourier")
    assert np.isnan(apart.phase[:5, -5:]).all()
    assert np.isnan(apart.amplitude[:5, -5:]).all()
    assert float(np.nanmax(apart.phase)) <= UNKNOWN_PHASE + 1e-6


def test_bars_come_with_an_image_or_not_at_all(tiny_scan):
    plain = Reconstruction(
        np.ones(tiny_scan.canvas_shape, np.complex64),
        tiny_scan.canvas_origin,
        np.ones(tiny_scan.canvas_shape, np.float32),
        tiny_scan.positions,
    )
    assert with_error_bars(plain, tiny_scan, draws=0) is plain
    barred = with_error_bars(plain, tiny_scan, draws=2)
    assert barred.phase_std is not None
    assert barred.phase_std.dtype == barred.amplitude_std.dtype == np.float32
    np.testing.assert_array_equal(barred.phase_std, with_error_bars(plain, tiny_scan, draws=2).phase_std)


def test_bars_of_all_unknowns_together_are_wider():
    scan = measured(made(), change=0.1)
    config = BaselineConfig(engine="native", epochs=20)
    full = reconstruct(scan, config, RefinementConfig(refine_flux=True, refine_background=True, opr=1))
    assert set(full.fitted) == {"flux", "smooth_background", "opr_modes", "opr_weights"}
    joint, alone = (with_error_bars(each, scan, draws=1) for each in (full, replace(full, fitted=())))
    middle = alone.phase_std < 0.5 * UNKNOWN_PHASE
    assert np.median((joint.phase_std / alone.phase_std)[middle]) > 1.05


@pytest.mark.slow
@pytest.mark.parametrize("nphotons", [1e4, 1e5, 1e6])
def test_nominal_intervals_hold_the_truth(nphotons):
    """50 noise draws of one scan: how often the 90 % interval of a pixel holds its true amplitude and phase."""
    positions = raster((64, 64), 32, step=3.0)
    image = random_object(64, np.random.default_rng(0))
    scan = simulate(image, curved_disc(32, 8.0, 9.0).numpy(), positions, nphotons, interpolation="fourier")
    truth = Estimate.of(scan, image=torch.from_numpy(scan.on_canvas(image, outside=1)))
    light = Linearised(scan, truth, "fourier").light.numpy()
    lit = ndimage.binary_erosion(light > 0.3 * light.max(), iterations=2)
    views = probe_views(truth.probe, truth.positions, "fourier")
    rate = diffract(views.probes, extract_patches(truth.image, views.places, scan.N))
    wide = special.ndtri(0.95)
    inside = {"amplitude": 0.0, "phase": 0.0}
    true = truth.image.numpy()
    for draw in range(50):
        counts = torch.poisson(rate, torch.Generator().manual_seed(draw)).numpy()
        drawn = replace(scan, counts=counts)
        found = refine(drawn, epochs=200).estimate
        bars = error_bars(drawn, found, "fourier", seed=draw)
        image = found.image.numpy()
        image = image * np.exp(-1j * np.angle((light * image * true.conj()).sum()))
        inside["amplitude"] += (abs(abs(image) - abs(true)) < wide * bars.amplitude)[lit].mean() / 50
        inside["phase"] += (abs(np.angle(image * true.conj())) < wide * bars.phase)[lit].mean() / 50
    print(f"\n{nphotons:g} photons: {inside}")
    assert 0.85 < inside["amplitude"] < 0.95
    assert 0.85 < inside["phase"] < 0.95


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_gpu_gives_the_bars_of_the_cpu(small):
    scan, truth = small
    there = Estimate(truth.image.cuda(), truth.probe.cuda(), truth.positions.cuda())
    for cpu, cuda in zip(error_bars(scan, truth, "fourier")[:2], error_bars(scan, there, "fourier")[:2], strict=True):
        np.testing.assert_allclose(cuda, cpu, rtol=1e-2)
