"""No flag is taken without an effect: it is refused with what it belongs to, or the user is told."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ptychopinn import api
from ptychopinn.cli.app import app
from ptychopinn.errors import PtychoError
from ptychopinn.files import reading
from ptychopinn.study.design import PRESETS, StudyDesign
from ptychopinn.study.jobs import jobs_of
from tests.cli.refusing import Words, assert_refused, call, scan_arrays, write_scan

pytestmark = pytest.mark.usefixtures("quick_pictures")

SHOULD = "omit it"

IN_VAIN: dict[str, Words] = {
    "export run --out net.pt2 --crop 8": ("--crop: says how a scan file is read", "give --scan FILE too"),
    "export run --out net.pt2 --map map.json": ("--map: says how a scan file is read",),
    "export run --out net.pt2 --set every=2": ("--set every: says how a scan file is read",),
    "simulate new.npz --from scan.npz --N 64": ("--N: has no effect: scan.npz holds a probe to use", SHOULD),
    "simulate new.npz --from scan.npz --probe-radius 3": ("--probe-radius: has no effect",),
    "simulate new.npz --from scan.npz --set probe_curvature=3": ("--set probe_curvature: has no effect",),
    "simulate new.npz --from scan.npz --step 3": ("--step: has no effect: scan.npz holds positions to use",),
    "simulate new.npz --from scan.npz --jitter 0": ("--jitter: has no effect",),
    "simulate new.npz --from object.npz --object lines": ("--object: has no effect: object.npz holds an object",),
    "simulate new.npz --from object.npz --object-size 99": ("--object-size: has no effect",),
    "infer run scan.npz --out out --set gridsize=2": ("--set gridsize: has no effect in 'infer'", "'train', 'overlap'"),
    "infer run scan.npz --out out --set n_groups=2": ("--set n_groups: has no effect in 'infer'",),
    "infer run scan.npz --out out --set nepochs=2": ("--set nepochs: has no effect in 'infer'", "'train'"),
    "infer run scan.npz --out out --epochs 3": ("--epochs: has no effect without --refine",),
    "infer run scan.npz --out out --max-seconds 3": ("--max-seconds: has no effect without --refine",),
    "infer run scan.npz --out out --set tolerance=0": ("--set tolerance: has no effect without --refine",),
    "infer run scan.npz --out out --set seed=1": ("--set seed: has no effect without --refine",),
    "infer run scan.npz --out out --follow-timeout 3": ("--follow-timeout: has no effect without --follow",),
    "infer run scan.npz --out out --set follow_interval=3": ("--set follow_interval: has no effect without --follow",),
    "infer run scan.npz --out out --set subsample_seed=3": ("--set subsample_seed: has no effect without --n-subs",),
    "infer run scan.npz --out out --map m.json --set format=cxi": ("--format: given together with --map",),
    "train scan.npz --out out --set epochs=3": ("--set epochs: has no effect in 'train'", "'refine'", "'baseline'"),
    "train scan.npz --out out --set step=3": ("--set step: has no effect in 'train'", "setting of 'simulate'"),
    "train scan.npz --out out --set subsample_seed=3": ("--set subsample_seed: has no effect without --n-subsample",),
    "train scan.npz --out out --set probe_mask_diameter=3": ("probe_mask_diameter: has no effect", "probe_mask=true"),
    "refine scan.npz --out out --set deterministic=true": ("--set deterministic: has no effect in 'refine'",),
    "refine scan.npz --out out --set noise_model=poisson": ("--set noise_model: has no effect in 'refine'",),
    "refine scan.npz --out out --set sequential_sampling=true": ("has no effect without --n-subsample",),
    "baseline scan.npz --out out --set tolerance=0": ("--set tolerance: has no effect with engine lsqml", "native"),
    "baseline scan.npz --out out --engine dm --set subpixel=bilinear": (
        "--set subpixel: has no effect with engine dm",
    ),
    "overlap scan.npz --out out --set nepochs=3": ("--set nepochs: has no effect in 'overlap'",),
    "overlap scan.npz --out out --subsample-seed 3": ("--subsample-seed: has no effect without --n-subsample",),
    "inspect scan.npz --out new.png --set batch_size=3": ("--set batch_size: has no effect in 'inspect'",),
    "subset scan.npz --out new.npz --set overlap=0.5": ("--set overlap: has no effect in 'subset'",),
    "convert scan.npz new.npz --set crop=8": ("--set crop: has no effect in 'convert'", "'subset'"),
    "convert scan.npz new.npz --dummy-geometry": ("--dummy-geometry: has no effect", "npz"),
    "convert scan.npz new.npz --no-frames --nphotons 5": ("--nphotons: says how frames are read", "--no-frames"),
    "compare a.h5 b.h5 --out out --every 2": ("--every: says how a scan is read, and two images are given",),
    "compare a.h5 b.h5 --out out --accelerator cpu": ("--accelerator: says how a network is run",),
    "compare a.h5 b.h5 --out out --no-truth": ("--no-truth: two images are given without a scan",),
    "compare scan.npz --iterative a.h5 --out out --stitch-crop-size 8": ("--stitch-crop-size: says how a network",),
    "compare scan.npz --iterative a.h5 --out out --inference-batch-size 8": ("--inference-batch-size: says how a net",),
    "compare scan.npz --pinn run --out out --set epochs=8": ("--set epochs: has no effect without --refine",),
    "study plan --update": ("--update: has no effect without --out",),
    "study run --out study --job train-1e3 --jobs 2": ("--job: runs one job", "omit --job"),
    "study run --out study --job train-1e3 --dose 1e3": ("--job: runs one job", "omit --dose"),
    "study run --out study --job train-1e3 --redo": ("--job: runs one job", "omit --redo"),
}


@pytest.mark.parametrize("command", IN_VAIN)
def test_a_flag_without_an_effect_is_refused(place: Path, command: str) -> None:
    y, x = np.ones((2, 99, 99))
    np.savez(place / "object.npz", objectGuess=y + 0j * x)
    assert_refused(place, command, IN_VAIN[command])


def test_a_file_may_hold_settings_of_other_commands(place: Path) -> None:
    assert call(place, "config init all.json").exit_code == 0
    values = json.loads((place / "all.json").read_text()) | {"gridsize": 2, "epochs": 3, "subsample_seed": 3}
    (place / "all.json").write_text(json.dumps(values))
    for command in ("inspect scan.npz --out new.png", "infer run scan.npz --out image", "convert scan.npz new.npz"):
        done = call(place, f"{command} --config all.json")
        assert (done.exit_code, done.stderr) == (0, "")


def test_what_a_file_does_not_hold_can_be_given_to_a_simulation(place: Path) -> None:
    np.savez(place / "parts.npz", objectGuess=np.ones((80, 80), complex), probeGuess=scan_arrays()["probeGuess"])
    counts = []
    for step in (8, 16):
        done = call(place, f"simulate new{step}.npz --from parts.npz --step {step} --jitter 0")
        assert (done.exit_code, done.stderr) == (0, "")
        found = reading.read(place / f"new{step}.npz").counts
        assert found is not None
        counts.append(len(found))
    assert counts[0] > 3 * counts[1]
    with pytest.raises(PtychoError, match=r"^N: has no effect: .*parts.npz holds a probe to use; omit it\.$"):
        api.simulate(place / "parts.npz", N=64)
    with pytest.raises(PtychoError, match=r"^settings: nepochs: has no effect here"):
        api.simulate(nepochs=3)


def test_a_study_gives_its_raster_only_to_a_base_without_positions(place: Path) -> None:
    np.savez(place / "parts.npz", objectGuess=np.ones((80, 80)), probeGuess=scan_arrays()["probeGuess"])
    for base, given in (("lines", True), (place / "parts.npz", True), (place / "scan.npz", False)):
        first = jobs_of(StudyDesign.of({**PRESETS["quick"], "base": str(base)}))[0]
        assert first.stage == "simulate"
        assert ("--step" in first.arguments, "--jitter" in first.arguments) == (given, given)


def test_a_known_geometry_is_kept_and_the_user_is_told(place: Path) -> None:
    flags = "--energy 8000 --distance 1.5 --pixel-size 2e-8"
    assert call(place, f"convert scan.npz first.npz {flags}").exit_code == 0
    first = reading.read(place / "first.npz")
    assert (first.energy_eV, first.distance_m, first.pixel_m) == (8000, 1.5, (2e-8, 2e-8))
    same = call(place, f"convert first.npz second.npz {flags}")
    assert "is not used" not in same.stdout
    other = call(place, "convert first.npz third.npz --energy 9000 --distance 2 --pixel-size 3e-8")
    for line in (
        "pixel_size 3e-08 m is not used: the file has 2e-08 x 2e-08 m.",
        "--energy 9000 eV is not used: the file has 8000 eV.",
        "--distance 2 m is not used: the file has 1.5 m.",
    ):
        assert other.stdout.splitlines().count(line) == 1
    assert reading.read(place / "third.npz").energy_eV == 8000


def test_a_pixel_size_is_taken_by_every_reader(place: Path) -> None:
    done = call(place, "inspect scan.npz --out new.png --pixel-size 2e-8")
    assert "20.0 nm" in next(line for line in done.stdout.splitlines() if line.startswith("pixel size"))
    done = call(place, "infer run scan.npz --out image --set pixel_size=2e-8")
    assert (done.exit_code, done.stderr) == (0, "")
    with np.load(place / "image/reconstruction.npz") as file:
        assert float(file["pixel_size_m"]) == 2e-8


def test_training_says_what_it_does_not_do(place: Path) -> None:
    write_scan(place / "known.npz", objectGuess=np.ones((60, 60), complex))
    small = "--n-filters-scale 0.1 --stages 2 --nepochs 1 --accelerator cpu --features amplitude"
    done = call(place, f"train known.npz --out out --model-type supervised --teacher-epochs 2 {small}")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "teacher_epochs: 2 given, but a supervised training has a truth and makes no teacher." in done.stdout
    assert "stages: 2 given, but a network on amplitudes has one." in done.stdout


EMPTY = {
    "infer run scan.npz --out @": "--out: an empty text is given",
    "infer run scan.npz --out=": "--out: an empty text is given",
    "infer run scan.npz -o @": "-o: an empty text is given",
    "infer @ scan.npz --out out": "an empty text is given after infer",
    "train @ --out out": "an empty text is given after train",
    "train scan.npz --out out --config @": "--config: an empty text is given",
    "refine scan.npz --out @": "--out: an empty text is given",
    "baseline scan.npz --out @": "--out: an empty text is given",
    "compare scan.npz --pinn run --out @": "--out: an empty text is given",
    "overlap scan.npz --out @": "--out: an empty text is given",
    "inspect scan.npz --out @": "--out: an empty text is given",
    "subset scan.npz --out @": "--out: an empty text is given",
    "export run --out @": "--out: an empty text is given",
    "demo --out @": "--out: an empty text is given",
    "study run --out @": "--out: an empty text is given",
    "convert scan.npz @": "an empty text is given after scan.npz",
    "simulate @": "an empty text is given after simulate",
    "config init @": "an empty text is given after init",
}


@pytest.mark.parametrize("command", EMPTY)
def test_an_empty_name_is_not_the_current_folder(place: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["" if part == "@" else part for part in command.split()]
    before = sorted((place / "empty").rglob("*"))
    monkeypatch.chdir(place / "empty")
    for name in ("run", "scan.npz"):
        arguments = [str(place / name) if part == name else part for part in arguments]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert EMPTY[command].removesuffix("scan.npz") in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted((place / "empty").rglob("*")) == before
