"""Batches: centred groups, targets cut from the object, synthetic groups."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.model.batches import GroupDataset, centred
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.grouping import form_groups, reach
from ptychopinn.scan.scan import Scan
from ptychopinn.training.dataset import MixedDataset, SyntheticDataset
from tests.helpers import assert_same_batches

SMALL_INTEGERS = pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16], ids=str)
GRIDSIZES = pytest.mark.parametrize("gridsize", [1, 2, 3])


def groups_of(scan: Scan, gridsize: int, seed: int = 0) -> np.ndarray:
    return form_groups(scan.positions, gridsize, 9, None, seed)


def objects(scan: Scan, count: int = 2) -> torch.Tensor:
    """Objects large enough for any group of the scan."""
    image = torch.from_numpy(scan.object).repeat(2, 2)
    return torch.stack([image.roll(7 * i, dims=0) for i in range(count)])


@GRIDSIZES
def test_a_batch_holds_the_frames_of_its_groups(tiny_scan, gridsize):
    groups = groups_of(tiny_scan, gridsize)
    dataset = GroupDataset(tiny_scan, groups)
    index = [5, 0, 17]
    batch = dataset.__getitems__(index)
    shape = (3, gridsize**2, 32, 32)
    assert len(dataset) == len(groups)
    assert (batch.counts.shape, batch.counts.dtype) == (shape, torch.float32)
    assert (batch.targets.shape, batch.targets.dtype) == (shape, torch.complex64)
    assert (batch.offsets.shape, batch.offsets.dtype) == (shape[:2] + (2,), torch.float32)
    assert torch.equal(batch.counts, torch.from_numpy(tiny_scan.counts[groups[index]]))
    assert batch.has_target.tolist() == [0, 0, 0]
    assert batch.reach == reach(tiny_scan.positions, groups)


@SMALL_INTEGERS
@pytest.mark.parametrize("masked", [False, True])
def test_small_integers_become_float32_on_the_device(tiny_scan, dtype, masked):
    good = np.random.default_rng(0).random((32, 32)) > 0.1 if masked else None
    counts = np.minimum(tiny_scan.counts, 100).astype(dtype)
    scan = replace(tiny_scan, counts=counts, good_pixels=good)
    as_float = replace(scan, counts=counts.astype(np.float32))
    groups = groups_of(scan, 2)
    batch = GroupDataset(scan, groups).__getitems__([3, 1])
    assert batch.counts.numpy().dtype == dtype
    assert_same_batches([batch.to("cpu")], [GroupDataset(as_float, groups).__getitems__([3, 1])])
    assert torch.equal(scan.frames(slice(0, 5)), as_float.frames(slice(0, 5)))
    synthetic = SyntheticDataset(scan, groups, objects(scan), seed=0)
    both = MixedDataset(GroupDataset(scan, groups), synthetic).__getitems__([3, len(groups)])
    assert both.counts.dtype == torch.float32


@GRIDSIZES
def test_offsets_are_centred_in_every_group_and_within_reach(tiny_scan, gridsize):
    groups = groups_of(tiny_scan, gridsize)
    batch = GroupDataset(tiny_scan, groups).__getitems__(list(range(20)))
    places = torch.from_numpy(tiny_scan.positions[groups[:20]])
    torch.testing.assert_close(batch.offsets.mean(dim=1), torch.zeros(20, 2), rtol=0, atol=1e-5)
    differences = (places[:, :1] - places).float()
    torch.testing.assert_close(batch.offsets[:, :1] - batch.offsets, differences, rtol=0, atol=1e-5)
    assert batch.offsets.abs().max() <= batch.reach


def test_offsets_far_from_the_origin_lose_no_precision():
    places = 1e7 + torch.tensor([[[0.125, 0.25], [3.5, 2.75]]], dtype=torch.float64)
    torch.testing.assert_close(centred(places), centred(places - 1e7), rtol=0, atol=1e-6)


@GRIDSIZES
@pytest.mark.parametrize("shift", [0, -50, 10_000])
def test_targets_are_the_patches_of_the_object(tiny_scan, tiny_truth, gridsize, shift):
    groups = groups_of(tiny_scan, gridsize)
    moved = replace(tiny_scan, positions=tiny_scan.positions + shift, object=None)
    batch = GroupDataset(moved, groups, tiny_truth).__getitems__([3, 30])
    assert batch.has_target.tolist() == [1, 1]
    places = torch.from_numpy(tiny_scan.positions[groups[[3, 30]].ravel()])
    expected = extract_patches(torch.from_numpy(tiny_scan.object), places, 32)
    torch.testing.assert_close(batch.targets.flatten(0, 1), expected, rtol=0, atol=1e-4)


def test_bad_pixels_are_zero_in_every_batch(tiny_scan):
    good = np.random.default_rng(0).random((32, 32)) > 0.1
    scan = replace(tiny_scan, good_pixels=good, counts=tiny_scan.counts + 7)
    groups = groups_of(scan, 2)
    for dataset in (GroupDataset(scan, groups), SyntheticDataset(scan, groups, objects(scan), seed=0)):
        counts = dataset.__getitems__([0, 1, 2]).counts
        assert not counts[..., ~torch.from_numpy(good)].any()
        assert counts.any()


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
