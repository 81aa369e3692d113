"""A network for any set-up: batches of many set-ups, weights of samples, checkpoints, and that it learns."""

import csv
import math

import pytest
import torch

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.model.model import PtychoModel
from ptychopinn.model.whole import SmallScans, as_transformed, reconstructed, vacuum
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.illumination import Illumination
from ptychopinn.training import draws, pretrain
from ptychopinn.training.draws import Draws
from ptychopinn.training.losses import patch_error
from ptychopinn.training.pretrain import FLOOR, Pretraining, RunningErrors

SMALL = {"n_filters_scale": 0.25, "stages": 1, "depth": 1, "noise_input": True, "canvas": "scan", "accelerator": "cpu"}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Small frames, objects and pools: a step takes milliseconds."""
    monkeypatch.setattr(draws, "SIZES", {32: 0.7, 48: 0.3})
    monkeypatch.setattr(draws, "POOL", 8)
    monkeypatch.setattr(draws, "TOGETHER", 4)
    monkeypatch.setattr(draws, "OBJECTS", 3)
    monkeypatch.setattr(draws, "EDGE", 96)


def test_a_batch_mixes_set_ups_and_doses_and_its_frames_are_those_of_its_patches():
    source = Draws(0)
    for _ in range(6):
        draw = source.next()
        frames, size = len(draw.counts), draw.counts.shape[-1]
        assert draws.FEWEST <= frames <= draws.MOST
        assert draw.light.probe.shape[:2] == (frames, 1)
        assert draw.targets.shape == draw.counts.shape == (frames, 1, size, size)
        assert len(set(draw.photons.tolist())) == frames
        rates = diffract(draw.light.probe, draw.targets).sum(dim=(1, 2, 3))
        measured = draw.counts.sum(dim=(1, 2, 3))
        # Dead pixels, background, a wrong probe and noise: the sums agree roughly.
        bright = rates > 1e3
        assert bool(((measured / rates)[bright].log().abs() < math.log(2.5)).float().mean() > 0.8)
        assert float((draw.counts * ~draw.light.good_pixels[:, :, 0]).sum()) == 0


def test_the_same_seed_draws_the_same_batches():
    first, again, other = Draws(3), Draws(3), Draws(4)
    for _ in range(3):
        a, b, c = first.next(), again.next(), other.next()
        assert torch.equal(a.counts, b.counts)
        assert a.counts.shape != c.counts.shape or not torch.equal(a.counts, c.counts)


def test_a_probe_for_each_frame_gives_what_one_probe_gives_for_all():
    torch.manual_seed(0)
    model = PtychoModel(Settings.of(SMALL).model).eval()
    for network in model.networks:
        torch.nn.init.normal_(network.leave.weight, std=0.05)
    draw, offsets = Draws(1).next(), torch.zeros(1, 1, 2)
    together = model(draw.counts, offsets.expand(len(draw.counts), -1, -1), draw.light, 0)[-1]
    for i in range(3):
        good = draw.light.good_pixels[i, 0, 0]
        light = Illumination(draw.light.probe[i, 0], good, draw.light.support)
        alone = model(draw.counts[i : i + 1], offsets, light, 0)[-1]
        assert torch.allclose(alone[0], together[i], atol=1e-4)


def test_the_network_sees_the_dose():
    torch.manual_seed(0)
    model = PtychoModel(Settings.of(SMALL).model).eval()
    torch.nn.init.normal_(model.networks[0].leave.weight, std=0.05)
    draw = Draws(1).next()
    offsets, frames = torch.zeros(len(draw.counts), 1, 2), len(draw.counts)
    full, weak = (model(draw.counts, offsets, draw.light, 0, torch.full((frames,), dose))[-1] for dose in (1.0, 0.01))
    dimmer = draw.light._replace(probe=draw.light.probe * 0.1)
    scaled = model(draw.counts * 0.01, offsets, dimmer, 0)[-1]
    assert not torch.allclose(full, weak, atol=1e-5)
    # Where hardly any light is expected, a floor of the projection is felt.
    assert float((scaled - weak).detach().abs().max()) < 0.1 * float((full - weak).detach().abs().max())


def test_small_scans_hold_the_frames_of_their_objects():
    """Frames of a small scan, made again from its object and the probes that are told, have the photons measured."""
    source = Draws(5)
    for _ in range(4):
        draw = source.next_scans()
        frames, N = draw.counts.shape[1], draw.counts.shape[-1]
        assert draw.lights.probes.shape[:2] == (draws.SCANS, frames)
        assert len(draw.targets) == draws.SCANS
        patches = 1 + extract_patches(draw.targets - 1, draw.lights.places, N)
        assert draw.lights.good is not None
        rates = diffract(draw.lights.probes, patches) * as_transformed(draw.lights.good[:, :, 0])
        ratio = draw.counts.sum(dim=(1, 2, 3)) / rates.sum(dim=(1, 2, 3))
        assert bool(((ratio.log().abs() < math.log(1.5)) | (rates.sum(dim=(1, 2, 3)) < 1e3)).all())


def test_samples_weigh_by_what_similar_ones_reach():
    errors = RunningErrors()
    for _ in range(300):
        easy, hard = errors.weights(["easy", "hard"], [0.04, 1.0])
    assert easy / hard == pytest.approx(math.sqrt((1 + FLOOR) / (0.04 + FLOOR)), rel=0.01)
    for _ in range(2000):
        easy, hard = errors.weights(["easy", "hard"], [1e-9, 1.0])
    usual = math.exp(0.5 * (math.log(1e-9 + FLOOR) + math.log(1 + FLOOR)))
    assert easy == pytest.approx(pretrain.HEAVIEST / math.sqrt(usual), rel=0.01), "clipped"


def test_it_learns():
    training = Pretraining(Settings.of(SMALL | {"learning_rate": 5e-3}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "WARMUP_STEPS", 5)
        held = [Draws(seed).next_scans() for seed in range(90, 94)]
        before = _mean(training, held)
        for step in range(80):
            training.advance(step / 80)
    assert _mean(training, held) < 0.9 * before


def _mean(training: Pretraining, batches: list[draws.SmallScan]) -> float:
    found = []
    with torch.no_grad():
        for draw in batches:
            shape = draw.targets.shape[-2], draw.targets.shape[-1]
            scene = SmallScans(as_transformed(draw.counts).sqrt(), draw.lights, shape)
            networks, start = list(training.model.networks), vacuum(scene.light, 0)
            image = reconstructed(networks, scene, "softplus", (0,), start)[-1].image[:, None]
            found.append(patch_error(image, draw.targets[:, None], scene.light[:, None]).sqrt().mean())
    return float(torch.stack(found).mean())


def test_it_continues_from_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "CHECKPOINT_SECONDS", 0.2)
    looks: list[int] = []

    def look(model: PtychoModel) -> dict[str, float]:
        looks.append(1)
        return {"panel": 0.5}

    settings = Settings.of(SMALL | {"max_seconds": 1.0})
    first = pretrain.pretrain(settings, tmp_path, look)
    assert looks == [1], "at the end"
    assert first.history[-1]["panel"] == 0.5
    further = pretrain.pretrain(settings.changed(max_seconds=first.seconds + 1.0), tmp_path, look, resume=True)
    assert further.step > first.step
    assert further.history[: len(first.history)] == first.history
    with (tmp_path / "metrics.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(further.history)
    (tmp_path / pretrain.CHECKPOINT).write_bytes(b"half")
    with pytest.raises(PtychoError, match=r"last\.ckpt: is missing or damaged"):
        pretrain.pretrain(settings, tmp_path, look, resume=True)
