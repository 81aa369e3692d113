"""Flux, background, maps and changing probes are found in frames that plain numpy made, and make the image right."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines.native import reconstruct
from ptychopinn.files.reconstruction import read_reconstruction, write_reconstruction
from ptychopinn.scan.scan import Scan

N, SIDE, STEP, DOSE = 40, 10, 5.0, 1e6


@pytest.fixture(scope="module")
def parts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Object, curved disc for a probe, and whole-pixel corners of 100 patches.

    A Gaussian probe would not do: a slope of its flux is the same as a shift, and no fit can tell.
    """
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:N, :N] - N / 2
    probe = np.exp(1.5j * (y**2 + x**2) / 49) / (1 + np.exp(np.hypot(y, x) - 7))
    probe *= np.sqrt(DOSE / (abs(probe) ** 2).sum())
    edge = int(N + (SIDE - 1) * STEP + 6)
    frequency = np.hypot(np.fft.fftfreq(edge)[:, None], np.fft.fftfreq(edge))
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(2, edge, edge))) * np.exp(-((frequency / 0.12) ** 2))).real
    field /= field.std()
    image = np.exp(0.4j * field[0]) * (1 - 0.1 * np.tanh(field[1]) ** 2)
    corners = np.array([(i * STEP, j * STEP) for i in range(SIDE) for j in range(SIDE)])
    return image, probe, (corners + rng.integers(0, 3, corners.shape)).astype(int)


def measured(parts, flux=1.0, background=0.0, change=0.0) -> Scan:
    """A scan under conditions that its positions and probe do not say."""
    image, probe, corners = parts
    patches = np.stack([image[i : i + N, j : j + N] for i, j in corners])
    y = np.mgrid[:N, :N][0] - N / 2
    mode = probe * np.sin(y / 3)
    mode -= probe * np.vdot(probe, mode) / np.vdot(probe, probe)
    weights = np.linspace(-1, 1, len(corners))[:, None, None]
    rates = (
        abs(np.fft.fftshift(np.fft.fft2((probe + change * weights * mode) * patches, norm="ortho"), axes=(1, 2))) ** 2
    )
    counts = np.random.default_rng(1).poisson(np.reshape(flux, (-1, 1, 1)) * rates + background)
    return Scan(counts.astype(np.uint32), (corners + N // 2).astype(float), probe[None].astype(np.complex64))


def phase_error(result, image) -> float:
    """Mean absolute phase error between the outermost positions, without shift of the phase."""
    low, high = result.positions.min(axis=0).astype(int), result.positions.max(axis=0).astype(int)
    box = slice(low[0], high[0]), slice(low[1], high[1])
    turn = result.window(image.shape)[box] * image[box].conj()
    return float(abs(np.angle(turn * np.exp(-1j * np.angle(turn.sum())))).mean())


def fitted(scan, epochs=80, **settings):
    lines: list[str] = []
    chosen = RefinementConfig(**settings)
    return reconstruct(scan, BaselineConfig(engine="native", epochs=epochs), chosen, report=lines.append), lines


@pytest.fixture(scope="module")
def clean(parts) -> float:
    return phase_error(fitted(measured(parts))[0], parts[0])


def test_a_flux_that_falls_and_flickers_is_found(parts, clean):
    rng = np.random.default_rng(2)
    flux = np.linspace(1, 0.5, SIDE**2) * (1 + 0.1 * rng.normal(size=SIDE**2))
    scan = measured(parts, flux=flux)
    without, _ = fitted(scan)
    result, lines = fitted(scan, refine_flux=True)
    assert phase_error(result, parts[0]) < min(1.5 * clean, 0.5 * phase_error(without, parts[0]))
    np.testing.assert_allclose(result.flux / result.flux.mean(), flux / flux.mean(), rtol=0.05)
    assert result.deviance < 1.05 * result.expected_deviance < 0.5 * without.deviance
    assert any(line.startswith("flux of the frames: ") for line in lines)
    assert result.fitted == ("flux",)


def test_a_background_is_found_and_none_is_made_up(parts, clean):
    y, x = np.mgrid[:N, :N] - N / 2
    background = 0.5 + 2 * np.exp(-((y - 5) ** 2 + x**2) / 200)
    scan = measured(parts, background=background)
    result, _ = fitted(scan, refine_background=True)
    assert phase_error(result, parts[0]) < 0.7 * phase_error(fitted(scan)[0], parts[0])
    # The image explains some of it as fine detail, so that a part is missing.
    assert abs(result.background - background).mean() < 0.3 * background.mean()
    assert result.deviance < 1.05 * result.expected_deviance
    none, _ = fitted(measured(parts), refine_background=True)
    assert (none.background > 0).all()
    assert none.background.mean() < 0.02
    assert phase_error(none, parts[0]) < 1.2 * clean


def test_a_probe_that_changes_is_followed(parts):
    scan = measured(parts, change=0.1)
    without, _ = fitted(scan)
    result, lines = fitted(scan, opr=1)
    assert result.deviance < 1.1 * result.expected_deviance < 0.7 * without.deviance
    assert phase_error(result, parts[0]) < 0.6 * phase_error(without, parts[0])
    trend = np.corrcoef(result.opr_weights[:, 0], np.arange(SIDE**2))[0, 1]
    assert abs(trend) > 0.95
    assert any(line.startswith("the probe changes by ") for line in lines)


def test_a_turned_and_stretched_scan_is_put_right(parts):
    scan = measured(parts)
    middle = scan.positions.mean(axis=0)
    turn = np.array([[1, 0.03], [-0.03, 1]]) * 0.98
    wrong = replace(scan, positions=middle + (scan.positions - middle) @ turn.T)
    result, _ = fitted(wrong, epochs=120, refine_affine=True)
    moved = result.positions - result.positions.mean(axis=0)
    there = scan.positions - middle
    assert np.sqrt(((moved - there) ** 2).sum(axis=1).mean()) < 0.1
    assert result.deviance < 1.1 * result.expected_deviance


def test_what_was_found_goes_through_a_file(parts, tmp_path):
    result, _ = fitted(measured(parts), epochs=20, model="full")
    assert set(result.fitted) == {"probe", "flux", "smooth_background", "affine", "opr_modes", "opr_weights"}
    write_reconstruction(tmp_path, result)
    for name in ("reconstruction.h5", "reconstruction.npz"):
        again = read_reconstruction(tmp_path / name)
        assert again.fitted == result.fitted
        for array in ("flux", "background", "opr_modes", "opr_weights"):
            np.testing.assert_array_equal(getattr(again, array), getattr(result, array))
