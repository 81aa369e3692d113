"""The canvas of a whole scan: operators, what the truth pulls at, and waves that are longer than frames."""

import numpy as np
import torch

from ptychopinn.model import whole
from ptychopinn.model.unet import UNet
from ptychopinn.model.whole import (
    REPEATS,
    Lights,
    SmallScans,
    as_transformed,
    best_multiple,
    cycles,
    light_of,
    passes,
    pull,
    reconstructed,
    smooth_part,
    smoothing,
    stage,
    vacuum,
)
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import probe_views
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import curved_disc, probe_intensity

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


def of_one(modulus: torch.Tensor, lights: Lights, edge: int = EDGE) -> SmallScans:
    """A batch of one scan."""
    return SmallScans(
        modulus[None], Lights(lights.probes[None], lights.places[None], None), (edge, edge), levelled=True
    )


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


def test_networks_without_an_answer_bend_the_image_only_and_leave_dark_pixels_vacuum():
    torch.manual_seed(1)
    modulus, _, lights = a_scan()
    scene = of_one(modulus, lights)
    networks = [UNet(9, 4, 4, 2) for _ in range(3)]
    start = vacuum(scene.light, 2)
    with torch.no_grad():
        silent = reconstructed(networks, scene, "softplus", passes(3), start)
        assert len(silent) == 3 + 2 * REPEATS
        assert torch.allclose(silent[-1].image.abs(), torch.ones(1, EDGE, EDGE), atol=1e-6)
        for network in networks:
            torch.nn.init.normal_(network.leave.weight, std=0.1)
        spoken = reconstructed(networks, scene, "softplus", passes(3), start)[-1].image
    dark = scene.light < 1e-6 * scene.light.max()
    assert bool((spoken[dark] == 1).all())
    assert float((spoken.abs() - 1).abs()[~dark].max()) > 0.01


def test_the_step_of_a_stage_does_not_depend_on_the_dose():
    """Only the channel of the light does."""
    seen: list[torch.Tensor] = []

    def network(features: torch.Tensor) -> torch.Tensor:
        seen.append(features)
        return features.new_zeros(1, 2, EDGE, EDGE)

    for photons in (1e4, 1e6):
        modulus, _, lights = a_scan(photons)
        scene = of_one(modulus, lights)
        stage(network, vacuum(scene.light, 0), scene, "softplus")
    first, second = seen
    light = 3
    for channel in range(first.shape[1]):
        assert channel == light or torch.allclose(first[:, channel], second[:, channel], atol=2e-3)
    assert np.isclose(float((second[:, light] - first[:, light]).max()), np.log(100) / 8, atol=0.02)


def test_a_network_acts_on_small_corrections_as_on_large_ones():
    """What a linear network makes of a correction goes with it, whatever its size."""
    modulus, image, lights = a_scan()
    scene = of_one(modulus, lights)

    def network(features: torch.Tensor) -> torch.Tensor:
        return features[:, :2]

    found = []
    for size in (1e-1, 1e-2):
        near = vacuum(scene.light, 0)._replace(image=(image * (1 + size * torch.randn(1).abs()))[None])
        after = stage(network, near, scene, "softplus").channels[:, 0]
        found.append(after / scene.pulled(near.image).real.abs().max())
    assert torch.allclose(found[0] / found[0].abs().max(), found[1] / found[1].abs().max(), atol=0.05)


def test_stages_after_the_first_are_repeated():
    assert passes(3, 1) == (0, 1, 2, 1, 2)
    assert passes(2, 2) == (0, 1, 1, 1)
    assert passes(1) == (0,)


def test_cycles_end_with_the_second_stage():
    assert list(cycles(3, 2)) == [(0, 1), (2, 1), (2, 1)]
    assert sum(cycles(3, 2), ()) == passes(3, 3)[:6]
    assert list(cycles(2, 2)) == [(0, 1), (1,), (1,)]
    assert list(cycles(1)) == [(0,)]


