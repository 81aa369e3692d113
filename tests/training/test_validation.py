"""Validation on a second scan: it is never trained on, and decides which weights are best."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.model.bundle import Run
from ptychopinn.scan.checks import common_frames
from ptychopinn.scan.scan import Scan
from ptychopinn.training.dataset import validation_groups
from ptychopinn.training.plan import check_training
from ptychopinn.training.train import train

SMALL = {
    "n_filters_scale": 0.25,
    "stages": 1,
    "depth": 1,
    "nepochs": 3,
    "batch_size": 8,
    "learning_rate": 0.01,
    "teacher_epochs": 3,
    "synthetic_fraction": 0.0,
    "accelerator": "cpu",
}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptychopinn.training.module.WARMUP_STEPS", 5)


@pytest.fixture(scope="module")
def halves(tiny_scan: Scan) -> tuple[Scan, Scan]:
    """Two parts of a scan without a frame in common."""
    return tiny_scan.split("y")


def fit(scan: Scan, validation: Scan | None, folder: Path | None = None, **changes: Any) -> Run:
    settings = Settings.of(SMALL | changes)
    return train(scan, settings, folder, plan=check_training(scan, settings, validation))


def weights_of(run: Run) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in run.model.parameters()])


def spoilt(scan: Scan) -> Scan:
    """The same places with frames that no object gives."""
    rng = np.random.default_rng(3)
    return replace(scan, counts=rng.poisson(50.0, scan.counts.shape).astype(np.float32))


@pytest.mark.parametrize("changes", [{}, {"gridsize": 2}, {"probe_trainable": True}, {"model_type": "supervised"}])
def test_the_errors_of_the_second_scan_fall_with_those_of_the_first(halves, changes):
    run = fit(*halves, nepochs=8, **changes)
    assert run.history[-1]["val_nll"] < 0.75 * run.history[0]["val_nll"]
    assert run.held_out.size == 0, "all frames of the first scan are trained on"


def test_the_second_scan_changes_no_weight_and_its_own_frames_are_what_is_validated(halves):
    """With checkpoints off nothing chooses among the weights: those of the last epoch stay."""
    first, second = halves
    right, wrong = fit(first, second), fit(first, spoilt(second))
    assert torch.equal(weights_of(right), weights_of(wrong))
    assert wrong.history[-1]["val_nll"] > 5 * right.history[-1]["val_nll"]
    for name in ("train_loss", "train_nll"):
        assert [row[name] for row in right.history] == [row[name] for row in wrong.history]


def test_the_dose_of_the_second_scan_does_not_change_its_errors(halves):
    """Errors are per photon of the scan that they are of, and the probe is that of the scan."""
    first, second = halves
    brighter = replace(second, counts=np.asarray(second.counts) * 4.0, probe=2 * second.probe)
    errors = [fit(first, each, teacher_epochs=0).history[-1]["val_nll"] for each in (second, brighter)]
    assert errors[1] == pytest.approx(errors[0], rel=0.35)


def test_the_second_scan_stops_a_training_and_picks_the_best_weights(halves, tmp_path):
    first, second = halves
    run = fit(first, spoilt(second), tmp_path, nepochs=30, early_stop_patience=2)
    assert len(run.history) < 30
    best = torch.load(tmp_path / "checkpoints/best.ckpt", map_location="cpu", weights_only=True)
    losses = [row["val_loss"] for row in run.history]
    assert best["epoch"] == losses.index(min(losses))


def test_metrics_hold_steps_with_their_step_size(halves, tmp_path, monkeypatch):
    monkeypatch.setattr("ptychopinn.training.callbacks.EVERY_STEPS", 2)
    run = fit(*halves, tmp_path, scheduler="constant", batch_size=4)
    with (tmp_path / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    steps, epochs = ([row for row in rows if row[name]] for name in ("step_loss", "train_loss"))
    batches = len(halves[0]) // 4
    assert [int(row["step"]) for row in steps] == list(range(2, 3 * batches + 1, 2))
    assert {float(row["lr"]) for row in rows} == {0.01}
    assert [int(row["step"]) for row in epochs] == [batches, 2 * batches, 3 * batches]
    assert all(int(row["epoch"]) == -(-int(row["step"]) // batches) for row in rows)
    mean = np.mean([float(row["step_loss"]) for row in steps])
    assert mean == pytest.approx(np.mean([row["train_loss"] for row in run.history]), rel=0.5)


def test_as_many_groups_are_validated_as_an_epoch_has(halves):
    chosen = Settings.of({"n_groups": 5, "neighbor_count": 4})
    seeds = validation_groups(halves[1], chosen)[:, 0]
    assert len(seeds) == 5
    assert (seeds.min(), seeds.max()) == (0, len(halves[1]) - 1)


@pytest.mark.parametrize("crop", [{}, {"flip_x": True}])
def test_frames_in_common_are_found_whatever_their_place(tiny_scan, crop):
    part = tiny_scan.move(**crop).subset(np.array([40, 3, 17]))
    assert common_frames(tiny_scan, part) == [(3, 3), (17, 17), (40, 40)]


@pytest.mark.parametrize(
    ("make", "changes", "words"),
    [
        (lambda first, second: first, {}, ("validate_on", "are trained on", "frame 0")),
        (lambda first, second: first.subset(np.arange(9)), {}, ("9 of its 9 frames",)),
        (lambda first, second: second.subset(np.arange(3)), {"gridsize": 2}, ("validate_on: 3 frames", "need 4")),
        (lambda first, second: second.crop(16), {"probe_trainable": True}, ("frames of 16 pixels", "has 32")),
        (lambda first, second: replace(second, object=None), {"model_type": "supervised"}, ("validate_on", "objectGu")),
        (lambda first, second: replace(second, counts=0 * second.counts), {}, ("validate_on", "photon")),
    ],
)
def test_a_second_scan_that_cannot_serve_is_refused(halves, make, changes, words):
    with pytest.raises(PtychoError) as caught:
        check_training(halves[0], Settings.of(SMALL | changes), make(*halves))
    for word in words:
        assert word in str(caught.value)


def test_frames_of_another_size_are_validated(halves):
    run = fit(halves[0], halves[1].crop(24))
    assert np.isfinite([row["val_nll"] for row in run.history]).all()
