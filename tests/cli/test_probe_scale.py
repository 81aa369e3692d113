"""The scale of a probe, from the command line: every command says what it did, and a run passes its reading on."""

import json
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.config import Settings
from ptychopinn.files.reading import open_scan
from ptychopinn.model.bundle import Run, load_run, reading_of, save_run
from ptychopinn.model.model import PtychoModel
from tests.cli.refusing import assert_refused, call, scan_arrays, write_scan

COMMANDS = {
    "inspect": "inspect scan.npz --out scan.png",
    "train": "train scan.npz --out out --nepochs 1 --teacher-epochs 0 --n-filters-scale 0.1 --set depth=1 "
    "--set stages=1 --accelerator cpu",
    "infer": "infer run scan.npz --out out --accelerator cpu",
    "refine": "refine scan.npz --out out --epochs 2 --error-draws 0 --accelerator cpu",
    "baseline": "baseline scan.npz --out out --engine native --epochs 2 --set error_draws=0 --accelerator cpu",
    "overlap": "overlap scan.npz --out out",
    "compare": "compare scan.npz --pinn a=run --pinn b=run --out out --accelerator cpu",
    "export": "export run --scan scan.npz --out net.pt2",
    "subset": "subset scan.npz --n 4 --out few.npz",
}
RECORDS = {"overlap": "out/scan_metrics.json", "subset": "few.json", "inspect": None, "export": None}
pytestmark = pytest.mark.usefixtures("quick_pictures")


def factor_of(path: Path) -> float:
    """Amplitude that makes the probe of a file as strong as its brightest frames."""
    arrays = scan_arrays()
    totals, power = arrays["diffraction"].sum(axis=(1, 2)), (np.abs(np.load(path)["probeGuess"]) ** 2).sum()
    return float(np.sqrt(totals.mean() / power))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_that_it_scaled_the_probe(place, command):
    arrays = scan_arrays()
    far = {name: 8 / 3 * arrays[name] for name in ("xcoords", "ycoords")}  # room for a score
    write_scan(place / "scan.npz", probeGuess=1e-3 * arrays["probeGuess"], **far)
    done = call(place, COMMANDS[command])
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    said = " ".join(done.stdout.split())
    assert said.count("scaled to the 12800 of the brightest frames") == 1, done.stdout
    if name := RECORDS.get(command, "out/provenance.json"):
        record = json.loads((place / name).read_text())
        assert record["probe_factor"] == pytest.approx(factor_of(place / "scan.npz"), rel=0.01)
        assert "scaled to the" in record["notes"][-1]


def test_what_a_subset_holds_is_not_scaled_again(place):
    write_scan(place / "scan.npz", probeGuess=1e-3 * scan_arrays()["probeGuess"])
    assert call(place, "subset scan.npz --n 6 --out few.npz").exit_code == 0
    done = call(place, "refine few.npz --out out --epochs 2 --error-draws 0 --accelerator cpu")
    assert done.exit_code == 0
    assert "scaled" not in done.stdout
    assert json.loads((place / "out/provenance.json").read_text())["probe_factor"] == 1


def test_the_flag_keeps_or_multiplies(place):
    write_scan(place / "scan.npz", probeGuess=1e-3 * scan_arrays()["probeGuess"])
    kept = call(place, COMMANDS["inspect"] + " --probe-scale keep").stdout
    assert "scaled to the" not in kept
    assert "--probe-scale counts scales it" in " ".join(kept.split())
    times = call(place, COMMANDS["inspect"] + " --probe-scale 1000 --overwrite").stdout
    assert "Probe multiplied by 1000: 10000 photons." in " ".join(times.split())
    for value in ("0", "-3", "nan", "yes"):
        words = (f"probe_scale: '{value}' given", "auto, keep, counts or a positive number is needed")
        assert_refused(place, f"refine scan.npz --out out --probe-scale {value}", words)


def run_with(place: Path, **values) -> Run:
    """The run of ``place`` as if it had been trained with other settings."""
    run = load_run(place / "run")
    chosen = Settings.of(run.settings.flat() | values)
    model = PtychoModel(chosen.model, run.model.input_scale).eval()
    new = Run(model, run.illumination, chosen)
    save_run(place / "run", new)
    return new


def test_infer_reads_amplitudes_as_the_training_did(place):
    amplitudes = np.sqrt(scan_arrays()["diffraction"] / 7e3).astype(np.float32)
    write_scan(place / "scan.npz", diffraction=amplitudes)
    run_with(place, nphotons=2070.0, measurement="amplitude", gridsize=1)
    done = call(place, COMMANDS["infer"])
    assert done.exit_code == 0, done.output
    assert "Amplitudes scaled to 2070 photons per frame." in done.stdout
    assert json.loads((place / "out/provenance.json").read_text())["settings"]["nphotons"] == 2070
    done = call(place, COMMANDS["infer"] + " --overwrite --nphotons 99")
    assert "Amplitudes scaled to 99 photons per frame." in done.stdout


@pytest.mark.parametrize("value", ["keep", "counts", 3.0])
def test_a_run_passes_the_scale_of_its_probe_on(place, value):
    run = run_with(place, probe_scale=value, nphotons=5.0)
    assert reading_of(run) == {"probe_scale": value, "nphotons": 5.0}
    done = call(place, COMMANDS["infer"])
    assert done.exit_code == 0, done.output
    given = Settings.of({"probe_scale": value}).data
    assert json.loads((place / "out/provenance.json").read_text())["probe_factor"] == pytest.approx(
        open_scan(place / "scan.npz", given).probe_factor
    )
    assert json.loads((place / "out/provenance.json").read_text())["settings"]["probe_scale"] == value
