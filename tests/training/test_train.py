"""Training: it learns, stops in time, repeats with its seed, and leaves the user's folder and loggers alone."""

import csv
import logging
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.model.bundle import Run
from ptychopinn.model.execution import device_of
from ptychopinn.training.train import train

SMALL = {
    "n_filters_scale": 0.25,
    "stages": 1,
    "depth": 1,
    "nepochs": 2,
    "batch_size": 16,
    "learning_rate": 0.01,
    "teacher_epochs": 3,
    "synthetic_fraction": 0.0,
    "val_fraction": 0.1,
    "accelerator": "cpu",
}
LIKELIHOOD_ALONE = {"teacher_epochs": 0, "synthetic_fraction": 0.0}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """What a training of a few steps needs: little warm-up and few synthetic objects."""
    monkeypatch.setattr("ptychopinn.training.module.WARMUP_STEPS", 5)
    monkeypatch.setattr("ptychopinn.training.datamodule.SYNTHETIC_OBJECTS", 3)


def fit(scan, folder: Path | None = None, report=lambda line: None, **changes: Any) -> Run:
    return train(scan, Settings.of(SMALL | changes), folder, report)


def weights_of(run: Run) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in run.model.parameters()])


def last_checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)


@pytest.mark.parametrize("gridsize", [1, 2])
def test_the_loss_falls_on_the_scan_and_on_frames_held_out(tiny_scan, gridsize):
    run = fit(tiny_scan, nepochs=8, batch_size=8, gridsize=gridsize)
    first, last = run.history[0], run.history[-1]
    for name in ("train_loss", "val_loss", "train_nll", "val_patch_error"):
        assert last[name] < 0.75 * first[name], name
    assert [row["epoch"] for row in run.history] == list(range(1, 9))
    assert not run.model.training


def test_amplitudes_teach_too(tiny_scan):
    run = fit(tiny_scan, nepochs=16, batch_size=8, features="amplitude", depth=2)
    assert run.history[-1]["train_loss"] < 0.9 * run.history[0]["train_loss"]


def test_the_likelihood_alone_also_learns(tiny_scan):
    run = fit(tiny_scan, nepochs=8, batch_size=8, **LIKELIHOOD_ALONE)
    assert run.history[-1]["train_nll"] < 0.5 * run.history[0]["train_nll"]
    assert run.history[-1]["val_nll"] < 0.75 * run.history[0]["val_nll"]
    assert all(row["train_patch_error"] == 0 for row in run.history)
    assert all(row["train_loss"] == row["train_nll"] for row in run.history)


def test_the_shared_run_has_learnt(tiny_run):
    assert tiny_run.history[-1]["val_loss"] < 0.5 * tiny_run.history[0]["train_loss"]


def test_the_time_budget_ends_the_run_and_its_schedule(tiny_scan, tmp_path):
    start = time.monotonic()
    # One epoch would take minutes.
    run = fit(tiny_scan, tmp_path, nepochs=1000, max_seconds=2.0, gridsize=2, n_groups=100_000, val_fraction=0.1)
    assert 2 <= time.monotonic() - start < 8
    assert len(run.history) == 1
    assert {"train_loss", "val_loss"} <= run.history[0].keys()
    assert all(math.isfinite(value) for value in run.history[0].values())
    (rate,) = last_checkpoint(tmp_path)["lr_schedulers"][0]["_last_lr"]
    assert rate < 0.02 * SMALL["learning_rate"]


def test_a_run_of_epochs_ends_its_schedule_too(tiny_scan, tmp_path):
    fit(tiny_scan, tmp_path, nepochs=3, **LIKELIHOOD_ALONE)
    (rate,) = last_checkpoint(tmp_path)["lr_schedulers"][0]["_last_lr"]
    assert rate == pytest.approx(0.005 * SMALL["learning_rate"], rel=1e-3)


# With 16 groups the single step of the epoch has a finite loss; the frames held out then have none.
@pytest.mark.parametrize("changes", [{}, {"n_groups": 16, "nepochs": 1}], ids=["training", "validation"])
def test_a_loss_that_is_not_finite_is_refused(tiny_scan, changes):
    level = logging.getLogger("lightning.pytorch").level
    with pytest.raises(RunFailedError, match="not finite after epoch 1; try a smaller --learning-rate") as caught:
        fit(tiny_scan, learning_rate=1e30, **LIKELIHOOD_ALONE | changes)
    assert "\n" not in str(caught.value)
    assert logging.getLogger("lightning.pytorch").level == level


