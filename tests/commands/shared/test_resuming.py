"""Checkpoints go into the folder that the fit was begun in, and nowhere else."""

from pathlib import Path

import torch

from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.shared.resuming import Checkpoints
from ptychopinn.engines.progress import Progress
from ptychopinn.engines.projections import Estimate
from ptychopinn.files.output_folder import CHECKPOINT
from ptychopinn.model.processes import ALONE
from ptychopinn.scan.scan import Scan


def test_no_checkpoint_goes_into_a_folder_that_took_the_place_of_the_first(tiny_scan: Scan, tmp_path: Path) -> None:
    source, out, foreign = tmp_path / "scan.npz", tmp_path / "out", tmp_path / "foreign"
    source.write_bytes(b"a scan")
    out.mkdir()
    foreign.mkdir()
    (foreign / CHECKPOINT).write_text("precious")
    lines: list[str] = []
    running = Checkpoints(Request(out=out, report=lines.append), source, resume=False).running(tiny_scan, ALONE)
    progress = Progress(Estimate.of(tiny_scan), blank=True)
    running.keep(progress)
    assert torch.load(out / CHECKPOINT, weights_only=True)["progress"]["blank"] is True
    assert not lines
    out.rename(tmp_path / "moved")
    out.symlink_to(foreign)
    for _ in range(2):
        running.keep(progress)
    assert (foreign / CHECKPOINT).read_text() == "precious"
    assert [entry.name for entry in foreign.iterdir()] == [CHECKPOINT]
    (line,) = lines
    assert "no checkpoint" in line
    assert "is another folder than before" in line
