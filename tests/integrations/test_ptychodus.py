"""ptychodus 1.7 itself: it reads our products, we read its files, and it runs our reconstructor."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.api import infer, load_run, read_scan
from ptychopinn.files import reading
from ptychopinn.files.formats import registry
from ptychopinn.files.formats.npz import record_of, write_npz
from ptychopinn.files.geometry.pixels import Geometry

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # another package's business
]

PIXEL = 2.5e-8
GIVEN = Geometry(pixel_size=PIXEL, energy_eV=8333.0, distance_m=0.8)
OPTIONS = {"nepochs": 2, "n_filters_scale": 0.25, "stages": 1, "teacher_epochs": 1, "accelerator": "cpu"}


@pytest.fixture
def product(ptychodus, tiny_scan, tmp_path):
    """Our product of the tiny scan, and what ptychodus reads in it."""
    extra = {"loss_epochs": np.arange(3), "loss_values": np.array([3.0, 2.0, 1.5]), "mass_attenuation_m2_per_kg": 1.5}
    record = registry.prepared(replace(record_of(tiny_scan), extra=extra), "ptychodus-product", GIVEN)
    registry.write(tmp_path / "product.h5", "ptychodus-product", record)
    return ptychodus.load_product(tmp_path / "product.h5")


def input_of(product, scan, counts=None):
    from ptychodus.api.reconstruct import ReconstructInput

    good = np.ones(scan.counts.shape[1:], bool) if scan.good_pixels is None else scan.good_pixels
    return ReconstructInput(scan.counts if counts is None else counts, ~good, product)


def test_it_opens_our_product(product, tiny_scan):
    geometry = product.object_.get_geometry()
    height, width = tiny_scan.object.shape
    y = PIXEL * (tiny_scan.positions[:, 0] - height / 2)
    x = PIXEL * (tiny_scan.positions[:, 1] - width / 2)
    np.testing.assert_allclose(product.probe_positions.get_coordinates_y_m(), y, rtol=0, atol=1e-12)
    np.testing.assert_allclose(product.probe_positions.get_coordinates_x_m(), x, rtol=0, atol=1e-12)
    assert (geometry.center_x_m, geometry.center_y_m) == (0, 0)
    assert (geometry.pixel_width_m, geometry.pixel_height_m) == (PIXEL, PIXEL)
    np.testing.assert_array_equal(product.probes.get_probe_no_opr().get_array(), tiny_scan.probe)
    np.testing.assert_array_equal(product.object_.get_layer(0), tiny_scan.object)
    assert [(loss.epoch, loss.value) for loss in product.losses] == [(0, 3.0), (1, 2.0), (2, 1.5)]
    assert (product.metadata.photon_energy_eV, product.metadata.detector_distance_m) == (8333.0, 0.8)
    assert product.metadata.mass_attenuation_m2_per_kg == 1.5


def test_its_patches_are_our_patches(product, tiny_scan):
    """The same pixels of the object lie under each of its positions as under ours."""
    import torch
    from ptychodus.api.interpolate import BarycentricArrayInterpolator

    from ptychopinn.physics.patches import extract_patches

    geometry, size = product.object_.get_geometry(), tiny_scan.N
    theirs = BarycentricArrayInterpolator(product.object_.get_layer(0))
    inside = np.flatnonzero((tiny_scan.positions < np.array(tiny_scan.object.shape) - size / 2 - 1).all(axis=1))[::7]
    places = geometry.map_probe_positions_to_object_x_px(product.probe_positions)
    rows = geometry.map_probe_positions_to_object_y_px(product.probe_positions)
    ours = extract_patches(
        torch.from_numpy(tiny_scan.object), torch.from_numpy(tiny_scan.positions[inside]).float(), size
    ).numpy()
    for number, frame in enumerate(inside):
        np.testing.assert_allclose(theirs.get_patch(places[frame], rows[frame], size, size), ours[number], atol=1e-4)


def test_we_open_what_it_wrote(ptychodus, product, tiny_scan, tmp_path):
    ptychodus.save_product(tmp_path / "again.h5", product)
    record = reading.read(tmp_path / "again.h5")
    np.testing.assert_allclose(record.positions, tiny_scan.positions, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(record.probe, tiny_scan.probe)
    np.testing.assert_array_equal(record.object, tiny_scan.object)
    np.testing.assert_array_equal(record.extra["loss_values"], [3.0, 2.0, 1.5])
    parameters = input_of(product, tiny_scan)
    ptychodus.save_training_data(tmp_path / "training.h5", parameters)
    ptychodus.save_ptychopinn_training_data(tmp_path / "training.npz", parameters)
    for name in ("training.h5", "training.npz"):
        scan = read_scan(tmp_path / name)
        np.testing.assert_array_equal(scan.counts, tiny_scan.counts)
        np.testing.assert_allclose(scan.positions, tiny_scan.positions, rtol=0, atol=1e-9)


def test_it_reads_our_cxi_and_we_read_its(ptychodus, product, tiny_scan, tmp_path):
    from ptychodus.plugins.cxi_file import CXIDiffractionFileReader, CXIProductFileIO

    record = registry.prepared(record_of(tiny_scan), "cxi", GIVEN)
    registry.write(tmp_path / "ours.cxi", "cxi", record)
    frames = CXIDiffractionFileReader().read(tmp_path / "ours.cxi")
    np.testing.assert_array_equal(np.concatenate([part.get_patterns() for part in frames]), tiny_scan.counts)
    theirs = CXIProductFileIO().read(tmp_path / "ours.cxi")
    geometry = theirs.object_.get_geometry()
    y = geometry.map_probe_positions_to_object_y_px(theirs.probe_positions)
    np.testing.assert_allclose(y + 0.5, tiny_scan.positions[:, 0], rtol=0, atol=1e-9)
    CXIProductFileIO().write(tmp_path / "theirs.cxi", product)
    again = reading.read(tmp_path / "theirs.cxi")
    np.testing.assert_allclose(again.positions, tiny_scan.positions, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(again.object, tiny_scan.object)


def test_it_trains_saves_loads_and_reconstructs(product, tiny_scan, tmp_path):
    from ptychopinn.integrations.ptychodus import GOAL, reconstructor

    ours = reconstructor(OPTIONS)
    parameters = input_of(product, tiny_scan)
    ours.export_training_data(tmp_path / "train_data.npz", parameters)
    np.testing.assert_allclose(read_scan(tmp_path / "train_data.npz").positions, tiny_scan.positions, atol=1e-9)
    outputs = list(ours.train(tmp_path, tmp_path / "out"))
    progress = [output.progress for output in outputs]
    assert progress == sorted(progress)
    assert progress[-1] == GOAL
    assert [len(output.training_loss) for output in outputs] == [1, 2, 2]
    assert all(np.isfinite([loss.value for loss in outputs[-1].training_loss + outputs[-1].validation_loss]))
    assert ours.is_model_loaded()
    ours.save_model(tmp_path / "model.zip")

    fresh = reconstructor(OPTIONS)
    assert not fresh.is_model_loaded()
    fresh.load_model_from_file(tmp_path / "model.zip")
    *_, last = fresh.reconstruct(parameters)
    assert last.progress == GOAL == fresh.get_progress_goal()
    expected = infer(load_run(tmp_path / "model.zip"), tiny_scan, accelerator="cpu").window(tiny_scan.object.shape)
    covered = expected != 0
    np.testing.assert_allclose(last.product.object_.get_layer(0)[covered], expected[covered], atol=1e-3)
    assert last.product.object_.get_geometry() == product.object_.get_geometry()
    assert np.isfinite(last.product.losses[0].value)


def check_image(found, product, scan, error):
    """On the caller's grid, where the true object is; probes and positions as they were."""
    assert found.object_.get_geometry() == product.object_.get_geometry()
    box = scan.scan_box
    image, truth = found.object_.get_layer(0)[box], scan.object[box]
    image = image * np.vdot(image, truth) / np.vdot(image, image)  # one complex factor is free with the probe's unit
    assert np.abs(image - truth).mean() < error * np.abs(truth - truth.mean()).mean()


