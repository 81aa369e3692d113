"""The five functions: they are the library with settings as keywords, and importing them costs nothing."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

import ptychopinn
from ptychopinn import api
from ptychopinn.config import DataConfig
from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.evaluation import metrics
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.files.growing.reader import open_growing
from tests.helpers import read_npz

TINY = {
    "nepochs": 1,
    "teacher_epochs": 1,
    "stages": 1,
    "n_filters_scale": 0.25,
    "synthetic_fraction": 0,
    "accelerator": "cpu",
}
SMALL = {"N": 16, "object_size": 48, "probe_radius": 4, "step": 6}


@pytest.fixture(scope="module")
def scan_file(tiny_scan, tmp_path_factory):
    path = tmp_path_factory.mktemp("api") / "scan.npz"
    write_npz(path, tiny_scan)
    return path


def test_read_scan_reads_thins_moves_and_crops_in_this_order(scan_file, tiny_scan):
    assert len(api.read_scan(str(scan_file))) == len(tiny_scan)
    scan = api.read_scan(scan_file, every=3, swap_xy=True, flip_x=True, crop=16)
    expected = read_npz(scan_file).subset(slice(None, None, 3)).move(swap_xy=True, flip_x=True).crop(16)
    for name in ("counts", "positions", "probe", "notes"):
        np.testing.assert_array_equal(getattr(scan, name), getattr(expected, name))
    assert len(scan.notes) == 2


def test_subsampling_draws_frames_by_its_own_seed(scan_file, tiny_scan):
    def numbers(**settings):
        scan = api.read_scan(scan_file, n_subsample=20, **settings)
        np.testing.assert_array_equal(scan.counts, tiny_scan.counts[scan.numbers])
        return scan.numbers.tolist()

    assert numbers(sequential_sampling=True) == list(range(20))
    assert numbers() == numbers(subsample_seed=0) == sorted(set(numbers()))
    assert numbers(subsample_seed=1) != numbers() != list(range(20))
    assert set(api.read_scan(scan_file, every=2, n_subsample=9).numbers) < set(range(0, 64, 2))
    with pytest.raises(PtychoError, match="n_subsample: 65 frames asked of a scan of 64"):
        api.read_scan(scan_file, n_subsample=65)


def test_the_probe_can_be_cut(scan_file, tiny_scan):
    whole, half = (api.read_scan(scan_file, probe_mask=True, probe_mask_diameter=d) for d in (None, 8.0))
    for scan, diameter in ((whole, 16), (half, 8)):
        y, x = np.mgrid[:32, :32] - 15.5
        outside = np.hypot(y, x) > diameter / 2 + 6
        assert abs(scan.probe[0, outside]).max() < 0.01 * abs(tiny_scan.probe).max()
        assert "Probe cut with a disc" in scan.notes[-1]
    assert (
        (abs(half.probe) ** 2).sum() < 0.6 * (abs(whole.probe) ** 2).sum() < 0.999 * (abs(tiny_scan.probe) ** 2).sum()
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda scan, run: api.train("scan.npz"), "scan: str given; a Scan from read_scan or simulate is needed"),
        (lambda scan, run: api.infer("run", scan), "run: str given; a Run from train or load_run is needed"),
        (lambda scan, run: api.infer(run, scan.counts), "scan: ndarray given; a Scan"),
        (lambda scan, run: api.infer(run, scan, nepochs=3), "nepochs: has no effect here"),
        (lambda scan, run: api.read_scan("scan.npz", nepochs=3), "nepochs: has no effect here"),
        (lambda scan, run: api.train(scan, crop=16), "crop: has no effect here; give it to read_scan"),
        (lambda scan, run: api.train(scan, devices=2), "devices: several train together from the command line"),
        (lambda scan, run: api.train(scan, object_size=64), "object_size: has no effect here"),
    ],
)
def test_wrong_arguments_are_named(tiny_scan, tiny_run, call, words):
    with pytest.raises(PtychoError, match=words):
        call(tiny_scan, tiny_run)


def test_read_scan_passes_on_what_the_frames_hold(scan_file, tiny_scan, tmp_path):
    with np.load(scan_file) as file:
        arrays = {key: file[key] for key in file.files if key != "_metadata"}
    path = tmp_path / "amplitudes.npz"
    np.savez(path, **{**arrays, "diffraction": np.sqrt(arrays["diffraction"])})
    assert api.read_scan(path, nphotons=500).photons == pytest.approx(500, rel=1e-4)
    amplitude, counts = (api.read_scan(path, measurement=kind).photons for kind in ("amplitude", "counts"))
    assert amplitude == pytest.approx(tiny_scan.photons, rel=1e-4)
    assert counts < amplitude


@pytest.mark.parametrize("kind", ["siemens", "lines"])
def test_simulate_takes_its_settings_by_name(kind):
    scan = api.simulate(**SMALL, object=kind, nphotons=1e4, seed=3)
    assert scan.counts.shape == (len(scan), 16, 16)
    assert scan.object.shape == (48, 48)
    assert scan.photons == pytest.approx(1e4, rel=0.02)
    np.testing.assert_array_equal(scan.counts, api.simulate(**SMALL, object=kind, nphotons=1e4, seed=3).counts)
    assert api.simulate(**SMALL, object=kind, seed=3).photons > 30 * scan.photons


def test_simulate_uses_what_a_file_holds(scan_file, tiny_scan, tmp_path):
    again = api.simulate(scan_file, nphotons=1e5)
    np.testing.assert_array_equal(again.positions, tiny_scan.positions)
    np.testing.assert_array_equal(again.object, tiny_scan.object)
    np.testing.assert_allclose(again.probe, tiny_scan.probe, rtol=1e-5)
    assert again.photons == pytest.approx(tiny_scan.photons, rel=1e-2)
    np.savez(tmp_path / "object.npz", objectGuess=0.5 * np.ones((60, 50)))
    rest = {name: value for name, value in SMALL.items() if name not in ("object", "object_size")}
    grey = api.simulate(tmp_path / "object.npz", **rest, nphotons=1e4)
    assert grey.object.shape == (60, 50)
    assert grey.photons == pytest.approx(1e4, rel=0.05)
    assert (np.abs(grey.probe) ** 2).sum() == pytest.approx(4e4, rel=1e-5)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"other": np.ones(3)}, "holds none of objectGuess, probeGuess, xcoords and ycoords"),
        ({"objectGuess": np.ones((1, 60, 60))}, "object: shape"),
        ({"probeGuess": np.zeros((16, 16))}, "probe: is zero everywhere"),
    ],
)
def test_simulate_refuses_a_file_that_is_no_start(tmp_path, arrays, words):
    path = tmp_path / "start.npz"
    np.savez(path, **arrays)
    with pytest.raises(PtychoError) as error:
        api.simulate(path, **SMALL)
    assert str(error.value).startswith(f"{path}: {words}")


@pytest.fixture(scope="module")
def trained(tiny_scan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, api.train(tiny_scan, folder, **TINY)


def test_a_saved_run_makes_the_same_image(trained, tiny_scan):
    folder, run = trained
    image = api.infer(run, tiny_scan, accelerator="cpu")
    assert json.loads((folder / "provenance.json").read_text())["settings"]["n_groups"] == 61
    assert set(run.held_out) < set(run.frames) == set(range(64))
    for path in (folder, str(folder), folder / "wts.h5.zip"):
        loaded = api.load_run(path)
        assert loaded.settings == run.settings
        assert loaded.history == run.history
        again = api.infer(loaded, tiny_scan, accelerator="cpu", inference_batch_size=7)
        np.testing.assert_allclose(again.object, image.object, atol=1e-4)
        assert again.origin == image.origin
    assert run.settings.training.nepochs == len(run.history) == 1


def test_an_image_lies_under_its_scan(tiny_run, tiny_scan):
    image = api.infer(tiny_run, tiny_scan, accelerator="cpu")
    assert isinstance(image, ptychopinn.Reconstruction)
    box = tiny_scan.scan_box
    found, truth = image.window(tiny_scan.object.shape)[box], tiny_scan.object[box]
    # The image belongs where it says it lies: moved by some pixels it would fit worse.
    assert metrics.score(found, truth).complex_error < metrics.score(found, np.roll(truth, 3, axis=1)).complex_error
    np.testing.assert_array_equal(image.positions, tiny_scan.positions)
    assert np.isfinite(image.deviance)


def test_training_without_a_folder_writes_nothing(tiny_scan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = api.train(tiny_scan.subset(slice(0, 20)), **TINY)
    assert list(tmp_path.iterdir()) == []
    assert not run.model.training


@pytest.mark.parametrize(
    "call",
    [
        lambda scan: api.read_scan("absent.npz", corp=32),
        lambda scan: api.simulate(corp=32),
        lambda scan: api.train(scan, corp=32),
        lambda scan: api.infer(None, scan, corp=32),
    ],
    ids=["read_scan", "simulate", "train", "infer"],
)
def test_an_unknown_keyword_is_refused_before_anything_else(call, tiny_scan):
    with pytest.raises(PtychoError, match=r"corp: not a setting\. Did you mean 'crop'\?"):
        call(tiny_scan)


@pytest.mark.parametrize("call", [api.read_scan, api.simulate, api.load_run])
def test_an_absent_file_is_refused_by_name(call, tmp_path):
    with pytest.raises(PtychoError, match=r"absent\.npz: no such file"):
        call(tmp_path / "absent.npz")


LAZY = """
import sys, ptychopinn
assert dir(ptychopinn) == ptychopinn.__all__
heavy = {"torch", "lightning", "numpy", "matplotlib", "h5py"} & set(sys.modules)
assert not heavy, heavy
try:
    ptychopinn.absent
