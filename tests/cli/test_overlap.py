"""``ptychopinn overlap`` as a user calls it, on small scans and on the real ones."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib.image import imread
from scipy.spatial.distance import cdist, pdist

from ptychopinn.api import read_scan, simulate
from ptychopinn.figures import panels
from ptychopinn.files.formats.npz import write_npz
from tests.cli.refusing import COUNT, SIZE, Words, assert_one_line, assert_refused, call, write_scan
from tests.helpers import DATA
from tests.journeys.test_fuzz import scan_files

pytestmark = pytest.mark.usefixtures("quick_pictures")

METRICS = ("metric_1_group", "metric_2_image", "metric_3_group_to_group")
BUNDLE = ["metrics_bundle.json", "provenance.json"]


def numbers(folder: Path, split: str) -> dict[str, Any]:
    return json.loads((folder / f"{split}_metrics.json").read_text())


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two scans: the two halves of one."""
    folder = tmp_path_factory.mktemp("halves")
    done = call(folder, "simulate scan.npz --N 32 --object-size 128 --probe-radius 5 --nphotons 1e4 --split y")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def work(halves: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(halves, tmp_path / "work"))


def test_every_split_gets_a_view_numbers_and_a_picture(work: Path) -> None:
    flags = "--overlap 0.75 --gridsize 2 --neighbor-count 7 --seed 123"
    done = call(work, f"overlap scan_train.npz scan_test.npz --out views {flags}")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == (
        "Views: views/scan_train.npz, views/scan_test.npz; views/metrics_bundle.json"
    )
    names = [f"scan_{side}{ending}" for side in ("test", "train") for ending in (".npz", ".png", "_metrics.json")]
    assert sorted(path.name for path in (work / "views").iterdir()) == sorted([*BUNDLE, *names])
    bundle = json.loads((work / "views/metrics_bundle.json").read_text())
    assert list(bundle["splits"]) == ["scan_train", "scan_test"]
    for split in bundle["splits"]:
        found = numbers(work / "views", split)
        assert found == bundle["splits"][split]
        whole, view = read_scan(work / f"{split}.npz"), read_scan(work / f"views/{split}.npz")
        assert pdist(view.positions).min() >= 8.0 == found["selection"]["spacing_threshold"]
        assert found["selection"]["n_accepted"] == len(view) < len(whole)
        assert found["selection"]["n_rejected"] == len(whole) - len(view)
        assert found["parameters"]["neighbor_count"] == found["scan"]["neighbor_count"] == 7
        assert found["parameters"]["probe_diameter_from"] == "FWHM of the probe"
        for metric in METRICS:
            assert 0 <= found["view"][metric]["mean"] < found["scan"][metric]["mean"] < 1
        assert imread(work / f"views/{split}.png").std() > 0.02
    record = json.loads((work / "views/provenance.json").read_text())
    assert (record["command"], record["settings"]["overlap"], record["sources"]["overlap"]) == ("overlap", 0.75, "flag")
    assert record["sources"]["overlap_neighbors"] == "default"


def test_a_view_carries_everything_that_its_frames_had(tmp_path: Path) -> None:
    whole = simulate(N=32, object_size=96, probe_radius=5, nphotons=1e4)
    mask = np.random.default_rng(0).random((32, 32)) < 0.05
    modes = np.concatenate([whole.probe, 0.3 * whole.probe[:, ::-1]])
    write_npz(tmp_path / "plain.npz", whole)
    with np.load(tmp_path / "plain.npz") as file:
        arrays = {**file, "bad_pixels": mask, "probeGuess": modes}
    arrays["_metadata"] = np.array(json.dumps({"measurement": "counts", "pixel_size_m": 2e-8}))
    np.savez(tmp_path / "scan.npz", **arrays)
    assert call(tmp_path, "overlap scan.npz --out views --overlap 0.8 --s-img 60 --subsample-seed 4").exit_code == 0
    scan, view = read_scan(tmp_path / "scan.npz"), read_scan(tmp_path / "views/scan.npz")
    with np.load(tmp_path / "views/scan.npz") as file:
        frames = file["frame_numbers"]
        assert file["diffraction"].dtype == np.uint16
    assert 1 < len(frames) < 60
    np.testing.assert_array_equal(view.counts, scan.counts[frames])
    np.testing.assert_array_equal(view.positions, scan.positions[frames])
    for name in ("probe", "object", "good_pixels"):
        np.testing.assert_array_equal(getattr(view, name), getattr(scan, name))
    assert view.pixel_size_m == 2e-8
    assert view.notes == ()