@pytest.mark.parametrize("power", [1.0, 1e-6], ids=["in photons", "in other units"])
def test_without_a_model_it_reconstructs_iteratively_on_the_same_grid(product, tiny_scan, power):
    from ptychodus.api.probe import ProbeSequence

    from ptychopinn.integrations.ptychodus import reconstructor

    probes = ProbeSequence(product.probes.get_array() * np.sqrt(power), None, product.probes.get_pixel_geometry())
    parameters = input_of(replace(product, probes=probes), tiny_scan)
    *_, last = reconstructor({"epochs": 60, "accelerator": "cpu", "subpixel": "bilinear"}).reconstruct(parameters)
    check_image(last.product, product, tiny_scan, 0.2)
    light = [np.sum(np.abs(one.get_probe_no_opr().get_array()) ** 2) for one in (last.product.probes, product.probes)]
    assert light[0] == pytest.approx(light[1], rel=0.2), "the probe of the image, in photons"
    assert last.product.losses[-1].value < last.product.losses[0].value


def test_refined_positions_and_probe_go_back_with_their_image(product, tiny_scan):
    from ptychodus.api.probe_positions import ProbePositionSequence

    from ptychopinn.integrations.ptychodus import reconstructor

    moves = np.random.default_rng(0).normal(size=tiny_scan.positions.shape) * 0.5
    places = [
        replace(place, x_m=place.x_m + x * PIXEL, y_m=place.y_m + y * PIXEL)
        for place, (y, x) in zip(product.probe_positions, moves.tolist(), strict=True)
    ]
    parameters = input_of(replace(product, probe_positions=ProbePositionSequence(places)), tiny_scan)
    wanted = {
        "epochs": 40,
        "accelerator": "cpu",
        "subpixel": "bilinear",
        "refine_positions": True,
        "refine_probe": True,
    }
    *_, last = reconstructor(wanted).reconstruct(parameters)
    found = last.product.probe_positions
    y = found.get_coordinates_y_m() / PIXEL + product.object_.get_geometry().height_px / 2 - tiny_scan.positions[:, 0]
    before = moves[:, 0]
    assert np.std(y) < 0.85 * np.std(before)
    assert [place.index for place in found] == [place.index for place in product.probe_positions]
    assert not np.array_equal(last.product.probes.get_array(), product.probes.get_array())


def test_what_it_asks_for_and_cannot_have_is_one_sentence(product, tiny_scan, tmp_path):
    from ptychopinn.errors import PtychoError
    from ptychopinn.integrations.ptychodus import reconstructor, training_file

    with pytest.raises(PtychoError, match="options: neighbors: not a setting"):
        reconstructor({"neighbors": 3})
    with pytest.raises(PtychoError, match="holds no training data"):
        training_file(tmp_path / "..") if not list((tmp_path / "..").glob("*.h5")) else training_file(Path("docs"))
    write_npz(tmp_path / "a.npz", tiny_scan)
    write_npz(tmp_path / "b.npz", tiny_scan)
    with pytest.raises(PtychoError, match="holds 2 files"):
        training_file(tmp_path)
