"""Synthetic groups, alone and mixed with measured ones."""

import numpy as np
import torch

from ptychopinn.model.batches import GroupDataset
from ptychopinn.physics.diffraction import diffract
from ptychopinn.scan.grouping import reach
from ptychopinn.training.dataset import MixedDataset, SyntheticDataset
from tests.helpers import GRIDSIZES, assert_same_batches, groups_of, objects


@GRIDSIZES
def test_synthetic_groups_look_like_the_measured_ones(tiny_scan, gridsize):
    groups = groups_of(tiny_scan, gridsize)
    synthetic = SyntheticDataset(tiny_scan, groups, objects(tiny_scan), seed=0)
    index = [4, 9, 2]
    batch, measured = synthetic.__getitems__(index), GroupDataset(tiny_scan, groups).__getitems__(index)
    assert torch.equal(batch.offsets, measured.offsets)
    assert batch.reach == measured.reach
    assert [x.shape for x in batch[:-1]] == [x.shape for x in measured[:-1]]
    assert [x.dtype for x in batch[:-1]] == [x.dtype for x in measured[:-1]]
    assert batch.has_target.tolist() == [1, 1, 1]
    assert_same_batches([synthetic.__getitems__(index)], [batch])
    other = SyntheticDataset(tiny_scan, groups, objects(tiny_scan), seed=1).__getitems__(index)
    assert not torch.equal(other.targets, batch.targets)


def test_synthetic_counts_have_the_mean_of_the_scan_at_every_dose(tiny_scan):
    groups = np.resize(groups_of(tiny_scan, 1), (600, 1))
    batch = SyntheticDataset(tiny_scan, groups, objects(tiny_scan), seed=0).__getitems__(list(range(600)))
    rate = diffract(torch.from_numpy(tiny_scan.probe), batch.targets)
    photons, expected = batch.counts.sum(dim=(1, 2, 3)), rate.sum(dim=(1, 2, 3))
    # 1000 photons in the weakest frame: 3 % noise in its sum.
    torch.testing.assert_close(photons, expected, rtol=0.15, atol=0)
    torch.testing.assert_close(photons.mean(), expected.mean(), rtol=5e-3, atol=0)
    # Counts come in quanta of 1 / dose: from one photon to a hundred.
    quanta = torch.stack([frame[frame > 0].min() for frame in batch.counts])
    assert 0.99 < quanta.min() < 1.5
    assert 60 < quanta.max() <= 100.01


def test_synthetic_targets_lie_inside_the_objects(tiny_scan):
    ones = torch.ones(3, 120, 120, dtype=torch.complex64)
    batch = SyntheticDataset(tiny_scan, groups_of(tiny_scan, 3), ones, seed=0).__getitems__(list(range(60)))
    torch.testing.assert_close(batch.targets, torch.ones_like(batch.targets))


def test_mixed_batches_keep_each_kind_and_one_reach(tiny_scan, tiny_truth):
    groups = groups_of(tiny_scan, 2)
    spans = [reach(tiny_scan.positions, groups[i : i + 1]) for i in range(len(groups))]
    near = groups[[int(np.argmin(spans))]]
    measured = GroupDataset(tiny_scan, groups, tiny_truth)
    synthetic = SyntheticDataset(tiny_scan, np.resize(near, (10, 4)), objects(tiny_scan), seed=0)
    mixed = MixedDataset(measured, synthetic)
    assert len(mixed) == len(groups) + 10
    assert synthetic.reach < measured.reach
    count = len(groups)
    for index, real, made in (
        ([2, count + 3, 0, count], [2, 0], [3, 0]),
        ([1], [1], []),
        ([count + 1], [], [1]),
    ):
        batch = mixed.__getitems__(index)
        assert batch.reach == measured.reach
        parts = [source.__getitems__(rows) for source, rows in ((measured, real), (synthetic, made)) if rows]
        for i, values in enumerate(batch[:-1]):
            assert torch.equal(values, torch.cat([part[i] for part in parts]))
