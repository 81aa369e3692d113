"""Flux, background, maps and changing probes are found in frames that plain numpy made, and make the image right."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines.native import reconstruct
from ptychopinn.files.reconstruction import read_reconstruction, write_reconstruction
from tests.conditions import SIDE, N, Parts, made, measured, phase_error


@pytest.fixture(scope="module")
def parts() -> Parts:
    return made()


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


def test_beside_a_background_the_prior_joins(parts):
    scan = measured(parts, background=2.0)
    without, _ = fitted(scan, refine_background=True, prior="none")
    result, lines = fitted(scan, refine_background=True)
    assert any(line.startswith("prior: beside a background") for line in lines)
    assert result.prior_powers is not None
    assert without.prior_powers is None
    assert phase_error(result, parts[0]) < 0.9 * phase_error(without, parts[0])


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