def test_the_filter_inverts_what_frames_see_of_a_wave():
    """A frame sees a phase less its mean under the light; for all frames of a dense scan that is ``1 - A``."""
    edge, wavelength = 96, 48
    intensity = probe_intensity(curved_disc(N, 7.0, 0.0))
    share = intensity / intensity.sum()
    wave = torch.cos(2 * torch.pi * torch.arange(edge) / wavelength).expand(edge, edge)
    kernel = torch.fft.fft2(torch.fft.ifftshift(torch.nn.functional.pad(share, (32, 32, 32, 32))))
    seen = wave - torch.fft.ifft2(kernel.abs().square() * torch.fft.fft2(wave)).real
    filtered = smoothing(intensity[None], (edge // 2, edge // 2))
    found = torch.fft.irfft2(filtered * torch.fft.rfft2(seen[None]), s=(edge, edge))[0]
    # One regulariser, and the wave itself in place of the part that frames do not see.
    assert float(((found + seen) - wave).abs().max()) < 0.15


def test_the_best_multiple_of_a_small_change_is_found():
    modulus, image, lights = a_scan()
    y, x = torch.meshgrid(torch.linspace(-1, 1, EDGE), torch.linspace(-1, 1, EDGE), indexing="ij")
    bend = 0.01 * (x + y * x)
    wrong = image * torch.polar(torch.ones(EDGE, EDGE), -3 * bend)
    batch = Lights(lights.probes[None], lights.places[None], None)
    found = best_multiple(wrong[None], bend[None], modulus[None], batch)
    assert abs(float(found) - 3) < 0.05
    assert float(best_multiple(wrong[None], -bend[None], modulus[None], batch)) == 0, "never against the counts"
    ignored = batch._replace(good=torch.zeros(N, N, dtype=torch.bool))
    assert float(best_multiple(wrong[None], bend[None], modulus[None], ignored)) == 0


def test_a_phase_error_longer_than_a_frame_goes_in_a_few_passes():
    """Without any network; steps of projections alone leave most of it."""
    edge = 120
    places = torch.cartesian_prod(torch.arange(16, 105, 6), torch.arange(16, 105, 6)).double() + 0.3
    views = probe_views(1e3 * curved_disc(N, 7.0, 2.0), places, "fourier")
    lights = Lights(views.probes, views.places, None)
    y, x = torch.meshgrid(torch.linspace(-1, 1, edge), torch.linspace(-1, 1, edge), indexing="ij")
    image = torch.polar(torch.ones(edge, edge), 0.3 * torch.sin(2 * x) * torch.cos(2 * y))
    modulus = as_transformed(diffract(views.probes, extract_patches(image, views.places, N))).sqrt()
    scene = of_one(modulus, lights, edge)
    usual = scene.light.square().sum() / scene.light.sum()

    def error(now: torch.Tensor) -> float:
        inside = (now[0] * image.conj())[20:100, 20:100]
        return float((inside * inside.mean().conj()).angle().std())

    now = plain = torch.ones(1, edge, edge, dtype=torch.complex64)
    for _ in range(4):
        step = scene.pulled(now) / (scene.light + 0.05 * usual)
        bend = smooth_part(step, now, scene.light / (scene.light + 0.05 * usual), scene.smooth)
        bend = torch.where(scene.light > 1e-3 * usual, bend, 0.0)
        now = now * torch.polar(torch.ones_like(bend), scene.gain(now, bend)[:, None, None] * bend)
        plain = plain + scene.pulled(plain) / (scene.light + 0.05 * usual)
    begin = error(torch.ones(1, edge, edge, dtype=torch.complex64))
    assert error(now) < 0.15 * begin < 0.6 * error(plain)


def test_nothing_is_levelled_unless_asked_for():
    modulus, _, lights = a_scan()
    scene = SmallScans(modulus[None], Lights(lights.probes[None], lights.places[None], None), (EDGE, EDGE))
    networks = [UNet(9, 4, 4, 2) for _ in range(3)]
    silent = reconstructed(networks, scene, "softplus", passes(3), vacuum(scene.light, 2))
    assert torch.allclose(silent[-1].image, torch.ones(1, EDGE, EDGE, dtype=torch.complex64), atol=1e-6)


def test_the_smooth_part_of_a_large_canvas_is_found_on_coarser_pixels(monkeypatch):
    edge = 203
    wave = torch.sin(torch.arange(edge) / 30)[None, :, None] * torch.cos(torch.arange(edge) / 40)[None, None, :]
    step, image = 1j * 0.1 * wave, torch.ones(1, edge, edge, dtype=torch.complex64)
    intensity, known = probe_intensity(curved_disc(N, 9.0, 0.0))[None], torch.ones(1, edge, edge)
    fine = smooth_part(step, image, known, smoothing(intensity, (edge, edge)))
    monkeypatch.setattr(whole, "FINEST_EDGE", 60)
    filtered = smoothing(intensity, (edge, edge))
    assert filtered.shape[-2] == 2 * 51
    coarse = smooth_part(step, image, known, filtered)
    assert float((coarse - fine).std()) < 0.1 * float(fine.std())


def test_a_network_cannot_make_long_waves():
    """A wave as long as the canvas is damped to what frames see of it; one of two pixels stays."""
    edge = 96
    smooth = smoothing(probe_intensity(curved_disc(N, 9.0, 0.0))[None], (edge, edge))
    row = torch.arange(edge) - edge / 2
    envelope = torch.exp(-(row**2) / 800)
    for wave, low, high in ((torch.cos(2 * torch.pi * row / 96), 0.0, 0.2), (torch.cos(torch.pi * row), 0.95, 1.05)):
        phase = (wave * envelope).expand(1, edge, edge) * envelope[None, :, None]
        left = whole.without_long_waves(phase, smooth)
        assert low < float((left * phase).sum() / (phase * phase).sum()) < high
