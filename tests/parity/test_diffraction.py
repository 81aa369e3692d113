"""Forward diffraction, photon scaling and the physics chain behind the network."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches, place_patches
from ptychopinn.physics.probe import circular_mask
from ptychopinn.physics.reassembly import central_mask, reassemble
from tests.helpers import scale_of
from tests.parity.oracle import assert_within, channels_first, oracle, yx

TOLERANCE = 2e-6
CHAIN_TOLERANCE = 2e-5


def amplitude(probe: Tensor, patches: Tensor) -> Tensor:
    """Amplitudes of one probe mode (N, N): what the older program predicts instead of counts."""
    return diffract(probe[None], patches).sqrt()


def frames(images: Tensor) -> Tensor:
    """Amplitudes (B, N, N, C) -> counts (B C, N, N)."""
    return channels_first(images).flatten(0, 1).double().square()


def test_diffraction_of_probe_and_object():
    data = oracle("forward_diffraction")
    assert_within(amplitude(data["probe"], data["object"]), data["amplitude"], TOLERANCE)


def test_diffraction_of_the_object_alone():
    """Vacuum, one bright pixel, and a plane wave whose peak shows where each frequency lands."""
    data = oracle("forward_diffraction")
    found = amplitude(torch.ones(64, 64), data["object"][4:])
    assert_within(found, data["amplitude_object_only"], TOLERANCE)
    rows, cols = zip(*(divmod(int(frame.argmax()), 64) for frame in found[[0, 2]]), strict=True)
    assert (rows, cols) == ((32, 32 - 5), (32, 32 + 3))


def test_diffraction_of_a_padded_field():
    """The older program pads 64 to 96 pixels but still divides by 64: its amplitudes are 96 / 64 times ours."""
    data = oracle("forward_diffraction")
    fields = pad(data["probe"] * data["object"][:2], [16] * 4)
    assert_within(amplitude(torch.ones(96, 96), fields) * 96 / 64, data["amplitude_padded"], TOLERANCE)


@pytest.mark.parametrize("edge", [64, 16])
def test_input_scale_is_one_number_for_the_data_set(edge):
    data = oracle("photon_scaling")
    raw = data[f"raw{edge}"]
    assert_within(raw * scale_of(frames(raw)), data[f"normalized{edge}"], TOLERANCE)


def test_photon_scale_from_the_input_scale():
    """Normalised inputs have a mean power of (N/2)^2, so ``sqrt(photons) / (N/2)`` takes them to photons."""
    data = oracle("photon_scaling")
    to_photons = data["nphotons"].sqrt() / 32
    assert_within(to_photons * scale_of(frames(data["padded_obj"])), data["scale_nphotons"], TOLERANCE)


def test_photon_scale_in_closed_form():
    """Frames of a known dose have the input scale ``(N/2) / sqrt(photons)``, whatever they show."""
    data = oracle("photon_scaling")
    for photons, scale, expected in zip(
        data["nphotons"], data["scale_nphotons"], data["intensity_scale_N64"], strict=True
    ):
        counts = frames(scale * data["padded_obj"])
        assert float(counts.sum(dim=(-2, -1)).mean()) == pytest.approx(float(photons), rel=TOLERANCE)
        assert 1 / scale_of(counts) == pytest.approx(float(expected), rel=TOLERANCE)
    for edge, expected in zip(data["N_values"].tolist(), data["intensity_scale_1e9"], strict=True):
        counts = torch.full((1, edge, edge), 1e9 / edge**2)
        assert 1 / scale_of(counts) == pytest.approx(float(expected), rel=TOLERANCE)


def test_simulated_amplitudes_and_their_scale():
    data = oracle("photon_scaling")
    patches = torch.polar(data["sim_Y_I"], data["sim_Y_phi"])
    counts = diffract(data["sim_probe"][None], patches)
    scale = 1e5**0.5 / 32 * scale_of(counts)
    assert scale == pytest.approx(float(data["sim_intensity_scale"]), rel=TOLERANCE)
    # What the simulator returns is the scaled, illuminated field divided by its scale again.
    assert_within(amplitude(scale * data["sim_probe"], patches) / scale, data["sim_X"], TOLERANCE)
    assert_within((data["sim_probe"] * patches).abs(), data["sim_Y_I_out"], TOLERANCE)


class TestChain:
    """Patches of groups -> one object per group -> its patches -> probe -> detector, in sqrt(photons)."""

    @pytest.fixture(params=["g1", "g2"])
    def group(self, request):
        """Patches, places on the canvas, places that are read back, canvas shape, probe, expected amplitudes.

        The older program centres the places over the whole batch when it adds, not when it reads.
        """
        data, expected = oracle(f"reassembly_group_{request.param}"), oracle(f"physics_forward_{request.param}")
        shape = data["norm"].shape[1:3]
        moves = yx(data["rel_offsets"])
        placed = shape[0] / 2 - (moves - moves.mean(dim=(0, 1)))
        probe = expected["intensity_scale"] * expected["probe"]
        return channels_first(data["patches"]), placed, shape[0] / 2 - moves, shape, probe, expected

    def test_patches_that_fill_only_their_central_square(self, group):
        """The usual case; there the older sum over sum of masks is our reassembly with the mask as weight."""
        patches, placed, read, shape, probe, expected = group
        image, coverage = reassemble(patches, placed, shape, central_mask(64, 32))
        # Undo the 0.001 that the older program adds to the sum of its masks.
        seen = extract_patches(image * coverage / (coverage + 0.001), read, 64)
        assert_within(amplitude(probe, seen), channels_first(expected["amp_central"]), CHAIN_TOLERANCE)

    @pytest.mark.parametrize("mask", ["nomask", "mask"])
    def test_full_patches(self, group, mask):
        """Sums of whole patches over sums of masks: not a mean, so written out here."""
        patches, placed, read, shape, probe, expected = group
        total = place_patches(patches, placed, shape)
        coverage = place_patches(central_mask(64, 32).expand(patches.shape), placed, shape)
        seen = extract_patches(total / (coverage + 0.001), read, 64)
        light = probe * circular_mask(64) if mask == "mask" else probe
        assert_within(amplitude(light, seen), channels_first(expected[f"amp_{mask}"]), CHAIN_TOLERANCE)
