"""Several scans in one training: each with its own probe, N and dose, mixed in every batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.model.batches import Batch
from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan.scan import Scan
from ptychopinn.scan.simulation import raster, siemens_star, simulate
from ptychopinn.training.datamodule import ScanDataModule
from ptychopinn.training.plan import check_training
from ptychopinn.training.train import train

SMALL = {
    "n_filters_scale": 0.25,
    "stages": 1,
    "depth": 1,
    "nepochs": 5,
    "batch_size": 8,
    "learning_rate": 0.01,
    "teacher_epochs": 3,
    "accelerator": "cpu",
}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptychopinn.training.module.WARMUP_STEPS", 5)
    monkeypatch.setattr("ptychopinn.training.datamodule.SYNTHETIC_OBJECTS", 3)


@pytest.fixture(scope="module")
def other() -> Scan:
    """49 frames of another size, probe, object and dose, with two modes."""
    probe = torch.cat([curved_disc(48, 9.0, -4.0), 0.3 * curved_disc(48, 5.0, 1.0)]).numpy()
    return simulate(siemens_star(104, 12, 0.6), probe, raster((104, 104), 48, step=8.0), nphotons=2e7)


def test_batches_hold_groups_of_all_scans_and_every_group_once(tiny_scan, other):
    settings = Settings.of(SMALL | {"neighbor_count": 4, "synthetic_fraction": 0.0, "val_fraction": 0.1})
    module = ScanDataModule(tiny_scan, settings, beside=[ScanDataModule(other, settings)])
    batches = list(module.train_dataloader())
    assert all(isinstance(part, Batch) for batch in batches for _, part in batch)
    assert sum(len(batch) == 2 for batch in batches) > 0.6 * len(batches), "mixed"
    for scan, number in ((tiny_scan, 0), (other, 1)):
        parts = [part for batch in batches for which, part in batch if which == number]
        assert {part.counts.shape[-1] for part in parts} == {scan.N}
        assert sum(len(part.counts) for part in parts) == len(scan) - round(0.1 * len(scan))
    assert {number for batch in module.val_dataloader() for number, _ in batch} == {0, 1}


def test_one_network_learns_both(tiny_scan, other):
    settings = Settings.of(SMALL | {"nepochs": 10})
    plan = check_training(tiny_scan, settings, others={"other": other})
    run = train(tiny_scan, settings, plan=plan)
    first, last = run.history[0], run.history[-1]
    assert last["val_loss"] < 0.8 * first["val_loss"]
    assert len(run.frames) == len(tiny_scan)


def test_the_second_scan_changes_the_weights_and_its_brightness_does_not(tiny_scan, other):
    """Losses are per photon, and networks see one scale of the probe."""

    def weights(second: Scan | None) -> torch.Tensor:
        settings = Settings.of(SMALL | {"nepochs": 2, "synthetic_fraction": 0.0})
        plan = check_training(tiny_scan, settings, others={} if second is None else {"other": second})
        run = train(tiny_scan, settings, plan=plan)
        return torch.cat([each.detach().flatten() for each in run.model.parameters()])

    alone, both = weights(None), weights(other)
    scaled = weights(replace(other, probe=3 * other.probe))
    assert not torch.allclose(alone, both, atol=1e-3)
    # Adam multiplies differences of rounding.
    assert float((scaled - both).abs().mean()) < 0.05 * float((alone - both).abs().mean())


def test_steps_are_those_of_all_scans_together(tiny_scan, other):
    settings = Settings.of(SMALL | {"nepochs": None, "synthetic_fraction": 0.0, "val_fraction": 0.0})
    one = check_training(tiny_scan, settings).settings.training.nepochs
    two = check_training(tiny_scan, settings, others={"other": other}).settings.training.nepochs
    groups = len(tiny_scan), len(tiny_scan) + len(other)
    assert one == int(np.ceil(1100 / np.ceil(groups[0] / 8)))
    assert two == int(np.ceil(1100 / np.ceil(groups[1] / 8)))


@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        (lambda scan: scan.subset(np.arange(3)), {}, ("b.npz", "3 frames", "at least 4")),
        (lambda scan: replace(scan, counts=0 * scan.counts), {}, ("b.npz", "photon")),
        (lambda scan: replace(scan, object=None), {"model_type": "supervised"}, ("b.npz", "objectGuess")),
        (lambda scan: scan, {"probe_trainable": True}, ("probe_trainable", "2 scans")),
    ],
)
def test_a_further_scan_that_cannot_be_trained_on_is_refused_by_its_name(tiny_scan, other, change, settings, words):
    with pytest.raises(PtychoError) as caught:
        check_training(tiny_scan, Settings.of(SMALL | settings), others={"b.npz": change(other)})
    assert all(word in str(caught.value) for word in words), str(caught.value)
