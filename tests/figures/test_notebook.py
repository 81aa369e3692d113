"""What shows itself in a notebook says what it holds, and quotes it."""

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

import ptychopinn
from ptychopinn.figures.notebook import Drawn
from ptychopinn.reconstruction import Reconstruction


def image(**more) -> Reconstruction:
    y, x = np.indices((40, 60))
    light = ((y > 4) & (x > 6)).astype(np.float32) * 100
    values = {
        "object": np.exp(0.3j * (x > 30)).astype(np.complex64) * (light > 0),
        "origin": (-3, 5),
        "coverage": light,
        "positions": np.array([[10.0, 20.0], [12.0, 25.0]]),
        "pixel_size_m": 2e-8,
        "amplitude_std": np.full((40, 60), 0.02, np.float32),
        "phase_std": np.full((40, 60), 0.03, np.float32),
        "std_of": "counts",
        "deviance": 1.02,
        "expected_deviance": 1.0,
    }
    return Reconstruction(**values | more)


def test_an_image_shows_its_numbers_and_two_pictures():
    text = image()._repr_html_()
    for words in ("40 x 60 pixels of 20.0 nm", "1.02 (noise alone 1.00)", "0.0300 rad"):
        assert words in text
    assert text.count('src="data:image/png;base64,') == 2
    assert "unknown" in image(deviance=float("nan"))._repr_html_()
    assert "src=" not in image(coverage=np.zeros((40, 60), np.float32))._repr_html_()


def test_a_scan_shows_itself_without_a_look_at_its_frames(tiny_scan):
    class Closed(np.ndarray):
        def __getitem__(self, index):
            raise AssertionError("a frame was read")

    scan = replace(tiny_scan, notes=("<b>assumed</b>",))
    object.__setattr__(scan, "counts", scan.counts.view(Closed))
    text = scan._repr_html_()
    assert "64 of 32 x 32 pixels" in text
    assert "&lt;b&gt;assumed" in text


def test_a_run_shows_its_losses(tiny_run):
    text = tiny_run._repr_html_()
    assert "train loss" in text
    assert 'alt="Losses"' in text
    assert "Losses" not in replace(tiny_run, history=())._repr_html_()


def test_plots_are_pictures_and_figures(tiny_scan, tiny_run):
    for value in (image(), tiny_scan, tiny_run, replace(tiny_run, history=())):
        drawn = value.plot()
        assert isinstance(drawn, Drawn)
        assert imread(io.BytesIO(drawn._repr_png_()), format="png")[..., :3].std() > 0.02
        assert drawn.figure.axes


def test_xarray_has_units_errors_and_places():
    pytest.importorskip("xarray")
    data = image().to_xarray()
    assert data.phase.attrs["units"] == "rad"
    assert data.x.attrs["units"] == "m"
    at = data.sel(x=(5 + 40) * 2e-8, y=(-3 + 20) * 2e-8, method="nearest")
    assert float(at.phase) == pytest.approx(0.3)
    assert float(at.phase_std) == pytest.approx(0.03)
    assert np.isnan(data.amplitude[0, 0])
    assert "phase_std" not in image(phase_std=None).to_xarray()
    assert image(pixel_size_m=None).to_xarray().y.attrs["units"] == "px"
    assert float(image(pixel_size_m=None).to_xarray().y[0]) == -3


def test_the_public_names_read_what_a_command_wrote(tmp_path):
    from ptychopinn.files.reconstruction import write_reconstruction

    write_reconstruction(tmp_path, image(), np.ones((1, 8, 8), np.complex64))
    np.testing.assert_allclose(ptychopinn.read_reconstruction(tmp_path).phase_std, 0.03)
