"""The figure of a reconstruction: what is drawn, on which scale, with which bars."""

import math
from pathlib import Path

import numpy as np
import pytest
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.figures.panels import save
from ptychopinn.figures.reconstruction import reconstruction_figure
from tests.figures.drawn import data, limits, panels


def test_reconstruction_is_cropped_and_uncovered_pixels_are_blank(
    truth: NDArray[np.complex64], coverage: NDArray[np.float64]
) -> None:
    shown = panels(reconstruction_figure(truth, coverage, title="Star"))
    assert list(shown) == ["Amplitude", "Phase"]
    amplitude = data(shown["Amplitude"])
    assert amplitude.shape < truth.shape and amplitude.mask.any() and not amplitude.mask.all()
    left, right, bottom, top = shown["Amplitude"].images[0].get_extent()
    rows, cols = slice(int(top + 0.5), int(bottom + 0.5)), slice(int(left + 0.5), int(right + 0.5))
    assert amplitude.shape == abs(truth[rows, cols]).shape
    np.testing.assert_allclose(amplitude.compressed(), abs(truth[rows, cols])[~amplitude.mask], rtol=1e-6)
    assert not amplitude.mask[amplitude.shape[0] // 2].all() and coverage[rows, cols][~amplitude.mask].min() > 0


def test_every_image_has_a_labelled_colour_bar_of_its_own_height(
    truth: NDArray[np.complex64], coverage: NDArray[np.float64]
) -> None:
    figure = reconstruction_figure(truth, coverage, title="Star", truth=truth)
    figure.draw_without_rendering()
    labels = []
    for axes in panels(figure).values():
        (bar,) = axes.child_axes
        labels.append(bar.get_ylabel())
        assert bar.get_window_extent().height == pytest.approx(axes.get_window_extent().height, rel=0.01)
    assert sorted(labels) == sorted(
        ["amplitude", "phase (rad)", "amplitude error"] + ["amplitude", "phase (rad)", "phase error (rad)"]
    )


@pytest.mark.parametrize("called", ["error bar", "spread of patches"])
def test_titles_of_bars_stay_below_the_panel_above(tmp_path: Path, called: str) -> None:
    draw = np.random.default_rng(0)
    image = np.exp(0.01j * draw.random((83, 83))).astype(np.complex64)
    bars = 0.0029 * draw.random(image.shape)
    figure = reconstruction_figure(image, np.ones(image.shape), bars=(bars, bars), bars_are=called)
    save(figure, tmp_path / "figure.png")
    for upper, lower in zip(figure.axes[:2], figure.axes[2:4], strict=True):
        assert lower.child_axes[0].yaxis.get_offset_text().get_text()
        assert lower.title.get_window_extent().y1 < upper.get_window_extent().y0


def test_phase_is_centred(truth: NDArray[np.complex64], coverage: NDArray[np.float64]) -> None:
    image = truth * np.exp(2.9j)
    shown = panels(reconstruction_figure(image, coverage))["Phase"]
    assert np.angle(np.exp(1j * data(shown).compressed()).mean()) == pytest.approx(0, abs=0.05)
    low, high = limits(shown)
    assert low == -high and abs(data(shown)).max() < high < math.pi
    assert not shown.images[0].get_cmap().name.startswith("twilight")


def test_strong_phase_takes_the_whole_circle(coverage: NDArray[np.float64]) -> None:
    y, x = np.mgrid[: coverage.shape[0], : coverage.shape[1]]
    shown = panels(reconstruction_figure(np.exp(0.3j * (x + y)), coverage))["Phase"]
    assert limits(shown) == (-math.pi, math.pi)
    assert shown.images[0].get_cmap().name.startswith("twilight")
    assert [text.get_text() for text in shown.child_axes[0].get_yticklabels()] == ["-π", "-π/2", "0", "π/2", "π"]


@pytest.mark.parametrize("factor", [np.exp(2.5j), 1.3 * np.exp(-1j), 1e4 + 0j])
def test_phase_offset_and_amplitude_factor_are_no_error(
    truth: NDArray[np.complex64], coverage: NDArray[np.float64], factor: complex
) -> None:
    figure = reconstruction_figure(factor * truth, coverage, truth=truth)
    shown = panels(figure)
    assert len(shown) == 6
    reconstructed = next(axes for title, axes in shown.items() if title.startswith("Reconstructed amplitude × "))
    assert float(reconstructed.get_title().split()[-1]) == pytest.approx(1 / abs(factor), rel=1e-3)
    np.testing.assert_allclose(data(reconstructed), data(shown["True amplitude"]), rtol=1e-5)
    np.testing.assert_allclose(data(shown["Reconstructed phase"]), data(shown["True phase"]), atol=1e-5)
    for title, axes in shown.items():
        if "error" in title:
            assert abs(data(axes)).max() < 1e-5
            assert limits(axes) == (-1e-3, 1e-3), "rounding must not look like structure"


def test_truth_and_reconstruction_share_their_scales_but_keep_their_differences(
    truth: NDArray[np.complex64], coverage: NDArray[np.float64]
) -> None:
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    bump = 0.2 * np.exp(-((y - 32) ** 2 + (x - 36) ** 2) / 20)
    shown = panels(reconstruction_figure(truth * np.exp(1j * bump), coverage, pixel_size_m=1e-8, truth=truth))
    titles = list(shown)
    assert limits(shown[titles[0]]) == limits(shown["True amplitude"])
    assert limits(shown["Reconstructed phase"]) == limits(shown["True phase"])
    phase_error = next(axes for title, axes in shown.items() if title.startswith("Phase error"))
    assert data(phase_error).max() == pytest.approx(0.2, abs=0.02)
    assert float(phase_error.get_title().split()[-2]) == pytest.approx(
        np.sqrt((data(phase_error) ** 2).mean()), rel=0.05
    )


def test_pixels_that_are_not_finite_stay_blank(truth: NDArray[np.complex64], coverage: NDArray[np.float64]) -> None:
    broken = truth.copy()
    broken[32, 36] = np.nan
    shown = panels(reconstruction_figure(broken, coverage, truth=truth))
    whole = panels(reconstruction_figure(truth, coverage, truth=truth))
    assert data(shown["True phase"]).mask.sum() == data(whole["True phase"]).mask.sum() + 1


@pytest.mark.parametrize(
    ("pixel", "text", "pixels"), [(1e-8, "100 nm", 10), (5.1e-8, "500 nm", 9.804), (2e-4, "2 mm", 10)]
)
def test_scale_bar_is_a_round_length(
    truth: NDArray[np.complex64], coverage: NDArray[np.float64], pixel: float, text: str, pixels: float
) -> None:
    axes = panels(reconstruction_figure(truth, coverage, pixel_size_m=pixel))["Amplitude"]
    (bar,) = [artist for artist in axes.artists if isinstance(artist, AnchoredSizeBar)]
    assert text == bar.txt_label.get_text()
    assert bar.size_bar.get_children()[0].get_width() == pytest.approx(pixels, rel=0.01)


def test_wrong_reconstructions_are_refused(truth: NDArray[np.complex64], coverage: NDArray[np.float64]) -> None:
    with pytest.raises(PtychoError, match="coverage: zero"):
        reconstruction_figure(truth, 0 * coverage)
    with pytest.raises(PtychoError, match=r"coverage: shape \(63, 72\)"):
        reconstruction_figure(truth, coverage[1:])
    with pytest.raises(PtychoError, match=r"truth: shape \(63, 72\)"):
        reconstruction_figure(truth, coverage, truth=truth[1:])


def test_a_large_image_is_drawn_with_fewer_pixels_in_its_place(tmp_path):
    image = np.ones((40, 3300), dtype=np.complex64)
    figure = reconstruction_figure(image, np.ones(image.shape))
    shown = panels(figure)["Amplitude"].images[0]
    assert shown.get_array().shape == (14, 1100)
    assert shown.get_extent() == pytest.approx([-0.5, 3299.5, 39.5, -0.5])
