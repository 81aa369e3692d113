"""Batches: the frames of each group, their offsets, and the patches of a known object."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.model.batches import GroupDataset, centred
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.grouping import reach
from ptychopinn.training.dataset import MixedDataset, SyntheticDataset
from tests.helpers import GRIDSIZES, assert_same_batches, groups_of, objects

SMALL_INTEGERS = pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16], ids=str)


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
