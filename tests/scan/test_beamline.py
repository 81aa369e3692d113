"""Hard scans: each fault is in the frames as the truth of the file says, and what the user gets stays nominal."""

from pathlib import Path

import numpy as np
import pytest

from ptychopinn.api import read_scan, simulate
from ptychopinn.errors import PtychoError
from ptychopinn.scan.beamline import DARK, ELSEWHERE
from ptychopinn.scan.scan import PER_FRAME, TRUTH, Scan
from tests.cli.refusing import call

SMALL = {"N": 32, "object_size": 96, "probe_radius": 6, "step": 4, "nphotons": 1e5, "interpolation": "fourier"}

FAULTS = {
    "background": {"background": 0.7},
    "flux": {"flux_drift": 0.5, "flux_jitter": 0.1},
    "probe": {"probe_drift": 0.1},
    "positions": {"position_error": 0.5, "position_drift": 3, "backlash": 1},
    "map": {"position_rotation": 3, "position_scale": 0.03, "position_shear": 0.02},
    "pixels": {"dead_pixels": 20, "hot_pixels": 5},
    "modes": {"probe_modes": 3, "mode_power": 0.2},
    "defocus": {"start_defocus": 0.5},
    "frames": {"bad_frames": 0.1},
    "hard": {"hard": True},
}


def rates(scan: Scan) -> np.ndarray:
    """Expected counts of every frame from the truth alone, in plain numpy."""
    truth, N = scan.truth, scan.N
    frequency = np.fft.fftfreq(N)
    found = []
    for j in range(len(scan)):
        y, x = truth["true_ycoords"][j], truth["true_xcoords"][j]
        probe = truth["true_probe"].astype(complex)
        probe[0] += np.tensordot(truth["true_probe_weights"][j], truth["true_probe_modes"], 1)
        ramp = np.exp(-2j * np.pi * (frequency[:, None] * (y % 1) + frequency[None, :] * (x % 1)))
        corner = int(y // 1) - N // 2, int(x // 1) - N // 2
        patch = scan.object[corner[0] : corner[0] + N, corner[1] : corner[1] + N]
        waves = np.fft.ifft2(np.fft.fft2(probe) * ramp) * patch
        light = (abs(np.fft.fftshift(np.fft.fft2(waves, norm="ortho"), axes=(1, 2))) ** 2).sum(axis=0)
        found.append(truth["true_flux"][j] * light)
    light = np.array(found)
    bad = truth["true_bad_frames"]
    elsewhere = np.flatnonzero(bad == ELSEWHERE)
    light[elsewhere] = light[(elsewhere + len(light) // 2) % len(light)]
    light[bad == DARK] = 0
    return light + truth["true_background"]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_counts_are_those_of_the_truth(fault):
    scan = simulate(**SMALL, **FAULTS[fault])
    dead, hot = (scan.truth[f"true_{name}_pixels"] for name in ("dead", "hot"))
    good, expected = ~(dead | hot), rates(scan)[:, ~(dead | hot)]
    excess = (scan.counts[:, good] - expected) / np.sqrt(expected + 0.1)
    assert excess.mean() == pytest.approx(0, abs=5 / np.sqrt(excess.size))
    assert (excess**2 * (expected + 0.1) / (expected + 0.1)).mean() < 1.05
    assert (scan.counts[:, dead] == 0).all()
    assert (scan.counts[:, hot].mean(axis=0) > 0.95 * expected.mean(axis=0).max()).all()
    # The frames of a wrong truth do not fit: one that knows of no fault.
    plain = simulate(**SMALL)
    if fault not in ("pixels", "defocus"):
        assert not np.array_equal(scan.counts, plain.counts)


def test_what_the_user_gets_is_nominal():
    scan, plain = simulate(**SMALL, hard=True, position_scale=0, position_rotation=0), simulate(**SMALL)
    np.testing.assert_array_equal(scan.positions, plain.positions)
    for of_user in (scan.probe, plain.probe):
        np.testing.assert_allclose(
            of_user / np.sqrt((abs(of_user) ** 2).sum()),
            plain.probe / np.sqrt((abs(plain.probe) ** 2).sum()),
            atol=1e-6,
        )
    assert scan.truth["true_flux"].mean() == pytest.approx(1)
    assert scan.truth["true_flux"][-20:].mean() < 0.7 * scan.truth["true_flux"][:20].mean()
    assert plain.truth == {}


def test_the_map_of_the_positions_is_the_one_asked_for():
    scan = simulate(**SMALL, position_rotation=3, position_scale=0.03)
    there = np.stack([scan.truth["true_ycoords"], scan.truth["true_xcoords"]], axis=1)
    known = np.column_stack([scan.positions, np.ones(len(scan))])
    matrix = np.linalg.lstsq(known, there, rcond=None)[0][:2].T
    np.testing.assert_allclose(matrix @ matrix.T, 1.03**2 * np.eye(2), atol=1e-9)
    assert np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0])) == pytest.approx(3)


def test_a_blurred_and_a_saturated_detector():
    plain = simulate(**SMALL)
    blurred = simulate(**SMALL, detector_blur=1.0)
    assert blurred.counts.max() < 0.9 * plain.counts.max()
    far, limit = simulate(**SMALL, saturation=1e9), int(plain.counts.max() // 3)
    cut = simulate(**SMALL, saturation=limit)
    np.testing.assert_array_equal(cut.counts, far.counts.clip(max=limit))


def test_the_truth_goes_through_a_file_and_a_split(tmp_path: Path):
    words = "--N 32 --object-size 128 --probe-radius 5 --nphotons 1e4 --hard"
    assert call(tmp_path, f"simulate whole.npz {words}").exit_code == 0
    assert call(tmp_path, f"simulate part.npz {words} --split y").exit_code == 0
    scan = read_scan(tmp_path / "whole.npz")
    assert not [note for note in scan.notes if "true_" in note]
    with np.load(tmp_path / "whole.npz") as whole, np.load(tmp_path / "part_test.npz") as part:
        assert set(TRUTH) <= set(whole.files) & set(part.files)
        for name in TRUTH:
            there = whole[name][part["frame_numbers"]] if name in PER_FRAME else whole[name]
            np.testing.assert_array_equal(part[name], there)


def test_more_broken_pixels_than_a_detector_has_are_refused():
    with pytest.raises(PtychoError, match="dead_pixels, hot_pixels: 600 and 5 given; at most half of the 32 x 32"):
        simulate(**SMALL, dead_pixels=600, hot_pixels=5)
