"""``model auto`` adds what frames ask for and nothing else, and takes one fit where it can."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines.native import reconstruct
from ptychopinn.engines.projections import Estimate, Projections
from ptychopinn.engines.terms import gains
from tests.conditions import SIDE, made, measured, phase_error

FADING = np.linspace(1, 0.5, SIDE**2) * (1 + 0.1 * np.random.default_rng(2).normal(size=SIDE**2))


def fitted(scan, epochs=80, **settings):
    lines: list[str] = []
    config = BaselineConfig(engine="native", epochs=epochs, refine_probe=True)
    return reconstruct(scan, config, RefinementConfig(**settings), report=lines.append), lines


def count(lines: list[str], word: str) -> int:
    return sum(line.startswith(word) for line in lines)


@pytest.mark.parametrize("brighter", [0.1, 1e3])
def test_a_clean_scan_gets_the_image_of_a_plain_fit(brighter):
    """At 1e9 photons the image after the projections leaves several times the noise, and any freedom explains some."""
    scan = measured(made(), brighter=brighter)
    auto, lines = fitted(scan, model="auto")
    plain, _ = fitted(scan)
    assert auto.fitted == ("probe",)
    assert count(lines, "auto: adds no more") == 1
    np.testing.assert_array_equal(auto.object, plain.object)


def test_a_flux_is_added_before_the_fit_is_finished():
    parts = made()
    scan = measured(parts, flux=FADING)
    auto, lines = fitted(scan, model="auto")
    asked, _ = fitted(scan, refine_flux=True)
    assert auto.fitted == ("probe", "flux")
    assert count(lines, "auto: adds a flux") == count(lines, "ended after") == 1
    assert count(lines, "projections 1:") == 2
    np.testing.assert_array_equal(auto.object, asked.object)
    assert phase_error(auto, parts[0]) < 1.5 * phase_error(fitted(measured(parts))[0], parts[0])


def test_a_background_is_added_before_the_fit_is_finished():
    auto, lines = fitted(measured(made(), background=1.0), model="auto")
    assert auto.fitted == ("probe", "smooth_background")
    assert count(lines, "ended after") == 1
    assert 0.6 < auto.background.mean() < 1.1


@pytest.mark.slow
def test_a_map_is_found_behind_a_flux():
    """The image takes up most of a map of a small scan, and the flux of its frames the rest."""
    parts = made()
    scan = measured(parts, flux=FADING)
    middle = scan.positions.mean(axis=0)
    wrong = replace(scan, positions=middle + (scan.positions - middle) @ (0.97 * np.array([[1, 0.05], [-0.05, 1]])).T)
    auto, lines = fitted(wrong, model="auto")
    assert auto.fitted == ("probe", "affine", "flux")
    there, moved = (each - each.mean(axis=0) for each in (scan.positions, auto.positions))
    assert np.sqrt(((moved - there) ** 2).sum(axis=1).mean()) < 0.2
    assert auto.deviance < 1.05 * auto.expected_deviance
    assert count(lines, "affine: ") == 1


@pytest.mark.slow
def test_a_probe_that_changes_is_added_without_other_projections():
    signs = np.random.default_rng(3).choice([-0.15, 0.15], SIDE**2)  # no map of the positions does the same
    scan = measured(made(), change=signs)
    auto, lines = fitted(scan, model="auto")
    assert {"opr_modes", "opr_weights"} <= set(auto.fitted)
    assert "affine" not in auto.fitted
    assert count(lines, "projections 1:") == 1 + ("flux" in auto.fitted)
    assert auto.deviance < 1.1 * auto.expected_deviance


def test_a_gain_is_also_told_as_a_share_of_the_excess():
    scan = measured(made(), flux=FADING)
    estimate = Estimate.of(scan)
    steps = Projections(scan, estimate, "fourier")
    for _ in range(10):
        steps.epoch(4)
    flux, background = gains(scan, steps.estimate, "fourier", ("flux", "background"))
    assert (flux.term, background.term) == ("flux", "background")
    assert 0.25 < flux.excess < 1
    assert background.excess < 0.05
    assert flux.share < flux.excess
