"""The canvas of a whole scan: operators, and what the truth pulls at."""

import numpy as np
import torch

from ptychopinn.model.unet import UNet
from ptychopinn.model.whole import REPEATS, Lights, as_transformed, light_of, passes, pull, reconstructed, stage, vacuum
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import probe_views
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import curved_disc

N, EDGE, FRAMES = 32, 56, 9


def a_scan(photons: float = 1e6) -> tuple[torch.Tensor, torch.Tensor, Lights]:
    """Roots of counts without noise, the object, and what is known of the frames."""
    generator = torch.Generator().manual_seed(0)
    image = torch.polar(
        1 - 0.2 * torch.rand(EDGE, EDGE, generator=generator), torch.rand(EDGE, EDGE, generator=generator)
    )
    places = EDGE / 2 + 8 * (torch.rand(FRAMES, 2, generator=generator, dtype=torch.float64) - 0.5)
    views = probe_views(photons**0.5 * curved_disc(N, 7.0, 2.0), places, "fourier")
    lights = Lights(views.probes, views.places, None)
    counts = diffract(views.probes, extract_patches(image, views.places, N))
    return as_transformed(counts).sqrt(), image, lights


def test_the_truth_is_not_pulled():
    modulus, image, lights = a_scan()
    light = light_of(lights, (EDGE, EDGE))
    lit = light > 0.1 * light.max()
    assert float((pull(image, modulus, lights) / light)[lit].abs().max()) < 1e-3
    assert float((pull(torch.ones_like(image), modulus, lights) / light)[lit].abs().max()) > 0.1


def test_light_is_the_photons_of_all_frames():
    _, _, lights = a_scan(1e4)
    assert abs(float(light_of(lights, (EDGE, EDGE)).sum()) / (FRAMES * 1e4) - 1) < 1e-3


def test_a_batch_is_what_its_scans_are_alone():
    modulus, image, lights = a_scan()
    other = torch.ones_like(image)
    both = Lights(*(part.expand(2, *part.shape) for part in lights[:2]), None)
    together = pull(torch.stack([image, other]), modulus.expand(2, -1, -1, -1), both)
    for found, alone in zip(together, (image, other), strict=True):
        assert torch.allclose(found, pull(alone, modulus, lights), atol=1e-2)


def test_networks_without_an_answer_leave_vacuum_and_the_others_change_lit_pixels_only():
    torch.manual_seed(1)
    modulus, image, lights = a_scan()
    light = light_of(lights, (EDGE, EDGE))[None]
    networks = [UNet(8, 4, 4, 2) for _ in range(3)]

    def pulling(now: torch.Tensor) -> torch.Tensor:
        return pull(now[0], modulus, lights)[None]

    silent = reconstructed(networks, pulling, light, "softplus", passes(3), vacuum(light, 2))
    assert len(silent) == 3 + 2 * REPEATS
    assert torch.allclose(silent[-1].image, torch.ones_like(image)[None], atol=1e-6)
    for network in networks:
        torch.nn.init.normal_(network.leave.weight, std=0.1)
    spoken = reconstructed(networks, pulling, light, "softplus", passes(3), vacuum(light, 2))[-1].image
    dark = light < 1e-6 * light.max()
    assert bool((spoken[dark] == 1).all())
    assert float((spoken - 1).detach().abs()[~dark].max()) > 0.01


def test_the_step_of_a_stage_does_not_depend_on_the_dose():
    """Only the channel of the light does."""
    seen: list[torch.Tensor] = []

    def network(features: torch.Tensor) -> torch.Tensor:
        seen.append(features)
        return features.new_zeros(1, 2, EDGE, EDGE)

    for photons in (1e4, 1e6):
        modulus, _, lights = a_scan(photons)
        light = light_of(lights, (EDGE, EDGE))[None]
        start = vacuum(light, 0)
        stage(network, start, pull(start.image[0], modulus, lights)[None], light, "softplus")
    first, second = seen
    assert torch.allclose(first[:, :3], second[:, :3], atol=1e-3)
    assert np.isclose(float((second[:, 3] - first[:, 3]).max()), np.log(100) / 8, atol=0.02)


def test_stages_after_the_first_are_repeated():
    assert passes(3, 1) == (0, 1, 2, 1, 2)
    assert passes(2, 2) == (0, 1, 1, 1)
    assert passes(1) == (0,)
