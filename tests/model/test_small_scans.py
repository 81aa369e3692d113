"""Groups as small scans: a network for the canvas of a whole scan, as it is trained."""

import torch

from ptychopinn.config import ModelConfig
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan.illumination import Illumination

N, REACH, FRAMES = 32, 9, 4


def a_model() -> PtychoModel:
    torch.manual_seed(0)
    model = PtychoModel(ModelConfig(canvas="scan", hidden_channels=2, n_filters_scale=0.25)).eval()
    for network in model.networks:
        torch.nn.init.normal_(network.leave.weight, std=0.05)
    return model


def groups(photons: float) -> tuple[torch.Tensor, torch.Tensor, Illumination]:
    """Counts without noise (2, 4, N, N), offsets, and the light."""
    generator = torch.Generator().manual_seed(1)
    offsets = REACH * (2 * torch.rand(2, FRAMES, 2, generator=generator) - 1)
    image = torch.polar(torch.ones(2, 80, 80), torch.rand(2, 80, 80, generator=generator))
    probe = photons**0.5 * curved_disc(N, 7.0, 1.0)
    counts = diffract(probe, extract_patches(image, offsets + 40, N))
    return counts, offsets, Illumination(probe, None, 20)


def test_a_group_does_not_depend_on_what_shares_its_batch():
    model, (counts, offsets, light) = a_model(), groups(1e5)
    both = model(counts, offsets, light, REACH)[-1]
    for number in range(2):
        some = slice(number, number + 1)
        assert torch.allclose(both[some], model(counts[some], offsets[some], light, REACH)[-1], atol=1e-4)


def test_patches_of_a_group_are_of_one_image():
    """Two frames at one place have one patch."""
    model, (counts, offsets, light) = a_model(), groups(1e5)
    offsets[:, 1], counts[:, 1] = offsets[:, 0], counts[:, 0]
    found = model(counts, offsets, light, REACH)[-1]
    assert torch.allclose(found[:, 0], found[:, 1], atol=1e-5)
    assert float((found[:, 0] - found[:, 2]).detach().abs().max()) > 1e-3


def test_frames_of_a_weaker_beam_are_taken_for_what_they_are():
    """Counts that were scaled up by 1 / dose are those of a probe of ``dose`` times the power."""
    model, (counts, offsets, light) = a_model(), groups(1e5)
    scaled = model(counts, offsets, light, REACH, torch.full((2,), 0.01))[-1]
    weaker = model(counts * 0.01, offsets, light._replace(probe=light.probe * 0.1), REACH)[-1]
    # Where hardly any light is expected, a floor of the projection is felt.
    assert torch.allclose(scaled, weaker, atol=5e-3)
    assert not torch.allclose(scaled, model(counts, offsets, light, REACH)[-1], atol=1e-3)


def test_training_goes_on_from_any_repeat_and_all_stages_learn():
    model, (counts, offsets, light) = a_model().train(), groups(1e5)
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        stages = model(counts, offsets, light, REACH)
        seen.add(len(stages))
        torch.stack([stage.abs().square().mean() for stage in stages]).sum().backward()
    assert seen == {2, 3}
    assert all(network.leave.weight.grad.abs().max() > 0 for network in model.networks)
