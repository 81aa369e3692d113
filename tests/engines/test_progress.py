"""A refinement that was stopped goes on as if it had not been."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines import native
from ptychopinn.engines.progress import Progress, Running, tensors_of
from ptychopinn.engines.refinement import refine
from ptychopinn.files.checkpoint import load_checkpoint, save_checkpoint
from ptychopinn.files.signals import Stopped
from ptychopinn.scan.scan import Scan


def stopping_after(saves: int, path: Path) -> Callable[[Progress], None]:
    """Keeps every progress in a file; after some of them a signal comes."""
    count = 0

    def keep(progress: Progress) -> None:
        nonlocal count
        save_checkpoint(path, progress.state())
        count += 1
        if count == saves:
            raise Stopped("SIGTERM")

    return keep


def dim(scan: Scan) -> Scan:
    counts = np.random.default_rng(0).poisson(scan.counts / 1000).astype(np.float32)
    return replace(scan, counts=counts, probe=scan.probe / np.float32(np.sqrt(1000)))


@pytest.mark.parametrize(
    ("kind", "saves"), [("object", 1), ("object", 7), ("object", 9), ("object", 11), ("dim", 1), ("dim", 5), ("dim", 7)]
)
def test_a_stopped_fit_goes_on_to_the_same_end(tiny_scan: Scan, tmp_path: Path, kind: str, saves: int) -> None:
    scan, asked = (dim(tiny_scan), {}) if kind == "dim" else (tiny_scan, {"epochs": 45})
    whole = refine(scan, **asked)
    path = tmp_path / "checkpoint.pt"
    stopped = refine(scan, **asked, running=Running(keep=stopping_after(saves, path)))
    assert stopped.reason == "stopped by SIGTERM"
    assert stopped.stopped
    assert stopped.epochs < whole.epochs
    assert stopped.estimate.image.isfinite().all()
    lines: list[str] = []
    before = Progress.of(load_checkpoint(path), "cpu")
    found = refine(scan, **asked, running=Running(resume=before), report=lines.append)
    assert torch.equal(found.estimate.image, whole.estimate.image)
    assert found.deviance == whole.deviance
    assert found.reason == whole.reason


def test_probe_and_positions_go_on_too(tiny_scan: Scan, tmp_path: Path) -> None:
    asked = {"epochs": 40, "refine_probe": True, "refine_positions": True, "also": {"flux", "smooth_background"}}
    path = tmp_path / "checkpoint.pt"
    whole = refine(tiny_scan, **asked)
    refine(tiny_scan, **asked, running=Running(keep=stopping_after(6, path)))
    found = refine(tiny_scan, **asked, running=Running(resume=Progress.of(load_checkpoint(path), "cpu")))
    assert {"flux", "background"} <= tensors_of(whole.estimate).keys()
    for name, part in tensors_of(whole.estimate).items():
        assert torch.equal(tensors_of(found.estimate)[name], part), name


def test_a_map_that_auto_added_is_fitted_further(tiny_scan: Scan, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    refine(tiny_scan, epochs=30, also={"affine"}, running=Running(keep=stopping_after(11, path)))
    before = Progress.of(load_checkpoint(path), "cpu")
    asked = BaselineConfig(epochs=14), RefinementConfig(model="auto")
    found = native.reconstruct(tiny_scan, *asked, running=Running(resume=before))
    assert "affine" in found.fitted
