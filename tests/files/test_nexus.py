"""NeXus: the readers of silx and of the NeXus project find the plots of what is written."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from nexusformat.nexus import nxload
from silx.io import nxdata

from ptychopinn.files.formats import registry
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.files.reconstruction import write_reconstruction
from ptychopinn.files.record import Record
from ptychopinn.reconstruction import Reconstruction

SHAPE = (7, 9)
PIXEL = 1.5e-8


def image(**changes) -> Reconstruction:
    rng = np.random.default_rng(0)
    coverage = rng.uniform(1, 2, SHAPE).astype(np.float32)
    coverage[0, 0] = 0
    made = Reconstruction(
        object=(rng.standard_normal(SHAPE) + 1j * rng.standard_normal(SHAPE)).astype(np.complex64),
        origin=(-3, 12),
        coverage=coverage,
        positions=rng.random((5, 2)),
        pixel_size_m=PIXEL,
        amplitude_std=rng.random(SHAPE).astype(np.float32),
        phase_std=rng.random(SHAPE).astype(np.float32),
    )
    return replace(made, **changes)


def test_silx_shows_the_phase_with_its_axes_and_errors_at_once(tmp_path):
    result = image()
    path, _ = write_reconstruction(tmp_path, result)
    with h5py.File(path, "r") as file:
        plot = nxdata.get_default(file)
        assert plot is not None
        assert (plot.signal_dataset_name, plot.is_image, plot.axes_dataset_names) == ("phase", True, ["y", "x"])
        shown = plot.signal[()]
        assert np.isnan(shown[0, 0])
        np.testing.assert_allclose(shown.ravel()[1:], np.angle(result.object).ravel()[1:], rtol=1e-6)
        np.testing.assert_allclose(plot.errors[()], result.phase_std)
        y, x = plot.axes
        assert (y.attrs["units"], x.attrs["units"]) == ("m", "m")
        np.testing.assert_allclose(y[()], (np.arange(7) - 3) * PIXEL)
        np.testing.assert_allclose(x[()], (np.arange(9) + 12) * PIXEL)


@pytest.mark.parametrize("name", ["phase", "amplitude", "coverage"])
def test_every_plot_is_valid(tmp_path, name):
    path, _ = write_reconstruction(tmp_path, image())
    with h5py.File(path, "r") as file:
        plot = nxdata.NXdata(file[f"entry/{name}"])
        assert plot.is_valid, plot.issues
        assert plot.signal_dataset_name == name


def test_pixels_without_a_size_are_pixels_and_no_bars_are_made_up(tmp_path):
    path, _ = write_reconstruction(tmp_path, image(pixel_size_m=None, phase_std=None, amplitude_std=None))
    with h5py.File(path, "r") as file:
        plot = nxdata.get_default(file)
        assert plot.axes[0].attrs["units"] == "px"
        np.testing.assert_array_equal(plot.axes[1][()], np.arange(9) + 12)
        assert plot.errors is None


def test_nexusformat_reads_the_plot_and_what_made_it(tmp_path):
    result = image()
    path, _ = write_reconstruction(tmp_path, result, provenance='{"command": "refine"}')
    with nxload(str(path), "r") as root:
        plot = root.plottable_data
        assert plot.nxsignal.nxname == "phase"
        np.testing.assert_allclose(plot.nxerrors.nxvalue, result.phase_std)
        process = root["entry/process"]
        assert (process.nxclass, process["program"].nxvalue) == ("NXprocess", "ptychopinn")
        assert process["settings/data"].nxvalue == '{"command": "refine"}'


@pytest.mark.parametrize("with_frames", [True, False])
def test_written_cxi_shows_its_frames_or_its_image(tmp_path, with_frames):
    rng = np.random.default_rng(2)
    record = Record(
        "cxi",
        counts=rng.poisson(5, (6, 8, 8)).astype(np.uint16),
        positions=rng.uniform(4, 12, (6, 2)),
        probe=rng.standard_normal((1, 8, 8)).astype(np.complex64),
        object=rng.standard_normal((20, 20)).astype(np.complex64),
    )
    path, geometry = tmp_path / "scan.cxi", Geometry(dummy=True)
    registry.write(path, "cxi", registry.prepared(record, "cxi", geometry, with_frames=with_frames))
    with h5py.File(path, "r") as file:
        plot = nxdata.get_default(file)
        assert plot is not None
        assert plot.is_valid, plot.issues
        assert plot.signal.shape == ((6, 8, 8) if with_frames else (20, 20))