def test_a_teacher_that_diverges_is_refused(tiny_scan, monkeypatch):
    nan = torch.full(tiny_scan.canvas_shape, torch.nan, dtype=torch.complex64)
    monkeypatch.setattr("ptychopinn.engines.refinement.reconstruct", lambda *_, **__: nan)
    with pytest.raises(RunFailedError, match="teacher"):
        fit(tiny_scan)


@pytest.mark.parametrize(("val_fraction", "monitor"), [(0.1, "val_loss"), (0.0, "train_loss")])
def test_checkpoints_and_the_log_are_written(tiny_scan, tmp_path, val_fraction, monitor):
    run = fit(tiny_scan, tmp_path, nepochs=3, val_fraction=val_fraction)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "metrics.csv"]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    with (tmp_path / "metrics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["train_loss"]]
    assert [float(row[monitor]) for row in rows] == [row[monitor] for row in run.history]
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)
    assert min(range(3), key=lambda epoch: run.history[epoch][monitor]) == best["epoch"]
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, best["state_dict"][f"model.{name}"])


def test_nothing_is_written_without_a_folder(tiny_scan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(tiny_scan)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("synthetic_fraction", [0.0, 0.5])
def test_the_same_seed_gives_the_same_weights(tiny_scan, synthetic_fraction):
    first = fit(tiny_scan, seed=1, synthetic_fraction=synthetic_fraction)
    torch.rand(3)  # Whatever the caller drew before must not matter.
    again = fit(tiny_scan, seed=1, synthetic_fraction=synthetic_fraction)
    assert torch.equal(weights_of(again), weights_of(first))
    other = fit(tiny_scan, seed=2, synthetic_fraction=synthetic_fraction)
    assert not torch.equal(weights_of(other), weights_of(first))


def test_the_scan_may_lie_anywhere_and_its_truth_is_not_used(tiny_scan):
    expected = fit(tiny_scan).history[-1]
    for shift in (-40, 10_000):
        moved = replace(tiny_scan, positions=tiny_scan.positions + shift, object=None)
        found = fit(moved).history[-1]
        assert found["val_patch_error"] == pytest.approx(expected["val_patch_error"], rel=0.01)
        assert found["val_nll"] == pytest.approx(expected["val_nll"], rel=0.01)


def test_masked_pixels_do_not_train(tiny_scan):
    good = np.random.default_rng(0).random((32, 32)) > 0.05
    spoilt = np.where(good, tiny_scan.counts, 1e6).astype(np.float32)
    masked = replace(tiny_scan, good_pixels=good)
    found = fit(replace(masked, counts=spoilt))
    assert torch.equal(weights_of(found), weights_of(fit(masked)))
    assert torch.equal(found.illumination.good_pixels, torch.from_numpy(good))


@pytest.mark.parametrize("level", [logging.NOTSET, logging.DEBUG, logging.ERROR])
def test_the_logger_of_lightning_is_left_as_it_was(tiny_scan, level):
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(level)
    try:
        fit(tiny_scan, nepochs=1, **LIKELIHOOD_ALONE)
        assert logger.level == level
    finally:
        logger.setLevel(before)


def test_progress_is_told_in_lines_and_nothing_is_printed(tiny_scan, capfd):
    lines: list[str] = []
    fit(tiny_scan, report=lines.append)
    assert [line.split()[0] for line in lines] == ["teacher:", "epoch", "epoch"]
    assert lines[1].startswith("epoch 1/2 ")
    assert "val_loss" in lines[1]
    assert capfd.readouterr().out == ""


def test_the_number_of_epochs_follows_the_size_of_the_scan(tiny_scan, monkeypatch):
    monkeypatch.setattr("ptychopinn.training.plan.USUAL_STEPS", 9)
    run = fit(tiny_scan, nepochs=None, val_fraction=0.0, **LIKELIHOOD_ALONE)
    assert len(run.history) == math.ceil(9 / (64 / 16))


def test_the_accelerator_names_the_device(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device_of(Settings.of({})) == "cpu"
    with pytest.raises(PtychoError, match="accelerator: cuda asked for, but this machine has none"):
        device_of(Settings.of({"accelerator": "cuda"}))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert device_of(Settings.of({})) == device_of(Settings.of({"accelerator": "cuda"})) == "cuda"
