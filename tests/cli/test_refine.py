"""``ptychopinn refine``, ``infer --refine`` and ``baseline --engine native`` as a user calls them."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.files.replacing import holding
from tests.cli.refusing import Words, assert_refused, call, contents, scan_arrays, write_scan

pytestmark = pytest.mark.usefixtures("quick_pictures")


@pytest.fixture
def scan(place: Path) -> Path:
    """A scan with a truth, 64 frames of 32 x 32 pixels."""
    line = "simulate star.npz --N 32 --object-size 80 --probe-radius 7 --step 6 --nphotons 1e5"
    assert call(place, line).exit_code == 0
    return place


def test_refine_fills_a_folder_with_error_bars(scan: Path) -> None:
    done = call(scan, "refine star.npz --out out --epochs 20 --seed 4")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    lines = done.stdout.splitlines()
    assert "projections 1: " in done.stdout
    assert any(
        line.startswith("ended after ") and line.endswith("does not fit in the epochs asked for (20)") for line in lines
    )
    assert lines[-1] == "Image: out/reconstruction.h5 and out/reconstruction.png"
    names = {path.name for path in (scan / "out").iterdir()}
    pictures = {"reconstruction.png", "patterns.png", "frames.png", "frames.csv", "loss.png", "probe.png"}
    assert names == {"provenance.json", "reconstruction.h5", "reconstruction.npz", "loss.csv", *pictures}
    record = json.loads((scan / "out/provenance.json").read_text())
    assert record["command"] == "refine"
    assert (record["settings"]["engine"], record["settings"]["epochs"], record["settings"]["seed"]) == ("native", 20, 4)
    assert record["settings"]["subpixel"] == "fourier"
    assert (scan / "out/loss.csv").read_text().startswith("step,loss\n1,")
    with np.load(scan / "out/reconstruction.npz") as npz, h5py.File(scan / "out/reconstruction.h5") as h5:
        for name in ("amplitude_std", "phase_std"):
            assert np.array_equal(npz[name], h5[name][()], equal_nan=True)
            lit = npz["coverage"] > 0.1 * npz["coverage"].max()
            assert (npz[name][lit] > 0).all()
            assert np.median(npz[name][lit]) < 0.5
        assert h5.attrs["subpixel"] == "fourier"


def test_it_goes_on_from_a_file_and_stops_in_time(scan: Path) -> None:
    assert call(scan, "baseline star.npz --out first --epochs 5 --engine native --quiet").exit_code == 0
    done = call(scan, "refine star.npz --init first --out second --max-seconds 0.001 --set error_draws=0")
    assert done.exit_code == 0, done.output
    assert ": the time is over" in done.stdout
    second = read_reconstruction(scan / "second")
    assert second.phase_std is None
    assert json.loads((scan / "second/provenance.json").read_text())["init"] == "first"
    done = call(scan, "refine star.npz --init second --out third --epochs 10 --refine-probe --subpixel bilinear")
    assert done.exit_code == 0, done.output
    assert "power of the probe modes: 100.0%" in done.stdout
    third = read_reconstruction(scan / "third")
    assert third.subpixel == "bilinear"
    assert third.probe is not None


def test_a_fit_that_misses_the_counts_says_so(scan: Path) -> None:
    with np.load(scan / "star.npz") as file:
        arrays = dict(file)
    rows, cols = np.mgrid[-16:16, -16:16]
    arrays["probeGuess"] = arrays["probeGuess"] * np.exp(0.03j * (rows**2 + cols**2))
    np.savez(scan / "wrong.npz", **arrays)
    for name, expected in (("star", False), ("wrong", True)):
        done = call(scan, f"refine {name}.npz --out {name} --epochs 60 --refine-positions --set error_draws=0")
        assert done.exit_code == 0, done.output
        assert ("a step to another probe would explain" in done.stdout) == expected, done.output
    assert "(try --refine-probe); no error bar" in done.stdout


def test_every_command_is_the_same_engine(scan: Path) -> None:
    assert call(scan, "refine star.npz --out one --epochs 9 --quiet").exit_code == 0
    assert call(scan, "baseline star.npz --engine native --out two --epochs 9 --quiet").exit_code == 0
    one, two = read_reconstruction(scan / "one"), read_reconstruction(scan / "two")
    assert np.array_equal(one.object, two.object)
    assert np.array_equal(one.phase_std, two.phase_std, equal_nan=True)


def test_a_network_is_refined_at_once_or_later(scan: Path) -> None:
    train = (
        "train star.npz --out net --nepochs 1 --stages 1 --n-filters-scale 0.25 --teacher-epochs 4 --accelerator cpu"
    )
    assert call(scan, train).exit_code == 0
    assert call(scan, "infer net star.npz --out plain").exit_code == 0
    done = call(scan, "infer net star.npz --refine --epochs 12 --out at_once")
    assert done.exit_code == 0, done.output
    assert "network: deviance per pixel" in done.stdout
    assert call(scan, "refine star.npz --init plain --epochs 12 --out later").exit_code == 0
    plain, at_once, later = (read_reconstruction(scan / name) for name in ("plain", "at_once", "later"))
    np.testing.assert_allclose(at_once.object, later.object, atol=1e-4)
    assert at_once.deviance < 0.7 * plain.deviance
    # The network's own bars are the spread of overlapping patches.
    assert np.isfinite(plain.phase_std[plain.coverage > 0.5 * plain.coverage.max()]).all()
    seconds = json.loads((scan / "at_once/provenance.json").read_text())["seconds"]
    assert {"network", "native", "error bars"} <= set(seconds)


def test_refine_replaces_what_refine_wrote_but_not_its_own_start(scan: Path) -> None:
    line = "refine star.npz --out out --epochs 3 --set error_draws=0 --quiet"
    assert call(scan, line).exit_code == 0
    before = (scan / "out/reconstruction.npz").read_bytes()
    done = call(scan, f"{line} --init out --overwrite --seed 1")
    assert (done.exit_code, "is read by this call" in done.stderr) == (2, True)
    assert (scan / "out/reconstruction.npz").read_bytes() == before
    assert call(scan, f"{line} --overwrite --seed 1").exit_code == 0
    assert (scan / "out/reconstruction.npz").read_bytes() != before
    for command in ("baseline star.npz --engine native", "infer run star.npz"):
        done = call(scan, f"{command} --out out --overwrite")
        assert (done.exit_code, "was written by 'refine'" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "command", ["refine star.npz", "baseline star.npz --engine native", "infer run star.npz", "compare one two"]
)
def test_a_folder_that_is_being_written_is_refused_before_the_work(scan: Path, command: str) -> None:
    with holding(scan / "out", "refine"):
        done = call(scan, f"{command} --out out")
    assert done.exit_code == 2
    assert done.stderr == "ptychopinn: out: another process writes here; wait, or give another --out.\n"
    assert done.stdout == ""


def test_a_fit_that_fails_leaves_the_older_result(scan: Path) -> None:
    line = "refine star.npz --out out --epochs 3 --set error_draws=0 --quiet"
    assert call(scan, line).exit_code == 0
    before = contents(scan / "out")
    done = call(scan, "refine scan.npz --out out --overwrite --init out/absent")
    assert done.exit_code == 2
    assert contents(scan / "out") == before


def test_an_image_of_other_pixels_is_no_start(scan: Path) -> None:
    with np.load(scan / "star.npz") as file:
        arrays = dict(file)
    for name, size in (("known", 1e-8), ("near", 1.0005e-8), ("other", 1.3e-8)):
        metadata = json.dumps({"measurement": "counts", "pixel_size_m": size})
        np.savez(scan / f"{name}.npz", **{**arrays, "_metadata": np.array(metadata)})
    quick = "--epochs 2 --set error_draws=0"
    assert call(scan, f"refine known.npz --out image {quick}").exit_code == 0
    for source in ("near", "star"):
        assert call(scan, f"refine {source}.npz --init image --out {source} {quick}").exit_code == 0
    for command in ("refine other.npz", "baseline other.npz", "refine known.npz --crop 24"):
        words = ("--init image: its pixels are 10.0 nm wide and those of the scan 13.", "--crop")
        assert_refused(scan, f"{command} --init image --out out", words)
    assert call(scan, f"refine other.npz --out coarse {quick}").exit_code == 0
    assert_refused(scan, "compare image coarse --out out", ("B (coarse): its pixels are 13.0 nm wide and those of A",))
    assert_refused(scan, "compare other.npz --iterative image --out out", ("image: its pixels are 10.0 nm wide",))


def test_quiet_keeps_the_warnings(scan: Path) -> None:
    done = call(scan, "refine star.npz --out out --epochs 1 --set error_draws=0 --quiet")
    assert done.stdout == "Image: out/reconstruction.h5 and out/reconstruction.png\n"
    made, doubt = done.stderr.splitlines()
    assert made.startswith("Warning: the scan was simulated with interpolation bilinear and is fitted with subpixel")
    assert "where noise alone would have" in doubt
    assert "Warning: the scan was simulated" in call(scan, "refine star.npz --out two --epochs 3").stdout
    done = call(scan, "baseline star.npz --engine native --subpixel bilinear --out three --epochs 60 -q")
    assert (done.exit_code, done.stderr) == (0, "")


def test_the_files_say_what_noise_alone_would_leave(scan: Path) -> None:
    done = call(scan, "refine star.npz --out out --epochs 60 --subpixel bilinear")
    found = read_reconstruction(scan / "out")
    assert 0.3 < found.expected_deviance < 0.8
    assert found.deviance == pytest.approx(found.expected_deviance, rel=0.2)
    assert f"deviance per pixel {found.deviance:.3g} (noise alone {found.expected_deviance:.3g})" in done.stdout
    record = json.loads((scan / "out/provenance.json").read_text())
    assert record["expected_deviance_per_pixel"] == found.expected_deviance
    assert "Warning" not in done.output


REFUSED: dict[str, tuple[str, Words]] = {
    "no folder": ("refine scan.npz", ("--out",)),
    "no scan": ("refine absent.npz --out out", ("absent.npz", "no such file")),
    "not a scan": ("refine notes.txt --out out", ("notes.txt",)),
    "no image": ("refine scan.npz --init absent --out out", ("absent", "no such file")),
    "a scan for an image": ("refine scan.npz --init scan.npz --out out", ("scan.npz: is a scan, no image",)),
    "a run for an image": ("refine scan.npz --init run --out out", ("run", "reconstruction")),
    "no epochs": ("refine scan.npz --epochs 0 --out out", ("epochs", "0")),
    "no time": ("refine scan.npz --max-seconds 0 --out out", ("--max-seconds", "0")),
    "a coarse tolerance": ("refine scan.npz --tolerance 1 --out out", ("tolerance", "1")),
    "no such model": ("refine scan.npz --subpixel cubic --out out", ("subpixel", "cubic", "fourier")),
    "draws below zero": ("refine scan.npz --error-draws -1 --out out", ("error_draws", "-1")),
    "another engine": ("refine scan.npz --set engine=lsqml --out out", ("engine", "lsqml", "baseline")),
    "no such setting": ("refine scan.npz --set epoch=3 --out out", ("epoch",)),
    "a folder of the user": ("refine scan.npz --out foreign", ("foreign", "not empty")),
    "one frame": ("refine scan.npz --n-subsample 1 --out out", ("one position",)),
    "all frames at one place": ("refine heap.npz --out out", ("one position",)),
    "no photons": ("refine dark.npz --out out", ("diffraction", "zero")),
    "a model of another engine": ("baseline scan.npz --subpixel bilinear --out out", ("--subpixel", "--engine native")),
    "a model of no fit": ("infer run scan.npz --subpixel bilinear --out out", ("--subpixel", "--refine")),
    "epochs of no network": ("infer run scan.npz --refine --epochs 0 --out out", ("epochs", "0")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line(place: Path, case: str) -> None:
    arrays = scan_arrays()
    write_scan(place / "heap.npz", xcoords=np.full(9, 20.0), ycoords=np.full(9, 20.0))
    write_scan(place / "dark.npz", diffraction=np.zeros_like(arrays["diffraction"]))
    command, words = REFUSED[case]
    assert_refused(place, command, words)
