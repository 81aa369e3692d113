"""Files of other programs as these write them, and pty-chi's own interface beside our ``baseline``."""

import numpy as np
import pytest
import torch

from ptychopinn.config import BaselineConfig, DataConfig
from ptychopinn.engines import ptychi
from ptychopinn.evaluation.metrics import score
from ptychopinn.files.formats import registry
from ptychopinn.files.formats.npz import record_of
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.files.reading import open_record
from tests import stem

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # other packages' business

WAVELENGTH_M, DISTANCE_M, PITCH_M = 1.5e-10, 0.7, 6e-5

BASES = {
    "usual": ((0, -1), (-1, 0), (0, 0)),
    "rows up": ((0, -1), (1, 0), (0, 0)),
    "columns right": ((0, 1), (-1, 0), (0, 0)),
    "exchanged": ((-1, 0), (0, -1), (0, 0)),
}
"""Columns: directions (x, y, z) along the rows and along the columns of the detector."""


@pytest.mark.parametrize("basis", BASES.values(), ids=BASES)
def test_cxi_of_cdtools_has_its_positions(cdtools, tmp_path, basis):
    """Ours are the pixels that cdtools works out itself, whichever way the detector's axes run."""
    from cdtools.tools.initializers import exit_wave_geometry
    from cdtools.tools.interactions import translations_to_pixel

    generator = np.random.default_rng(0)
    places = np.pad(generator.uniform(-1e-6, 1e-6, (9, 2)), ((0, 0), (0, 1)))
    geometry = {"distance": DISTANCE_M, "basis": torch.tensor(basis, dtype=torch.float32) * PITCH_M, "corner": None}
    frames = generator.poisson(5, (9, 32, 32)).astype(np.float32)
    dataset = cdtools.datasets.Ptycho2DDataset(
        places, frames, wavelength=WAVELENGTH_M, detector_geometry=geometry, mask=np.ones((32, 32), bool)
    )
    dataset.to_cxi(str(tmp_path / "a.cxi"))
    record = open_record(tmp_path / "a.cxi", DataConfig())
    waves = exit_wave_geometry(geometry["basis"], (32, 32), WAVELENGTH_M, DISTANCE_M)
    expected = translations_to_pixel(waves, torch.as_tensor(places, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(
        record.positions - record.positions[0], expected - expected[0], rtol=0, atol=1e-3 * np.abs(expected).max()
    )
    np.testing.assert_array_equal(np.asarray(record.counts), frames)


def test_cdtools_reads_our_cxi(cdtools, tiny_scan, tmp_path):
    given = Geometry(pixel_size=2.5e-8, energy_eV=8333.0, distance_m=0.8)
    registry.write(tmp_path / "a.cxi", "cxi", registry.prepared(record_of(tiny_scan), "cxi", given))
    dataset = cdtools.datasets.Ptycho2DDataset.from_cxi(str(tmp_path / "a.cxi"))
    from cdtools.tools.initializers import exit_wave_geometry
    from cdtools.tools.interactions import translations_to_pixel

    basis = exit_wave_geometry(dataset.detector_geometry["basis"], tiny_scan.counts.shape[1:], dataset.wavelength, 0.8)
    places = translations_to_pixel(basis, dataset.translations).numpy()
    ours = tiny_scan.positions
    np.testing.assert_allclose(places - places[0], ours - ours[0], rtol=0, atol=1e-2)


def test_ptyd_of_ptypy_has_its_positions(ptypy, tmp_path):
    """A scan of PtyPy's own class, prepared and saved by it."""
    from ptypy import utils as u
    from ptypy.core.data import PtyScan

    generator = np.random.default_rng(0)
    places, frames = generator.uniform(-1e-6, 1e-6, (9, 2)), generator.poisson(5, (9, 64, 64)).astype(np.float32)

    class Arrays(PtyScan):
        def load_positions(self):
            return places

        def load(self, indices):
            return {index: frames[index] for index in indices}, {}, {}

    said = {"shape": 64, "num_frames": 9, "energy": 8.0, "distance": 0.7, "psize": PITCH_M, "center": (32, 32)}
    scan = Arrays(u.Param(dfile=str(tmp_path / "a.ptyd"), save="append", auto_center=False, **said))
    scan.initialize()
    scan.auto(100)
    record = open_record(tmp_path / "a.ptyd", DataConfig())
    np.testing.assert_array_equal(np.asarray(record.counts), frames)
    moved = (record.positions - record.positions[0]) * np.array(record.pixel_m)
    np.testing.assert_allclose(moved, places - places[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(record.pixel_m, 1.239842e-6 / 8e3 * 0.7 / (64 * PITCH_M), rtol=1e-4)


def test_file_of_emdfile_is_a_datacube(emdfile, tmp_path):
    """The library that py4DSTEM writes with makes the layout, not we."""
    scan = stem.simulate(3, 5, dose=500)
    root = emdfile.Root("datacube_root")
    calibration = emdfile.Metadata("calibration")
    said = {"Q_pixel_size": 1.25, "Q_pixel_units": "mrad", "R_pixel_size": 0.7, "R_pixel_units": "A"}
    for key, value in (said | {"QR_rotation_degrees": 30.0, "QR_flip": True}).items():
        calibration[key] = value
    root.metadata = calibration
    cube = emdfile.Array(scan.frames, "datacube", dims=[0.7, 0.7, 1.25, 1.25], dim_units=["A", "A", "mrad", "mrad"])
    root.tree(cube)
    cube.tree(emdfile.Array(scan.probe[None], "probe"))
    emdfile.save(str(tmp_path / "a.h5"), root, mode="o")
    record = open_record(tmp_path / "a.h5", DataConfig(voltage=300.0))
    np.testing.assert_allclose(record.positions, stem.raster(3, 5, 30.0, True) + stem.N / 2, rtol=0, atol=2e-3)
    np.testing.assert_array_equal(record.probe, scan.probe[None])


def test_pty_chi_itself_finds_the_image_of_our_baseline(tiny_scan):
    """Its interface as its manual uses it, without our conversions; ours gives the same image."""
    from ptychi import api
    from ptychi.api.task import PtychographyTask

    epochs, scan = 30, tiny_scan
    ours = ptychi.reconstruct(scan, BaselineConfig(engine="lsqml", epochs=epochs))
    middle = (scan.positions.min(axis=0) + scan.positions.max(axis=0)) / 2
    places = torch.from_numpy(scan.positions - middle).float()
    size = int(np.ceil(np.ptp(scan.positions, axis=0).max())) + scan.N + 20
    options = api.LSQMLOptions()
    options.reconstructor_options.num_epochs = epochs
    options.reconstructor_options.batch_size = 10
    options.reconstructor_options.default_device = api.Devices.CPU
    options.reconstructor_options.rescale_probe_intensity_in_first_epoch = False
    options.probe_options.optimizable = False
    options.probe_options.orthogonalize_incoherent_modes.enabled = False
    options.object_options.remove_object_probe_ambiguity.enabled = False
    task = PtychographyTask(
        options,
        diffraction_data=scan.frames(slice(None)),
        object_data=torch.ones(1, size, size, dtype=torch.complex64),
        probe_data=torch.from_numpy(scan.probe)[None] / scan.N,
        probe_position_x_px=places[:, 1].clone(),
        probe_position_y_px=places[:, 0].clone(),
    )
    task.run()
    image = task.get_data_to_cpu("object", as_numpy=True)[0]
    # Its object is centred at the middle of the positions, to a pixel.
    box = scan.scan_box
    height, width = (part.stop - part.start for part in box)
    best = None
    truth = scan.object[box]
    for row in range(-2, 3):
        for column in range(-2, 3):
            low = (size - height) // 2 + row, (size - width) // 2 + column
            part = image[low[0] : low[0] + height, low[1] : low[1] + width]
            error = np.linalg.norm(part * np.vdot(part, truth) / np.vdot(part, part) - truth)
            best = error if best is None else min(best, error)
    found = ours.window(scan.object.shape)[box]
    own = np.linalg.norm(found * np.vdot(found, truth) / np.vdot(found, found) - truth)
    assert own < 1.1 * best
    assert score(found, truth).amplitude_mae < 0.1
