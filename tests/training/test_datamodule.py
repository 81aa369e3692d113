"""Training batches: frames held out, epochs that repeat, synthetic shares, batches that processes share."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ptychopinn.config import Settings
from ptychopinn.model.batches import Batch
from ptychopinn.scan.scan import Scan
from ptychopinn.training.datamodule import ScanDataModule
from tests.helpers import assert_same_batches

GRIDSIZES = pytest.mark.parametrize("gridsize", [1, 2, 3])


@pytest.fixture(autouse=True)
def few_objects(monkeypatch):
    monkeypatch.setattr("ptychopinn.training.datamodule.SYNTHETIC_OBJECTS", 3)


def module_of(
    scan: Scan, gridsize: int = 2, epoch: int = 0, rank: int = 0, world: int = 1, **changes
) -> ScanDataModule:
    """A data module that believes to be in ``epoch``."""
    values = {"batch_size": 8, "val_fraction": 0.1, "synthetic_fraction": 0.0, "neighbor_count": 9}
    module = ScanDataModule(scan, Settings.of({**values, "gridsize": gridsize, **changes}))
    module.trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank, world_size=world)
    return module


@GRIDSIZES
@pytest.mark.parametrize("seed", [0, 5])
def test_held_out_frames_never_train(tiny_scan, gridsize, seed):
    module = module_of(tiny_scan, gridsize, seed=seed)
    held = set(np.flatnonzero(module.held_out).tolist())
    assert len(held) == round(0.1 * len(tiny_scan))
    for epoch in range(3):
        module.trainer.current_epoch = epoch
        groups = module.train_dataloader().dataset.measured.groups
        assert len(groups) == len(tiny_scan) - len(held)
        assert held.isdisjoint(groups.ravel().tolist())
    validation = module.val_dataloader().dataset.groups
    assert len(validation) == len(held)
    assert all(len(held & set(group)) >= 1 for group in validation.tolist())
    assert held <= set(validation.ravel().tolist())


@pytest.mark.parametrize("synthetic_fraction", [0.0, 0.5])
def test_epochs_differ_and_each_repeats(tiny_scan, synthetic_fraction):
    def loader(epoch: int, seed: int = 0) -> DataLoader:
        return module_of(tiny_scan, epoch=epoch, seed=seed, synthetic_fraction=synthetic_fraction).train_dataloader()

    def groups(epoch: int, seed: int = 0) -> set[tuple[int, ...]]:
        return set(map(tuple, loader(epoch, seed).dataset.measured.groups.tolist()))

    first = list(loader(1))
    assert_same_batches(list(loader(1)), first)
    for other in ((2, 0), (1, 1)):
        assert not torch.equal(next(iter(loader(*other))).counts, first[0].counts)
        assert groups(*other) != groups(1)
        if synthetic_fraction:
            pair = [loader(*which).dataset.synthetic.__getitems__([0]) for which in ((1, 0), other)]
            assert not torch.equal(pair[0].targets, pair[1].targets)


def test_validation_is_the_same_in_every_epoch(tiny_scan):
    assert_same_batches(
        list(module_of(tiny_scan, epoch=0).val_dataloader()), list(module_of(tiny_scan, epoch=9).val_dataloader())
    )


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.25, 21), (0.5, 64), (0.75, 192)])
def test_the_share_of_synthetic_groups(tiny_scan, fraction, expected):
    module = module_of(tiny_scan, synthetic_fraction=fraction, val_fraction=0.0)
    batches = list(module.train_dataloader())
    assert sum(len(batch.counts) for batch in batches) == 64 + expected
    assert sum(int(batch.has_target.sum()) for batch in batches) == expected
    assert len({batch.reach for batch in batches}) == 1
    assert all(len(batch.counts) == 8 for batch in batches[:-1])


@pytest.mark.parametrize("n_groups", [5, 40, 300])
def test_as_many_groups_as_asked(tiny_scan, n_groups):
    assert len(module_of(tiny_scan, n_groups=n_groups).train_dataloader().dataset) == n_groups


def test_a_scan_too_small_to_hold_frames_out_trains_on_all(tiny_scan):
    module = module_of(tiny_scan.subset(slice(0, 19)), val_fraction=0.5)
    assert not module.held_out.any()
    assert list(module.val_dataloader()) == []
    assert len(module.train_dataloader().dataset) == 19


def test_the_largest_seed_is_a_seed_too(tiny_scan):
    module = module_of(tiny_scan, epoch=1000, seed=2**31 - 1, synthetic_fraction=0.5)
    assert next(iter(module.train_dataloader())).counts.isfinite().all()


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_batches_of_one(tiny_scan, world):
    def frames(batch: Batch) -> list[bytes]:
        return [counts.numpy().tobytes() for counts in batch.counts]

    values = {"synthetic_fraction": 0.5, "batch_size": 6, "val_fraction": 0.0, "epoch": 2, "n_groups": 60}
    whole = list(module_of(tiny_scan, **values).train_dataloader())
    parts = [list(module_of(tiny_scan, rank=rank, world=world, **values).train_dataloader()) for rank in range(world)]
    assert len(whole) == 20
    for batch, *shares in zip(whole, *parts, strict=True):
        assert sorted(frames(batch)) == sorted(frame for share in shares for frame in frames(share))
        assert {len(share.counts) for share in shares} == {6 // world}


def test_every_process_has_as_many_groups(tiny_scan):
    values = {"batch_size": 8, "val_fraction": 0.0, "n_groups": 49}
    parts = [list(module_of(tiny_scan, rank=rank, world=4, **values).train_dataloader()) for rank in range(4)]
    assert [[len(batch.counts) for batch in part] for part in parts] == [[2] * 6 + [1]] * 4