def test_subsampling_is_that_of_the_package_and_repeats(work: Path) -> None:
    views = {}
    for name, seed in (("first", 3), ("second", 3), ("third", 4)):
        done = call(work, f"overlap scan_test.npz --out {name} --s-img 40 --subsample-seed {seed}")
        assert done.exit_code == 0, done.output
        views[name] = (work / name / "scan_test.npz").read_bytes()
        assert numbers(work / name, "scan_test")["selection"]["selection_strategy"] == "all"
    assert views["first"] == views["second"] != views["third"]
    drawn = read_scan(work / "scan_test.npz", n_subsample=40, subsample_seed=3)
    np.testing.assert_array_equal(read_scan(work / "first/scan_test.npz").positions, drawn.positions)
    selection = numbers(work / "first", "scan_test")["selection"]
    assert (selection["n_subsampled"], selection["n_accepted"], selection["n_rejected"]) == (40, 40, 0)


def test_little_overlap_is_reported_and_not_refused(work: Path) -> None:
    flags = "--overlap 0 --gridsize 2 --neighbor-count 7 --probe-diameter-px 9"
    done = call(work, f"overlap scan_train.npz --out views {flags}")
    assert done.exit_code == 0, done.output
    found = numbers(work / "views", "scan_train")
    assert found["selection"]["selection_strategy"] == "greedy"
    assert found["selection"]["acceptance_rate"] < 0.1
    assert found["parameters"]["probe_diameter_px"] == 9.0
    assert found["parameters"]["probe_diameter_from"] == "probe_diameter_px"
    assert found["view"]["metric_2_image"]["mean"] == 0
    count = found["view"]["n_frames"]
    assert 1 < count == len(read_scan(work / "views/scan_train.npz")) < 8
    assert found["view"]["metric_1_group"] is found["view"]["metric_3_group_to_group"] is None
    (note,) = found["view"]["notes"]
    assert note == f"neighbor_count: 7 neighbours asked of a scan of {count} frames; at most {count - 1} are there."
    assert f"scan_train: view: {note}" in done.stdout.splitlines()


def test_an_older_result_is_replaced_when_asked_and_nothing_else(work: Path) -> None:
    assert call(work, "overlap scan_train.npz scan_test.npz --out views").exit_code == 0
    assert_refused(work, "overlap scan_test.npz --out views", ("views: is not empty", "--overwrite"))
    assert_refused(work, "overlap views/scan_test.npz --out views --overwrite", ("lies in views",))
    assert call(work, "overlap scan_test.npz --out views --overwrite --quiet").exit_code == 0
    names = ["scan_test.npz", "scan_test.png", "scan_test_metrics.json"]
    assert sorted(path.name for path in (work / "views").iterdir()) == sorted([*BUNDLE, *names])
    (work / "views/mine.npz").write_text("four years of work")
    words = ("ptychopinn did not write mine.npz",)
    assert_refused(work, "overlap scan_test.npz --out views --overwrite", words)


