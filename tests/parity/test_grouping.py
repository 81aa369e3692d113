"""Neighbourhoods, groups and their coordinates, from frames to a batch."""

import numpy as np
import pytest
import torch

from ptychopinn.model.batches import GroupDataset
from ptychopinn.scan.grouping import form_groups, nearest
from ptychopinn.scan.scan import Scan
from tests.helpers import default_probe, scale_of
from tests.parity.oracle import assert_within, oracle, yx

TAGS = pytest.mark.parametrize("tag", ["g1", "g2_K4", "g2_K7", "g2_seq_K4", "g2_all_K4", "g2_over_K7"])
NEIGHBOURS = pytest.mark.parametrize(("tag", "count"), [("g2_K4", 4), ("g2_K7", 7), ("g2_over_K7", 7)])


@pytest.fixture(scope="module")
def scan() -> Scan:
    """The recorded frames, amplitudes squared to counts, at the recorded positions."""
    data = oracle("grouping")
    positions = torch.stack([data["ycoords"], data["xcoords"]], dim=1)
    return Scan(data["diff3d"].double().square().numpy(), positions.numpy(), default_probe(16).numpy())


def members(groups: np.ndarray, count: int) -> np.ndarray:
    """(n, count) bool: which frames are in each group."""
    found = np.zeros((len(groups), count), dtype=bool)
    np.put_along_axis(found, groups, True, axis=1)
    return found


@pytest.mark.parametrize("tag", ["g2_all_K4", "g2_seq_K4"])
def test_four_of_four_neighbours_of_each_frame_in_turn(scan, tag):
    groups = oracle("grouping")[f"{tag}_nn_indices"].numpy()
    np.testing.assert_array_equal(np.sort(groups), np.sort(nearest(scan.positions, 4))[: len(groups)])


@NEIGHBOURS
def test_a_group_is_distinct_members_of_one_neighbourhood(scan, tag, count):
    """Of the older program the seeds are not known, and are not in their groups; of ours they are."""
    near = members(nearest(scan.positions, count), len(scan))
    older = members(oracle("grouping")[f"{tag}_nn_indices"].numpy(), len(scan))
    ours = members(form_groups(scan.positions, 2, count, len(older), seed=7), len(scan))
    assert (older.sum(axis=1) == 4).all()
    assert (ours.sum(axis=1) == 4).all()
    outside = older[:, None] & ~near
    assert (~outside.any(axis=2)).any(axis=1).all()
    outside = ours[:, None] & ~(near | np.eye(len(scan), dtype=bool))
    assert (~outside.any(axis=2) & ours).any(axis=1).all()


def test_a_group_contains_its_seed(scan):
    """The documented difference: the older program looks up the neighbours of a frame and drops the frame."""
    older = oracle("grouping")["g2_all_K4_nn_indices"].numpy()
    assert not (older == np.arange(len(scan))[:, None]).any()
    for seed in range(len(scan)):
        (group,) = form_groups(scan.positions, 2, 4, seeds=np.array([seed]))
        assert seed in group
        assert set(group) - {seed} <= set(older[seed])


@TAGS
def test_coordinates_of_a_batch(scan, tag):
    """Means of groups, and minus the offsets from them; [x, y] where ours are (y, x)."""
    data = oracle("grouping")
    groups = data[f"{tag}_nn_indices"].long()
    places = torch.from_numpy(scan.positions)[groups]
    assert_within(places, yx(data[f"{tag}_coords_nn"]), 1e-12)
    assert_within(places.mean(dim=1, keepdim=True), yx(data[f"{tag}_coords_offsets"]), 1e-12)
    batch = GroupDataset(scan, groups.numpy()).__getitems__(list(range(len(groups))))
    relative = yx(data[f"{tag}_coords_relative"])
    if tag == "g1":
        assert not batch.offsets.any()
        assert not relative.any()
    else:
        # Offsets of a batch are float32.
        assert_within(-batch.offsets, relative, 1e-7)


@TAGS
def test_input_scale_of_a_batch(scan, tag):
    data = oracle("grouping")
    groups = data[f"{tag}_nn_indices"].long().numpy()
    batch = GroupDataset(scan, groups).__getitems__(list(range(len(groups))))
    assert scale_of(batch.counts.flatten(0, 1)) == pytest.approx(float(data[f"{tag}_X_scale"]), rel=2e-6)