except AttributeError as error:
    assert "absent" in str(error)
else:
    raise AssertionError
"""


def test_importing_the_package_loads_nothing_heavy():
    subprocess.run([sys.executable, "-c", LAZY], check=True, timeout=60)


@pytest.mark.parametrize("name", ptychopinn.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ptychopinn, name).__name__ == name


def test_training_replaces_nothing(tiny_scan, tmp_path):
    (tmp_path / "wts.h5.zip").write_text("an earlier run")
    with pytest.raises(PtychoError, match="is not empty"):
        ptychopinn.train(tiny_scan, out=tmp_path, nepochs=1)
    assert (tmp_path / "wts.h5.zip").read_text() == "an earlier run"


def test_only_training_waits_for_lightning():
    modules = "sys, ptychopinn.cli.commands.infer, ptychopinn.cli.commands.inspect, ptychopinn.commands.compare"
    code = f"import {modules}; print('lightning' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
    assert ran.stdout.strip() == "False"


def growing_file(folder, tiny_scan, frames, x, y):
    """A file that a map describes, with what a detector appended so far; an object pixel is 10 nm."""
    positions, pixel = {"x": "x", "y": "y", "unit": "nm"}, {"value": 1e-8}
    layout = {"frames": {"dataset": "frames"}, "positions": positions, "probe": "probe", "pixel_size": pixel}
    (folder / "map.json").write_text(json.dumps(layout))
    with h5py.File(folder / "growing.h5", "w") as file:
        file["frames"], file["probe"] = tiny_scan.counts[:frames], tiny_scan.probe
        file["x"], file["y"] = 10 * np.asarray(x, dtype=float), 10 * np.asarray(y, dtype=float)
    return folder / "growing.h5", DataConfig(map=str(folder / "map.json"))


@pytest.mark.parametrize(
    ("frames", "x", "y", "usable", "wrong"),
    [
        pytest.param(6, range(6), range(6), range(6), {}, id="complete"),
        pytest.param(6, range(6), range(4), range(4), {}, id="x before y"),
        pytest.param(4, [*range(4), *[np.nan] * 4], range(8), range(4), {}, id="filled with NaN in advance"),
        pytest.param(6, [*range(4), 0, 0], [*range(4), 0, 0], range(4), {4: "NaN, not written", 5: "NaN"}, id="room"),
        pytest.param(6, [*range(4), np.nan, 5], range(6), [0, 1, 2, 3, 5], {4: "frame 4: positions: NaN"}, id="NaN"),
        pytest.param(6, range(6), [0, -1, -2, -1e30, -4, -5], [0, 1, 2, 4, 5], {3: "too large"}, id="far"),
        pytest.param(6, range(6), [0, 1, 2, -9e8, 4, 5], [0, 1, 2, 4, 5], {3: "9.00e8 px away"}, id="wide"),
        pytest.param(9, range(9), [0, 1, 2, 5e3, 4, 5, 6, 7, 8], [0, 1, 2, *range(4, 9)], {3: "px away"}, id="wild"),
    ],
)
def test_a_growing_scan_is_read_where_it_can_be_used(tmp_path, tiny_scan, frames, x, y, usable, wrong):
    path, data = growing_file(tmp_path, tiny_scan, frames, x, y)
    scan, left, room = open_growing(path, data)
    assert (scan.numbers.tolist(), room) == (list(usable), 0)
    moves = np.stack([np.asarray(y, float)[scan.numbers], np.asarray(x, float)[scan.numbers]], axis=-1)
    np.testing.assert_allclose(scan.positions - scan.positions[0], moves - moves[0], atol=1e-6)
    np.testing.assert_array_equal(scan.counts[:], tiny_scan.counts[scan.numbers])  # whole numbers are counts
    assert left.keys() == wrong.keys()
    assert all(words in left[number] for number, words in wrong.items())


def test_a_growing_scan_needs_a_first_frame_that_can_be_used(tmp_path, tiny_scan):
    for x, y, words in (
        ([np.nan, np.nan], [0, 1], "growing.h5: positions: frame 0 has a position that is not a finite number"),
        ([], [0], "growing.h5: positions: x, y: no entries"),
    ):
        with pytest.raises(PtychoError, match=words):
            open_growing(*growing_file(tmp_path, tiny_scan, 2, x, y))


def test_what_no_further_frame_cures_is_told_from_the_rest(tmp_path, tiny_scan):
    path, data = growing_file(tmp_path, tiny_scan, 2, range(2), range(2))
    with pytest.raises(IncurableError, match=r"growing.h5: crop: 48 given"):
        open_growing(path, data.model_copy(update={"crop": 48}))
    with h5py.File(path, "r+") as file:
        del file["probe"]
        with pytest.raises(PtychoError, match="probe") as missing:
            open_growing(path, data)
        assert not isinstance(missing.value, IncurableError)
        file["probe"] = tiny_scan.probe[:, 1:, 1:]
    with pytest.raises(IncurableError, match=r"growing.h5: probe: shape \(1, 31, 31\)"):
        open_growing(path, data)
