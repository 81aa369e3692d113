"""``compare`` as a user calls it, on a small scan with two networks and an image."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.files.output_folder import file_hash
from tests.cli.refusing import call

pytestmark = pytest.mark.usefixtures("quick_pictures")

FLAGS = "--nepochs 2 --stages 1 --n-filters-scale 0.25 --teacher-epochs 4 --accelerator cpu"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    for line in (
        "simulate star.npz --N 32 --object-size 112 --probe-radius 7 --nphotons 1e5",
        f"train star.npz --out run {FLAGS}",
        f"train star.npz --out taught --model-type supervised {FLAGS}",
        "infer run star.npz --out image --accelerator cpu",
    ):
        done = call(folder, line)
        assert done.exit_code == 0, done.stderr
    with np.load(folder / "star.npz") as file:
        arrays = {key: file[key] for key in file.files if key != "objectGuess"}
        np.savez(folder / "real.npz", **arrays)
    return folder


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "comparison_metrics.csv").open() as stream:
        return {row["arm"]: row for row in csv.DictReader(stream)}


def test_three_arms_against_the_truth(workplace: Path) -> None:
    line = "compare star.npz --pinn run --supervised taught --iterative image --out all --accelerator cpu"
    done = call(workplace, line)
    assert done.exit_code == 0, done.stderr
    rows = rows_of(workplace / "all")
    assert list(rows) == ["PINN", "supervised", "iterative"]
    names = {path.name for path in (workplace / "all").iterdir()}
    images = {"reconstructions.npz", "reconstructions_aligned.npz", "comparison.png", "view.html"}
    assert names == images | {"comparison_metrics.csv", "comparison_metrics.json", "frc_curves.csv", "provenance.json"}
    # The file holds what the network of the first arm made of the same frames.
    for key in ("phase_mae", "amplitude_mae", "complex_error", "deviance_per_pixel"):
        assert float(rows["iterative"][key]) == pytest.approx(float(rows["PINN"][key]), rel=1e-3)
    # Its seconds are those of the command that made it, not of reading the file.
    assert float(rows["iterative"]["seconds_total"]) > float(rows["iterative"]["seconds_load"])
    for name in ("PINN", "supervised"):
        parts = [float(rows[name][f"seconds_{part}"]) for part in ("load", "infer", "stitch", "total")]
        assert min(parts) > 0
        assert sum(parts[:3]) < parts[3] * 1.001
        assert 0.05 < float(rows[name]["peak_memory_gib"]) < 20
    summary = json.loads((workplace / "all/comparison_metrics.json").read_text())
    assert summary["reference"] == "truth"
    assert [row["arm"] for row in summary["arms"]] == list(rows)
    with np.load(workplace / "all/reconstructions_aligned.npz") as file:
        assert {"truth", "PINN", "supervised", "iterative", "mask", "origin"} == set(file.files)
    assert "| PINN |" in done.stdout
    assert "objectGuess of star.npz is taken for the truth" in done.stdout
    assert len(done.stdout.splitlines()) < 24


def test_every_arm_of_a_kind_has_a_row_a_panel_and_its_hash(workplace: Path) -> None:
    shutil.copytree(workplace / "run", workplace / "again", dirs_exist_ok=True)
    arms = "--pinn gs1=run --pinn again --supervised taught --iterative image --iterative same=image"
    done = call(workplace, f"compare star.npz {arms} --out many --accelerator cpu")
    assert done.exit_code == 0, done.stderr
    rows = rows_of(workplace / "many")
    assert list(rows) == ["gs1", "again", "supervised", "image", "same"]
    assert rows["gs1"]["complex_error"] == rows["again"]["complex_error"]
    assert all(f"| {name} |" in done.stdout for name in rows)
    with np.load(workplace / "many/reconstructions.npz") as file:
        assert {"truth", *rows, "mask", "origin"} == set(file.files)
    made = json.loads((workplace / "many/provenance.json").read_text())
    files = {"gs1": "run/wts.h5.zip", "again": "again/wts.h5.zip", "supervised": "taught/wts.h5.zip"}
    files |= dict.fromkeys(("image", "same"), "image/reconstruction.h5")
    assert {arm["name"]: arm["sha256"] for arm in made["arms"]} == {
        name: file_hash(workplace / path) for name, path in files.items()
    }
    assert made["inputs_sha256"] == {"star.npz": file_hash(workplace / "star.npz")}


def test_every_pinn_arm_is_refined(workplace: Path) -> None:
    flags = "--refine --every 2 --set epochs=3 --accelerator cpu --no-save-npz"
    done = call(workplace, f"compare star.npz --pinn a=run --pinn b=run --supervised taught {flags} --out twice")
    assert done.exit_code == 0, done.stderr
    assert list(rows_of(workplace / "twice")) == ["a", "a refined", "b", "b refined", "supervised"]


def test_infer_records_what_it_read(workplace: Path) -> None:
    made = json.loads((workplace / "image/provenance.json").read_text())
    assert made["inputs_sha256"] == {name: file_hash(workplace / name) for name in ("run/wts.h5.zip", "star.npz")}


def test_the_same_frames_for_all(workplace: Path) -> None:
    flags = "--n-subsample 150 --subsample-seed 4 --no-save-npz --out few --accelerator cpu"
    done = call(workplace, f"compare star.npz --pinn run --supervised taught {flags}")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count(": 150 frames in") == 2
    assert not list((workplace / "few").glob("*.npz"))
    frames = json.loads((workplace / "few/provenance.json").read_text())["frames"]
    assert len(frames) == 150
    assert frames != list(range(150))


def test_a_real_scan_has_no_truth_but_halves(workplace: Path) -> None:
    done = call(workplace, "compare real.npz --pinn run --iterative image --out real --accelerator cpu")
    assert done.exit_code == 0, done.stderr
    assert "PINN and iterative: complex error" in done.stdout
    with (workplace / "real/frc_curves.csv").open() as stream:
        assert {row["curve"] for row in csv.DictReader(stream)} == {"PINN, half-scans"}
    done = call(workplace, "compare star.npz --no-truth --pinn run --iterative image --out unknown --accelerator cpu")
    assert done.exit_code == 0, done.stderr
    assert "taken for the truth" not in done.stdout
    assert "phase_mae" not in rows_of(workplace / "unknown")["PINN"]
    done = call(workplace, "compare real.npz --pinn run --truth star.npz --out told --accelerator cpu")
    assert done.exit_code == 0, done.stderr
    assert float(rows_of(workplace / "told")["PINN"]["phase_mae"]) > 0


def test_a_refined_arm_and_the_bound_of_the_noise(workplace: Path) -> None:
    flags = "--every 2 --set epochs=30 --set subpixel=bilinear --accelerator cpu"
    done = call(workplace, f"compare star.npz --pinn run --refine {flags} --out refined")
    assert done.exit_code == 0, done.stderr
    rows = rows_of(workplace / "refined")
    assert list(rows) == ["PINN", "PINN refined"]
    plain, refined = rows.values()
    for key in ("phase_mae", "complex_error", "deviance_per_pixel", "squared_error"):
        assert float(refined[key]) < 0.8 * float(plain[key])
    assert plain["noise_bound"] == refined["noise_bound"]
    aligned = np.load(workplace / "refined/reconstructions_aligned.npz")
    for row in rows.values():
        assert float(row["efficiency"]) == pytest.approx(float(row["noise_bound"]) / float(row["squared_error"]))
        image, truth = (aligned[name][aligned["mask"]] for name in (row["arm"], "truth"))
        expected = np.linalg.norm(image - truth) / np.linalg.norm(truth)
        assert float(row["covered_error"]) == pytest.approx(expected, rel=1e-5)
    # 30 epochs come near the noise, and not below it.
    assert 3 * float(plain["efficiency"]) < float(refined["efficiency"]) < 1.2
    assert float(refined["seconds_total"]) > float(plain["seconds_total"]) + 0.9 * float(refined["seconds_refine"])
    assert "| efficiency |" in done.stdout
    done = call(workplace, f"compare real.npz --pinn run --refine {flags} --out refined_real")
    assert done.exit_code == 0, done.stderr
    with (workplace / "refined_real/frc_curves.csv").open() as stream:
        assert {row["curve"] for row in csv.DictReader(stream)} == {"PINN, half-scans", "PINN refined, half-scans"}
    assert "efficiency" not in done.stdout


def test_two_images_without_a_scan(workplace: Path) -> None:
    shutil.copytree(workplace / "image", workplace / "other", dirs_exist_ok=True)
    done = call(workplace, "compare image other/reconstruction.npz --out pair")
    assert done.exit_code == 0, done.stderr
    assert list(rows_of(workplace / "pair")) == ["A (image)", "B (other)"]
    assert "complex error 0" in done.stdout or "e-" in done.stdout


@pytest.mark.parametrize("numbered", [True, False])
def test_the_positions_and_the_probe_of_an_image_are_its_own(workplace: Path, numbered: bool) -> None:
    place = workplace / f"numbered_{numbered}"
    place.mkdir()
    with np.load(workplace / "star.npz") as file:
        arrays = dict(file)
    for key, seed in (("xcoords", 0), ("ycoords", 1)):
        arrays[key] = arrays[key] + np.random.default_rng(seed).normal(0, 0.7, len(arrays[key]))
    np.savez(place / "off.npz", **arrays)
    flags = "--refine-positions --refine-probe --subpixel bilinear --set error_draws=0"
    assert call(place, f"refine off.npz --out fit --epochs 60 {flags}").exit_code == 0
    with np.load(place / "fit/reconstruction.npz") as file:
        fit = dict(file)
    if not numbered:
        del fit["frame_numbers"]
    np.savez(place / "fit.npz", **fit)
    for every in (1, 2) if numbered else (1,):
        done = call(place, f"compare off.npz --iterative fit.npz --every {every} --out all{every}")
        assert done.exit_code == 0, done.stderr
        found = float(rows_of(place / f"all{every}")["iterative"]["deviance_per_pixel"])
        assert found == pytest.approx(float(fit["deviance_per_pixel"]), rel=1e-4 if every == 1 else 0.05)
    # Without its positions the image would explain the counts far worse.
    np.savez(place / "moved.npz", **{**fit, "positions": np.stack([arrays["ycoords"], arrays["xcoords"]], axis=-1)})
    assert call(place, "compare off.npz --iterative moved.npz --out moved").exit_code == 0
    assert float(rows_of(place / "moved")["iterative"]["deviance_per_pixel"]) > 1.5 * float(fit["deviance_per_pixel"])


def test_stitching_only_the_middle_changes_the_image(workplace: Path) -> None:
    for size in (8, 32):
        line = f"compare star.npz --pinn run --stitch-crop-size {size} --out crop{size} --accelerator cpu"
        assert call(workplace, line).exit_code == 0
    small, large = (rows_of(workplace / f"crop{size}")["PINN"] for size in (8, 32))
    assert small["complex_error"] != large["complex_error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("star.npz", "nothing to compare"),
        ("absent.npz --pinn run", "absent.npz: no such file"),
        ("star.npz --pinn absent", "absent"),
        ("star.npz --pinn star.npz", "star.npz"),
        ("star.npz --iterative absent", "absent: no such file"),
        ("star.npz --pinn a=run --pinn a=run", "--pinn a=run: another arm is named 'a'"),
        ("star.npz --pinn run --pinn b=absent", "--pinn b=absent: neither this path nor absent exists"),
        ("star.npz --pinn taught", "--pinn taught: was trained with model_type supervised; give it by --supervised."),
        ("star.npz --supervised a=run", "--supervised run: was trained with model_type pinn; give it by --pinn."),
        ("star.npz --iterative star.npz", "star.npz: is a scan, no image; the folder or file that infer, baseline or"),
        ("star.npz --iterative run", "run: holds no reconstruction"),
        ("image image image", "3 files given"),
        ("image star.npz", "star.npz: is a scan, no image"),
        ("image other --pinn run", "2 files given"),
        ("star.npz --pinn run --truth absent.npz", "absent.npz: no such file"),
        ("star.npz --pinn run --truth real.npz", "real.npz: holds no objectGuess"),
        ("star.npz --pinn run --truth star.npz --no-truth", "--no-truth: given together with --truth"),
        ("star.npz --pinn run --stitch-crop-size 0", "--stitch-crop-size: 0 given"),
        ("star.npz --pinn run --stitch-crop-size 33", "--stitch-crop-size (middle_trim): 33 given; at most 32"),
        ("star.npz --pinn run --n-subsample 100000", "n_subsample: 100000 frames asked"),
        ("star.npz --pinn run --sigma -1", "--sigma"),
        ("star.npz --pinn run --crop 31", "crop: 31 given"),
        ("star.npz --pinn run --set sigma=2", "sigma: not a setting"),
        ("star.npz --iterative image --refine", "--refine: given without --pinn"),
        ("image other --refine", "--refine: given without --pinn"),
    ],
)
def test_a_wrong_call_is_one_line(workplace: Path, arguments: str, words: str) -> None:
    done = call(workplace, f"compare {arguments} --out wrong")
    assert done.exit_code == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert words in done.stderr
    assert not (workplace / "wrong").exists()


def test_a_folder_in_use_is_refused_before_the_work(workplace: Path) -> None:
    done = call(workplace, "compare star.npz --pinn run --out image")
    assert done.exit_code == 2
    assert "image: is not empty" in done.stderr
