"""``infer`` without a run, ``train`` on several scans and from a run, and ``pretrain``."""

import csv
import hashlib
import json
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ptychopinn import api
from ptychopinn.cli.app import app
from ptychopinn.evaluation import panel as panels
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.model.bundle import save_run
from ptychopinn.scan.scan import Scan
from ptychopinn.training import draws

pytestmark = pytest.mark.usefixtures("quick_pictures")

TINY = "--n-filters-scale 0.25 --stages 1 --nepochs 1 --teacher-epochs 2 --synthetic-fraction 0 --accelerator cpu"


def call(folder: Path, line: str) -> Any:
    with chdir(folder):
        return CliRunner().invoke(app, line.split())


@pytest.fixture(scope="module")
def folder(tiny_scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans of different N."""
    folder = tmp_path_factory.mktemp("any")
    write_npz(folder / "a.npz", tiny_scan)
    write_npz(folder / "b.npz", api.simulate(N=48, object_size=110, step=8, probe_radius=9, nphotons=1e4))
    return folder


@pytest.fixture(scope="module")
def both(folder: Path) -> dict[str, Any]:
    """The provenance of a run on both."""
    result = call(folder, f"train a.npz b.npz {TINY} --out both")
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads((folder / "both/provenance.json").read_text())
    return record


def test_infer_needs_no_run(folder: Path, tiny_scan: Scan) -> None:
    result = call(folder, "infer a.npz --out image")
    assert result.exit_code == 0, result.output
    assert "the network of the package" in result.output
    found = read_reconstruction(folder / "image")
    assert found.std_of == "network"
    assert found.phase_std is not None
    assert np.allclose(found.object, api.infer(api.pretrained(), tiny_scan).object, atol=1e-4)
    record = json.loads((folder / "image/provenance.json").read_text())
    assert record["run"] == "the network of the package"
    assert len(record["inputs_sha256"]) == 2


def test_a_network_of_the_whole_canvas_is_compared(folder: Path) -> None:
    save_run(folder / "whole", api.pretrained())
    (folder / "whole/provenance.json").write_text("{}")
    result = call(folder, "compare a.npz --pinn whole --out compared --accelerator cpu")
    assert result.exit_code == 0, result.output
    with (folder / "compared/comparison_metrics.csv").open() as stream:
        [row] = csv.DictReader(stream)
    assert float(row["seconds_infer"]) > 0
    assert float(row["seconds_stitch"]) == 0


def test_several_scans_are_recorded_with_their_hashes(folder: Path, both: dict[str, Any]) -> None:
    scans = both["scans"]
    assert [scan["scan"] for scan in scans] == ["a.npz", "b.npz"]
    for scan in scans:
        assert scan["sha256"] == hashlib.sha256((folder / scan["scan"]).read_bytes()).hexdigest()
        assert scan["frames"] == len(np.load(folder / scan["scan"])["xcoords"])
    assert both["start"] == "scratch"
    for name in ("a", "b"):
        assert call(folder, f"infer both {name}.npz --out of_{name}").exit_code == 0


def test_a_run_is_trained_further(folder: Path, both: dict[str, Any]) -> None:
    result = call(folder, "train b.npz --from both --nepochs 1 --teacher-epochs 0 --accelerator cpu --out further")
    assert result.exit_code == 0, result.output
    record = json.loads((folder / "further/provenance.json").read_text())
    assert record["start"] == "both"
    assert record["settings"]["stages"] == 1
    assert record["sources"]["stages"] == "data"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"train a.npz a.npz {TINY} --out twice", ("a.npz", "twice")),
        (f"train a.npz b.npz {TINY} --set probe_trainable=true --out out", ("probe_trainable", "2 scans")),
        (f"train a.npz nothing.npz {TINY} --out out", ("nothing.npz", "no such file")),
        ("train a.npz --from both --stages 4 --out out", ("stages 1", "4 is given")),
        ("train a.npz --from nothing --out out", ("nothing", "no such file")),
        ("infer both --out out", ("both", "give a scan file too")),
        ("export both/../nothing --out net.pt2", ("nothing",)),
        (f"train b.npz a.npz {TINY} --out both --resume", ("--resume",)),
        ("pretrain --out out --probes nothing.npz", ("nothing.npz",)),
        ("pretrain --out out --set gridsize=2", ("gridsize",)),
    ],
)
def test_a_wrong_call_is_one_sentence(folder: Path, both: dict[str, Any], line: str, words: tuple[str, ...]) -> None:
    result = call(folder, line)
    assert result.exit_code == 2, result.output
    text = result.stderr.strip()
    assert all(word in text for word in words), text
    assert "Traceback" not in text
    assert not (folder / "out").exists()


def test_pretrain_makes_a_run_that_infer_takes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SIZES": {32: 1.0}, "POOL": 4, "TOGETHER": 4, "SCANS": 2, "OBJECTS": 2, "EDGE": 120}.items():
        monkeypatch.setattr(draws, name, value)
    few = panels.any_scan(np.random.default_rng(1))
    monkeypatch.setattr(panels, "panel", lambda: {"one": few})
    whole = panels.calibrated
    monkeypatch.setattr(panels, "calibrated", lambda run: whole(run, 2))
    line = "pretrain --out network --probes b.npz --n-filters-scale 0.25 --stages 2 --accelerator cpu --max-seconds"
    result = call(folder, f"{line} 3")
    assert result.exit_code == 0, result.output
    run = api.load_run(folder / "network")
    assert run.any_setup
    assert len(run.error_model) == 2
    assert run.settings.model.noise_input
    assert run.history[-1]["one"] > 0
    record = json.loads((folder / "network/provenance.json").read_text())
    assert list(record["probes"]) == ["b.npz"]
    again = call(folder, "pretrain --out network --probes b.npz --max-seconds 5 --resume")
    assert again.exit_code == 0, again.output
    assert len(api.load_run(folder / "network").history) > len(run.history)
    assert call(folder, "infer network a.npz --out by_network").exit_code == 0
    refused = call(folder, "export network --out net.pt2")
    assert refused.exit_code == 2
    assert "give a scan file" in refused.stderr
