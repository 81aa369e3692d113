"""The figures: what is drawn where, on which scale, and that the files are whole PNGs."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import imread
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.figures.history import draw_history, history_figure
from ptychopinn.figures.panels import save
from ptychopinn.figures.patterns import draw_patterns, patterns_figure
from ptychopinn.figures.probe import draw_probe, probe_figure
from ptychopinn.figures.reconstruction import draw_reconstruction, reconstruction_figure
from ptychopinn.figures.scan import draw_scan, parts_figure, scan_figure
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import curved_disc, normalise_probe, probe_intensity
from ptychopinn.scan.canvas import reframe
from ptychopinn.scan.coverage import light_on_canvas
from ptychopinn.scan.scan import Scan

N = 32


@pytest.fixture(scope="module")
def scan() -> Scan:
    """7 x 9 frames of an absorbing phase object, 1e5 photons, two modes."""
    rows, cols = torch.meshgrid(torch.arange(7), torch.arange(9), indexing="ij")
    positions = 20.3 + 4.0 * torch.stack([rows, cols], dim=-1).reshape(-1, 2).double()
    disc = curved_disc(N, 6.0, 1.0)
    probe = normalise_probe(torch.cat([disc, 0.5 * disc.roll(2, -1)]), 1e5)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(72.0), indexing="ij")
    wave = torch.sin(y / 5) * torch.cos(x / 4)
    image = torch.polar(0.9 + 0.05 * torch.cos(x / 3), 0.4 + 0.5 * wave)
    rate = diffract(probe, extract_patches(image, positions, N))
    counts = torch.poisson(rate, torch.Generator().manual_seed(1)).numpy().astype(np.uint16)
    return Scan(counts, positions.numpy(), probe.numpy(), object=image.numpy())


@pytest.fixture(scope="module")
def truth(scan: Scan) -> NDArray[np.complex64]:
    assert scan.object is not None
    return scan.object


@pytest.fixture(scope="module")
def coverage(scan: Scan, truth: NDArray[np.complex64]) -> NDArray[np.float64]:
    light = light_on_canvas(scan, probe_intensity(torch.from_numpy(scan.probe))).numpy()
    return reframe(light, scan.canvas_origin, (0, 0), truth.shape).real.astype(np.float64)


def panels(figure: Figure) -> dict[str, Axes]:
    """Panels by title, subfigures included."""
    parts = [figure, *figure.subfigs]
    return {axes.get_title(): axes for part in parts for axes in part.axes if axes.get_title()}


def data(axes: Axes) -> np.ma.MaskedArray:
    return np.ma.masked_invalid(np.ma.asarray(axes.images[0].get_array()))


def limits(axes: Axes) -> tuple[float, float]:
    return axes.images[0].get_clim()


def check_png(path: Path, least: tuple[int, int] = (300, 300)) -> None:
    picture = imread(path)
    assert picture.shape[0] >= least[0] and picture.shape[1] >= least[1] and max(picture.shape) < 4000
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture[..., :3].std() > 0.05
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "a temporary file was left"


def test_every_figure_is_a_whole_png(
    tmp_path: Path, scan: Scan, truth: NDArray[np.complex64], coverage: NDArray[np.float64]
) -> None:
    rate = diffract(torch.from_numpy(scan.probe), extract_patches(torch.from_numpy(truth), _places(scan), N)).numpy()
    history: dict[str, Sequence[float]] = {
        "epoch": [1, 2, 3],
        "train_loss": [3.0, 2.0, 1.0],
        "val_loss": [3.5, math.nan, 1.5],
    }
    draw_reconstruction(tmp_path / "a" / "f.png", truth, coverage, title="Object", pixel_size_m=1e-8)
    draw_reconstruction(tmp_path / "b" / "f.png", truth, coverage, truth=truth)
    draw_scan(tmp_path / "c" / "f.png", scan)
    draw_patterns(tmp_path / "d" / "f.png", scan.counts, rate)
    draw_history(tmp_path / "e" / "f.png", history)
    draw_probe(tmp_path / "f" / "f.png", scan.probe)
    for name in "abcdef":
        check_png(tmp_path / name / "f.png")


def _places(scan: Scan) -> torch.Tensor:
    return torch.from_numpy(scan.positions)


def test_drawing_leaves_no_global_state(tmp_path: Path, scan: Scan) -> None:
    import matplotlib
    from matplotlib import _pylab_helpers

    before = dict(matplotlib.rcParams)
    draw_probe(tmp_path / "probe.png", scan.probe)
    assert dict(matplotlib.rcParams) == before
    assert not _pylab_helpers.Gcf.figs


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


def testscan_figure_holds_all_panels(scan: Scan) -> None:
    shown = panels(scan_figure(scan))
    mean, typical, places, flux, *modes = shown
    assert mean == "Mean of 63 frames" and flux == "Photons per frame" and places == "63 positions on coverage"
    assert modes == ["Mode 1: 80.0 % of power", "Phase of mode 1", "Mode 2: 20.0 % of power", "Phase of mode 2"]
    np.testing.assert_allclose(data(shown[mean]), np.maximum(scan.counts.mean(axis=0), limits(shown[mean])[0]))
    assert isinstance(shown[mean].images[0].norm, LogNorm) and isinstance(shown[typical].images[0].norm, LogNorm)
    number = int(typical.split()[1].rstrip(":"))
    np.testing.assert_allclose(data(shown[typical]), np.maximum(scan.counts[number], 0.5))
    np.testing.assert_allclose(shown[places].collections[0].get_offsets(), scan.positions[:, ::-1])
    np.testing.assert_array_equal(shown[flux].lines[0].get_ydata(), scan.totals)


def test_positions_lie_where_the_coverage_is(scan: Scan) -> None:
    axes = panels(scan_figure(scan))["63 positions on coverage"]
    left, right, bottom, top = axes.images[0].get_extent()
    light = data(axes)
    rows, cols = np.indices(light.shape)
    middle = (rows * light).sum() / light.sum() + top + 0.5, (cols * light).sum() / light.sum() + left + 0.5
    np.testing.assert_allclose(middle, scan.positions.mean(axis=0), atol=0.5)
    assert bottom > top and right > left


def test_scan_with_bad_pixels_many_modes_and_wrong_units(tmp_path: Path, scan: Scan) -> None:
    good = np.ones((N, N), dtype=bool)
    good[16] = False
    probe = np.concatenate([scan.probe, 0.1 * scan.probe])
    odd = replace(scan, good_pixels=good, probe=probe, positions=scan.positions * 1e7, object=None)
    figure = scan_figure(odd)
    shown = panels(figure)
    assert data(shown["Mean of 63 frames"]).mask.sum() == N
    assert not shown["63 positions"].images and shown["63 positions"].yaxis_inverted()
    assert sum(title.startswith("Mode") for title in shown) == 3
    assert any("1 more mode" in part.get_suptitle() for part in figure.subfigs)
    draw_scan(tmp_path / "scan.png", odd)
    check_png(tmp_path / "scan.png")


def test_one_dark_frame_can_be_drawn(tmp_path: Path, scan: Scan) -> None:
    one = replace(scan.subset(slice(0, 1)), counts=np.zeros((1, N, N), dtype=np.uint16))
    draw_scan(tmp_path / "scan.png", one)
    check_png(tmp_path / "scan.png")


def test_patterns_share_one_scale_and_residuals_are_normalised(scan: Scan, truth: NDArray[np.complex64]) -> None:
    places = _places(scan)[:6]
    rate = diffract(torch.from_numpy(scan.probe), extract_patches(torch.from_numpy(truth), places, N)).numpy()
    measured = scan.counts[:6].astype(np.float64)
    measured[:, 3, 3] = np.nan
    grid = np.array(patterns_figure(measured, rate).axes).reshape(3, 4)
    assert len({limits(axes) for axes in grid[:2].flat}) == 1
    assert isinstance(grid[0, 0].images[0].norm, LogNorm)
    for axes, k, expected in zip(grid[2], measured, rate, strict=False):
        error = data(axes)
        np.testing.assert_allclose(error.filled(0), np.nan_to_num((k - expected) / np.sqrt(expected + 1)), rtol=1e-5)
        assert error.mask[3, 3] and error.mask.sum() == 1
        noise = np.sqrt((expected / (expected + 1)).mean())
        assert float(axes.get_title().split()[-1]) == pytest.approx(noise, rel=0.1), "only photon noise is left"
        assert limits(axes)[0] == -limits(axes)[1] <= -3


def test_patterns_of_different_shapes_are_refused(scan: Scan) -> None:
    with pytest.raises(PtychoError, match="equal"):
        patterns_figure(scan.counts[:2], scan.counts[:3])


def test_history_has_a_panel_per_quantity() -> None:
    epochs = range(1, 6)
    columns: dict[str, Sequence[float]] = {
        "epoch": list(epochs),
        "seconds": [2.0] * 5,
        "train_loss": [1 / n for n in epochs],
    }
    columns |= {"val_loss": [math.nan, 0.9, math.nan, 0.5, 0.4], "train_patch_error": [-0.1 * n for n in epochs]}
    loss, error = history_figure(columns).axes
    assert (loss.get_xlabel(), loss.get_ylabel(), loss.get_yscale()) == ("epoch", "loss", "log")
    training, validation = loss.lines
    assert (training.get_label(), validation.get_label()) == ("training", "validation")
    np.testing.assert_allclose(validation.get_xydata(), [[2, 0.9], [4, 0.5], [5, 0.4]])
    assert (error.get_ylabel(), error.get_yscale()) == ("patch error", "linear"), "values below 0 have no logarithm"


def test_history_of_an_engine_that_scores_between_epochs_runs_along_its_steps() -> None:
    (loss,) = history_figure({"step": [1, 2], "train_loss": [2.0, 1.0]}).axes
    assert loss.get_xlabel() == "step"


def test_history_without_losses_is_refused() -> None:
    with pytest.raises(PtychoError, match="columns epoch"):
        history_figure({"epoch": [1]})


def test_probe_titles_give_the_power_shares(scan: Scan) -> None:
    figure = probe_figure(scan.probe)
    shown = panels(figure)
    assert {"Mode 1: 80.0 % of power", "Mode 2: 20.0 % of power"} < set(shown)
    assert figure.get_suptitle().endswith("1.00e5 photons")
    np.testing.assert_allclose(data(shown["Mode 1: 80.0 % of power"]), abs(scan.probe[0]))
    assert data(shown["Phase of mode 1"]).mask[0, 0], "faint pixels have no phase"


def test_a_large_image_is_drawn_with_fewer_pixels_in_its_place(tmp_path):
    image = np.ones((40, 3300), dtype=np.complex64)
    figure = reconstruction_figure(image, np.ones(image.shape))
    shown = panels(figure)["Amplitude"].images[0]
    assert shown.get_array().shape == (14, 1100)
    assert shown.get_extent() == pytest.approx([-0.5, 3299.5, 39.5, -0.5])


@pytest.mark.parametrize("missing", ["frames", "positions", "image", "probe", "nothing"])
def test_parts_of_a_scan_are_drawn_without_the_rest(scan: Scan, missing: str) -> None:
    parts = {"frames": scan.counts, "positions": scan.positions, "image": scan.object, "probe": scan.probe}
    titles = {
        "frames": {"Mean of 63 frames"},
        "positions": {"63 positions"},
        "image": {"Object: amplitude", "Object: phase"},
        "probe": {"Mode 1: 80.0 % of power", "Phase of mode 1", "Mode 2: 20.0 % of power", "Phase of mode 2"},
    }
    shown = panels(parts_figure(*(None if name == missing else part for name, part in parts.items())))
    assert set(shown) == set().union(*(words for name, words in titles.items() if name != missing))
    if missing != "image":
        np.testing.assert_allclose(data(shown["Object: amplitude"]), abs(scan.object))
    if missing != "positions":
        np.testing.assert_array_equal(shown["63 positions"].collections[0].get_offsets(), scan.positions[:, ::-1])
        assert shown["63 positions"].yaxis_inverted()
