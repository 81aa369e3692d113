"""A refinement that was stopped goes on as if it had not been."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptychopinn.commands.shared.resuming import UNREADABLE
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


HUGE = torch.zeros(1, dtype=torch.complex64).expand(100_000, 100_000)
HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "epochs below 0": lambda d: d.update(spent=-(10**30)),
    "epochs as text": lambda d: d.update(spent="1"),
    "a stage below 0": lambda d: d.update(stage=-5),
    "a stage as text": lambda d: d.update(stage="x"),
    "steps without end": lambda d: d.update(length=10**12),
    "photons": lambda d: d.update(photons=float("nan")),
    "middle": lambda d: d.update(middle=["x"]),
    "deviances": lambda d: d.update(deviance=["a"]),
    "best": lambda d: d.update(best=[1, 2, 3]),
    "a best image": lambda d: d.update(best=[d["estimate"], "x", 0]),
    "the draws": lambda d: d.update(draws='{"a": 1}'),
    "the velocity": lambda d: d.update(velocity=torch.zeros(3)),
    "powers": lambda d: d.update(powers=HUGE),
    "another key": lambda d: d.update(evil=1),
    "another part": lambda d: d["estimate"].update(evil=torch.zeros(2)),
    "no parts": lambda d: d.update(estimate=[1]),
    "NaN": lambda d: d["estimate"]["image"].fill_(float("nan")),
    "an image that is not there": lambda d: d["estimate"].update(image=HUGE),
    "an image of nothing": lambda d: d["estimate"].update(image=torch.zeros(0, 0, dtype=torch.complex64)),
    "a meta image": lambda d: d["estimate"].update(image=torch.empty(99, 99, dtype=torch.complex64, device="meta")),
    "another type": lambda d: d["estimate"].update(image=d["estimate"]["image"].to(torch.complex128)),
    "positions without end": lambda d: d["estimate"]["positions"].fill_(float("inf")),
    "positions far away": lambda d: d["estimate"]["positions"].fill_(1e18),
    "flux of other frames": lambda d: d["estimate"].update(flux=torch.ones(3)),
    "no flux": lambda d: d["estimate"].update(flux=torch.zeros_like(d["estimate"]["positions"][:, 0]).float()),
    "a background": lambda d: d["estimate"].update(background=-torch.ones_like(d["estimate"]["probe"][0].real)),
    "modes": lambda d: d["estimate"].update(opr_modes=torch.zeros(3)),
    "modes without weights": lambda d: d["estimate"].update(opr_modes=d["estimate"]["probe"].clone()),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return []


@pytest.mark.parametrize("change", HOSTILE)
def test_a_progress_that_was_tampered_with_is_refused(tiny_scan: Scan, kept: list[dict[str, Any]], change: str) -> None:
    """Before anything is computed with it: no crash, no endless fit, no memory that is not there."""
    if not kept:
        refine(tiny_scan, epochs=2, running=Running(keep=lambda progress: kept.append(copy.deepcopy(progress.state()))))
    state = copy.deepcopy(kept[0])
    Progress.of(copy.deepcopy(state), "cpu").check(tiny_scan)
    HOSTILE[change](state)
    with pytest.raises(UNREADABLE):
        Progress.of(state, "cpu").check(tiny_scan)
