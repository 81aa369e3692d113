"""``ptychodus --batch`` with our reconstructor on its standard folder, and the NPZ files that ptychodus writes."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.files import reading
from ptychopinn.files.formats import registry
from ptychopinn.files.formats.npz import record_of, write_npz
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.files.record import Reading
from ptychopinn.integrations.ptychodus import training_source

OPTIONS = {"nepochs": 2, "n_filters_scale": 0.25, "stages": 1, "teacher_epochs": 1, "accelerator": "cpu"}


@pytest.fixture
def folder(tiny_scan, tmp_path) -> Path:
    """``product.h5`` and ``diffraction.h5``, as ptychodus lays them out."""
    place = tmp_path / "in"
    place.mkdir()
    given = Geometry(pixel_size=2.5e-8, energy_eV=8333.0, distance_m=0.8)
    record = registry.prepared(record_of(tiny_scan), "ptychodus-product", given, with_frames=False)
    registry.write(place / "product.h5", "ptychodus-product", record)
    with h5py.File(place / "diffraction.h5", "w") as file:
        file["patterns"] = np.asarray(tiny_scan.counts)
        file["indexes"] = np.arange(len(tiny_scan))
        file["bad_pixels"] = np.zeros(tiny_scan.counts.shape[1:], bool)
        names = ("detector_pixel_height_m", "detector_pixel_width_m")
        file["patterns"].attrs.update(zip(names, record.detector_pixel_m, strict=True))
    return place


def test_product_goes_with_its_frames(folder, tiny_scan):
    assert training_source(folder) == (folder / "product.h5", str(folder / "diffraction.h5"))
    assert training_source(folder / "product.h5") == (folder / "product.h5", None)
    (folder / "fluorescence.h5").touch()
    assert training_source(folder)[0] == folder / "product.h5"
    write_npz(folder / "train_data.npz", tiny_scan)
    assert training_source(folder) == (folder / "train_data.npz", None)


def test_batch_training_reads_product_and_frames(folder, tiny_scan, tmp_path, monkeypatch):
    """The child process of a training, without ptychodus: its messages are let go."""
    from ptychopinn.integrations import ptychodus as adapter

    messages = []
    queue = type("Queue", (), {"put": staticmethod(messages.append)})
    monkeypatch.setattr(adapter, "_put_losses", lambda *arguments: None)
    payload = {"input_path": str(folder), "output_path": str(tmp_path / "out"), "options": OPTIONS}
    adapter.run_train(payload, queue)
    assert messages == [("model_saved", str(tmp_path / "out" / "ptychopinn" / "wts.h5.zip"))]
    assert Path(messages[0][1]).is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_batch_mode_of_ptychodus_trains_and_reconstructs(ptychodus, folder, tiny_scan, tmp_path, monkeypatch):
    """Its own ModelCore, one of its libraries exchanged for ours."""
    import ptychodus.model.core as core
    from ptychodus.api.reconstruct import ReconstructorLibrary

    from ptychopinn.integrations.ptychodus import reconstructor

    class Ours(ReconstructorLibrary):
        def __init__(self, *arguments: object) -> None:
            super().__init__("ours")
            self._ours = reconstructor(OPTIONS)

        @property
        def name(self) -> str:
            return "ours"

        def __iter__(self):
            return iter([self._ours])

    monkeypatch.setattr(core, "PtychoNNReconstructorLibrary", Ours)
    out, again = tmp_path / "out", tmp_path / "again"
    for action, place in (("train", out), ("reconstruct", again)):  # a process each on a command line
        with core.ModelCore() as model:
            model.processing_core.algorithm_parameter.set_value("ours_ptychopinn")
            assert model.batch_mode_execute(action, folder, place) == 0
        if action == "train":
            shutil.copy(out / "ptychopinn" / "wts.h5.zip", folder / "model.zip")
    last = sorted(again.glob("product*.h5"))[-1]  # it puts the progress into the names
    image, before = reading.read(last), reading.read(folder / "product.h5")
    np.testing.assert_allclose(image.positions, before.positions, rtol=0, atol=1e-6)
    assert image.object.shape == before.object.shape
    assert not np.array_equal(image.object, before.object)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_npz_product_is_read_as_its_hdf5_one(ptychodus, folder, tmp_path):
    from ptychodus.plugins.npz_product_file import NPZProductFileIO

    NPZProductFileIO().write(tmp_path / "product.npz", ptychodus.load_product(folder / "product.h5"))
    ours, theirs = reading.read(folder / "product.h5"), reading.read(tmp_path / "product.npz")
    np.testing.assert_allclose(theirs.positions, ours.positions, rtol=0, atol=1e-9)
    for part in ("probe", "object"):
        np.testing.assert_array_equal(getattr(theirs, part), getattr(ours, part))
    assert (theirs.energy_eV, theirs.distance_m, theirs.pixel_m) == (ours.energy_eV, ours.distance_m, ours.pixel_m)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_npz_frames_go_with_a_product(ptychodus, folder, tiny_scan, tmp_path):
    from ptychodus.plugins.h5_diffraction_file import H5DiffractionFileReader
    from ptychodus.plugins.npz_diffraction_file import NPZDiffractionFileIO

    NPZDiffractionFileIO().write(
        tmp_path / "frames.npz", H5DiffractionFileReader("/patterns").read(folder / "diffraction.h5")
    )
    record = reading.read(folder / "product.h5", Reading(frames=tmp_path / "frames.npz"))
    np.testing.assert_array_equal(record.counts, tiny_scan.counts)
