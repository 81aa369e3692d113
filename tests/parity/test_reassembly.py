"""Patches to image: the sums, weights and centres of the older program, and the three of its ways that we leave."""

import math

import pytest
import torch
from torch import Tensor

from ptychopinn.config import ModelConfig
from ptychopinn.model.batches import centred
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.reassembly import central_mask, reassemble
from ptychopinn.scan.illumination import Illumination
from tests.helpers import default_probe
from tests.parity.oracle import assert_within, channels_first, deviation, oracle, yx

TOLERANCE = 2e-5
GROUPS = pytest.mark.parametrize("name", ["reassembly_group_g1", "reassembly_group_g2"])


def canvas_of(inner: int) -> tuple[Tensor, tuple[int, int]]:
    """Places (n, 2) of the recorded positions on a canvas for central squares of ``inner`` pixels, and its shape."""
    positions = yx(oracle("reassembly_position")["global_offsets"])[:, 0]
    away = positions - positions.mean(dim=0)
    margin = 2 * math.ceil(math.ceil(float(away.abs().max())) / 2)
    return inner // 2 + margin + away, (inner + 2 * margin, inner + 2 * margin)


@pytest.mark.parametrize("inner", [20, 32])
def test_central_squares_at_their_positions(inner):
    data = oracle("reassembly_position")
    places, shape = canvas_of(inner)
    image, coverage = reassemble(data["patches"][..., 0], places, shape, central_mask(64, inner))
    expected = data[f"reassembled_M{inner}"][..., 0]
    assert_within(image, expected, TOLERANCE)
    assert not image[coverage == 0].any()
    assert not expected[coverage == 0].any()


def test_sums_and_weights_of_central_squares():
    data = oracle("reassembly_position")
    places, shape = canvas_of(20)
    total = place_patches(central_mask(64, 20) * data["patches"][..., 0], places, shape)
    _, coverage = reassemble(data["patches"][..., 0], places, shape, central_mask(64, 20))
    assert_within(total, data["shift_and_sum_M20"][..., 0], TOLERANCE)
    assert_within(coverage, data["weight_M20"][..., 0], TOLERANCE)
    assert torch.equal(coverage > 0, data["weight_M20"][..., 0] > 0)


def recorded_group(name: str) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """Patches (B, C, N, N), upstream's moves (B, C, 2), places on the canvas (B, C, 2) and its shape.

    A patch lies at minus its move, and the moves are centred over the whole batch.
    """
    data = oracle(name)
    shape = data["norm"].shape[1:3]
    moves = yx(data["rel_offsets"])
    return channels_first(data["patches"]), moves, shape[0] / 2 - (moves - moves.mean(dim=(0, 1))), shape


@GROUPS
def test_groups_on_canvases_of_their_own(name):
    data = oracle(name)
    patches, moves, places, shape = recorded_group(name)
    total = place_patches(patches, places, shape)
    _, coverage = reassemble(patches, places, shape, central_mask(64, 32))
    assert_within(total.real, data["object_sum"][..., 0], TOLERANCE)
    assert_within(coverage + 0.001, data["norm"][..., 0], TOLERANCE)
    image, expected, inside = total / (coverage + 0.001), data["object"][..., 0], data["norm"][..., 0] > 0.5
    assert_within(image[inside], expected[inside], TOLERANCE)
    back = extract_patches(image, shape[0] / 2 - moves, 64)[:2]
    assert_within(back, channels_first(data["extracted"]), TOLERANCE)


@GROUPS
def test_frames_moved_into_register(name):
    """Each patch moved by minus its relative offset, which is to where it lies in the group."""
    patches, moves, _, _ = recorded_group(name)
    found = place_patches(patches[:1, :, None], (32 - moves[:1])[:, :, None], (64, 64))
    assert_within(found, channels_first(oracle(name)["centered"]), TOLERANCE)


@GROUPS
def test_uncovered_pixels_are_zero_and_not_a_thousandfold(name):
    patches, _, places, shape = recorded_group(name)
    image, coverage = reassemble(patches, places, shape, central_mask(64, 32))
    uncovered = oracle(name)["norm"][..., 0] == 0.001
    assert torch.equal(coverage == 0, uncovered)
    assert not image[uncovered].any()
    assert oracle(name)["object"][..., 0][uncovered].abs().max() > 100
    assert image.abs().max() <= patches.abs().max() * (1 + 1e-6)


def test_groups_are_centred_one_by_one():
    """Single frames lie in the middle of their canvas, wherever the rest of the batch is."""
    patches, moves, batch_places, shape = recorded_group("reassembly_group_g1")
    places = shape[0] / 2 + centred(-moves.double())
    assert (places == shape[0] / 2).all()
    image, _ = reassemble(patches, places, shape, torch.ones(64, 64))
    margin = (shape[0] - 64) // 2
    assert torch.equal(image[:, margin:-margin, margin:-margin], patches[:, 0])
    older, _ = reassemble(patches, batch_places, shape, torch.ones(64, 64))
    assert deviation(older, image) > 0.1


def test_a_batch_of_any_size_keeps_its_groups_apart():
    """The older program adds all groups into one image as soon as a batch holds 64 patches."""
    patches, moves, _, _ = recorded_group("reassembly_group_g2")
    offsets = centred(-moves.double())
    light = Illumination(100 * default_probe(64), None, support=32)
    model = PtychoModel(ModelConfig(gridsize=2, stages=1, n_filters_scale=0.25))
    few = model.predict_counts(patches, offsets, light, reach=7)
    many = model.predict_counts(patches.repeat(6, 1, 1, 1), offsets.repeat(6, 1, 1), light, reach=7)
    assert many.shape[0] * many.shape[1] == 72
    assert_within(many, few.repeat(6, 1, 1, 1), 1e-6)
    alone = model.predict_counts(patches[1:2], offsets[1:2], light, reach=7)
    assert_within(alone, few[1:2], 1e-6)
