"""Wrong axes of a scan are found and measured, right ones left alone."""

import numpy as np
import pytest

from ptychopinn.engines.judging.axes import BETTER, Axes, axes_in_words, better_axes, telling_middle
from ptychopinn.scan.scan import Scan
from tests.independent import scan_arrays


def turned(degrees: float) -> np.ndarray:
    """On (y, x): from x to y."""
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def scan_with(matrix: np.ndarray, image: str = "weak") -> Scan:
    """A scan whose written positions have to be mapped by ``matrix`` to be right; grains leave vacuum in its middle.

    A real probe would explain frames turned by 180 degrees as well, by the conjugated image.
    """
    arrays = scan_arrays(probe="curved", image=image, radius=10, step=4, N=48)
    right = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1)
    middle = right.mean(axis=0)
    written = middle + (right - middle) @ np.linalg.inv(matrix).T
    return Scan(arrays["diffraction"].astype(np.float32), written, arrays["probeGuess"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("matrix", "flags"),
    [
        (np.eye(2)[::-1], (True, False, False)),
        (np.diag([1.0, -1.0]), (False, False, True)),
        (np.array([[0.0, 1.0], [-1.0, 0.0]]), (True, False, True)),
        (turned(3), (False, False, False)),
        (turned(-20), (False, False, False)),
        (1.06 * np.eye(2), (False, False, False)),
        (turned(15) @ np.diag([1.0, -1.0]), (False, False, True)),
    ],
    ids=["swapped", "mirrored", "turned by 90", "turned by 3", "turned by -20", "scaled", "mirrored and turned"],
)
def test_a_map_of_the_axes_is_found(matrix, flags):
    found = better_axes(scan_with(matrix), "bilinear")
    assert (found.swap, found.flip_y, found.flip_x) == flags
    whole = found.matrix @ np.diag([1 - 2.0 * found.flip_y, 1 - 2.0 * found.flip_x]) @ np.eye(2)[:: 1 - 2 * found.swap]
    np.testing.assert_allclose(whole, matrix, atol=0.035)
    assert found.gain < BETTER


@pytest.mark.slow
def test_exchanged_axes_are_found_though_the_middle_of_the_scan_is_vacuum():
    found = better_axes(scan_with(np.eye(2)[::-1], "grains"), "bilinear")
    assert (found.swap, found.flip_y, found.flip_x) == (True, False, False)


@pytest.mark.parametrize("image", ["weak", "grains"])
def test_frames_that_differ_tell_positions(image):
    scan = scan_with(np.eye(2), image)
    middle, place = np.median(scan.positions, axis=0), telling_middle(scan)
    assert (np.linalg.norm(place - middle) > 10) == (image == "grains")


@pytest.mark.slow
@pytest.mark.parametrize("image", ["weak", "grains", "phase"])
def test_right_axes_are_left_alone(image):
    assert better_axes(scan_with(np.eye(2), image), "bilinear") is None


def test_a_line_of_positions_has_no_map():
    scan = scan_with(np.eye(2))
    line = scan.positions.copy()
    line[:, 0] = 40
    assert better_axes(Scan(scan.counts, line, scan.probe), "bilinear") is None
    assert better_axes(scan.subset(slice(0, 5)), "bilinear") is None


def test_words_name_what_is_wrong_and_the_flags_that_mend_it():
    line = axes_in_words(Axes(True, True, False, np.eye(2), 0.1))
    assert "swapped, mirrored about" in line
    assert line.endswith("0.1 times the deviance; give --swap-xy --flip-y")
    line = axes_in_words(Axes(False, True, True, np.eye(2), 0.1))
    assert "turned by 180 degrees" in line
    assert "the same frames come of a conjugated probe" in line
    line = axes_in_words(Axes(False, False, False, 1.05 * turned(3.2), 0.8))
    assert "turned by 3.2 degrees (from x to y), scaled by 1.050 about" in line
    assert "correct the positions in the file" in line
    assert "--" not in line