ONE_PLACE = {"xcoords": np.full(COUNT, 20.0), "ycoords": np.full(COUNT, 20.0)}
REFUSED: dict[str, tuple[str, Words]] = {
    "no scan": ("overlap --out out", ("scans",)),
    "no folder": ("overlap scan.npz", ("--out",)),
    "an absent scan": ("overlap scan.npz absent.npz --out out", ("absent.npz", "no such file")),
    "a text": ("overlap notes.txt --out out", ("notes.txt: is no readable NPZ file",)),
    "a scan without frames": ("overlap bare.npz --out out", ("bare.npz: neither diffraction nor diff3d",)),
    "one position": ("overlap single.npz --out out", ("single.npz: 9 frames at one position",)),
    "one frame of many": ("overlap scan.npz --out out --s-img 1", ("scan.npz: 1 frames at one position",)),
    "more frames than there are": (
        "overlap scan.npz --out out --s-img 10",
        ("scan.npz: n_subsample: 10 frames asked of a scan of 9",),
    ),
    "two of one name": ("overlap scan.npz empty/../scan.npz --out out", ("scan.npz: 2 files of this name",)),
    "complete overlap": ("overlap scan.npz --out out --overlap 1", ("overlap: 1.0 given", "less than 1")),
    "negative overlap": ("overlap scan.npz --out out --overlap -0.1", ("overlap: -0.1 given",)),
    "overlap that is no number": ("overlap scan.npz --out out --overlap nan", ("overlap: nan given",)),
    "no neighbours": ("overlap scan.npz --out out --overlap-neighbors 0", ("overlap_neighbors: 0 given",)),
    "a probe of no size": ("overlap scan.npz --out out --probe-diameter-px 0", ("probe_diameter_px: 0.0 given",)),
    "too few to choose from": (
        "overlap scan.npz --out out --gridsize 2 --neighbor-count 2",
        ("neighbor_count: 2 given", "at least 3 neighbours"),
    ),
    "a used folder": ("overlap scan.npz --out run", ("run: is not empty; give another --out.",)),
    "a folder of others": ("overlap scan.npz --out foreign --overwrite", ("foreign: was not written by ptychopinn",)),
    "a file for a folder": ("overlap scan.npz --out notes.txt", ("notes.txt: is a file",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_one_line(place: Path, name: str) -> None:
    write_scan(place / "bare.npz", diffraction=None)
    write_scan(place / "single.npz", **ONE_PLACE)
    assert_refused(place, *REFUSED[name])


@settings(max_examples=12)
@given(arrays=scan_files())
def test_any_arrays_are_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    np.savez(folder / "any.npz", **arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "DPI", 20)
        done = call(folder, f"overlap any.npz --out out --overlap {1 - 4 / SIZE} --gridsize 2")
    if done.exit_code == 0:
        assert done.stderr == ""
        assert len(read_scan(folder / "out/any.npz")) == numbers(folder / "out", "any")["view"]["n_frames"]
    else:
        assert_one_line(done)
        assert not (folder / "out").exists()


@cache
def counted_areas() -> tuple[np.ndarray, np.ndarray]:
    """Distances in diameters, and the shares of a disc's pixels that another disc at that distance covers too."""
    y, x = np.mgrid[-0.5:0.5:601j, -0.5:0.5:601j]
    first, shares = np.hypot(y, x) < 0.5, np.linspace(0, 1, 200)
    return shares, np.array([(np.hypot(y[first], x[first] - share) < 0.5).mean() for share in shares])


def half_maximum_width(probe: np.ndarray) -> float:
    """Diameter of the disc as large as the area above half the peak; the peak leaves out the brightest percent."""
    light = np.sort((abs(probe.astype(np.complex128)) ** 2).sum(axis=0).ravel())[::-1]
    lit = light[: np.searchsorted(light.cumsum(), 0.99 * light.sum()) + 1]
    return 2 * np.sqrt((light > np.quantile(lit, 0.99) / 2).sum() / np.pi)


def expected_means(positions: np.ndarray, diameter: float) -> list[float]:
    """The three metrics for groups of a frame and its three nearest, and six neighbours, by brute force."""
    apart = cdist(positions, positions)
    members = apart.argsort(axis=1)[:, :4]
    centres = positions[sorted({tuple(sorted(group)) for group in members}), :].mean(axis=1)
    nearest = [np.sort(cdist(places, places), axis=1)[:, 1:7] for places in (positions, centres)]
    seeds = np.take_along_axis(apart, members[:, 1:], axis=1)
    shares, areas = counted_areas()
    return [np.interp(distances / diameter, shares, areas, right=0.0).mean() for distances in (seeds, *nearest)]


@pytest.mark.skipif(not DATA.is_dir(), reason="the real scans are not here (PTYCHOPINN_DATA)")
@pytest.mark.parametrize("name", ["siemens_star", "run1084"])
def test_overlap_of_a_real_scan_is_what_brute_force_gives(tmp_path: Path, name: str) -> None:
    if name == "run1084":  # probe, object and positions are real, the file has no frames
        source = DATA / "run1084_object_probe_scan.npz"
        assert call(tmp_path, f"simulate run1084.npz --from {source}").exit_code == 0
    else:
        source = DATA / "siemens_star.npz"
        shutil.copy(source, tmp_path)
    done = call(tmp_path, f"overlap {name}.npz --out out --overlap 0.7 --gridsize 2 --neighbor-count 3")
    assert done.exit_code == 0, done.output
    found = numbers(tmp_path / "out", name)
    with np.load(source) as file:
        positions = np.stack([file["ycoords"], file["xcoords"]], axis=-1)
        probe = file["probeGuess"].reshape(-1, *file["probeGuess"].shape[-2:])
    diameter = found["parameters"]["probe_diameter_px"]
    assert diameter == pytest.approx(half_maximum_width(probe), rel=1e-6)
    view = read_scan(tmp_path / f"out/{name}.npz").positions
    assert pdist(view).min() >= 0.3 * probe.shape[-1] * (1 - 1e-15)
    assert (cdist(positions, view).min(axis=1) < 0.3 * probe.shape[-1]).sum() == len(positions)
    for part, places in (("scan", positions), ("view", view)):
        means = [found[part][metric]["mean"] for metric in METRICS]
        assert means == pytest.approx(expected_means(places, diameter), abs=2e-3)
    assert found["scan"]["metric_2_image"]["mean"] > 0.5
    assert found["view"]["metric_2_image"]["mean"] < 0.01
