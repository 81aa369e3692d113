"""Several processes stitch what one does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.files.formats.npz import write_npz
from ptychopinn.model.bundle import Run, save_run
from ptychopinn.model.processes import ALONE, Team, team
from ptychopinn.scan.scan import Scan


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with team() as found:
        assert found == ALONE
        assert found.leads


@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_halves_of_a_team_are_all_of_it(size):
    whole = Team(1, range(size))
    left, right = whole.halves()
    assert [*left.members, *right.members] == [*whole.members]
    assert len(left.members) - len(right.members) in (0, 1)
    assert left.rank == right.rank == 1
    assert whole._replace(rank=right.members.start).halves()[1].leads


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "memory"), [(2, 1), (3, 1), (2, 128)])
def test_processes_together_give_the_image_of_one(
    tmp_path: Path, tiny_scan: Scan, tiny_run: Run, processes: int, memory: int
) -> None:
    save_run(tmp_path / "run", tiny_run)
    (tmp_path / "run/provenance.json").write_text("{}")
    write_npz(tmp_path / "scan.npz", tiny_scan.subset(np.tile(np.arange(64), 8)))
    command = [
        "-m",
        "ptychopinn",
        "infer",
        "run",
        "scan.npz",
        "--accelerator",
        "cpu",
        "--set",
        f"patch_memory={memory}",
    ]
    together = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    images, lines = [], []
    for name, start in (("alone", [sys.executable]), ("together", together)):
        done = subprocess.run(
            [*start, *command, "--out", name], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        lines.append([line for line in done.stdout.splitlines() if not line.startswith("512 frames in ")])
        images.append(np.load(tmp_path / name / "reconstruction.npz"))
    assert lines[1] == [line.replace("alone", "together") for line in lines[0]]
    for key in ("object", "coverage", "amplitude_std", "phase_std", "deviance_per_pixel"):
        one, many = images[0][key], images[1][key]
        np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-5 * float(np.nanmax(abs(one))))
