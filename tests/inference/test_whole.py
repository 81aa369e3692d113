"""Inference with a network for any set-up: blocks, tiles, growing canvases, error bars and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.config import InferenceConfig
from ptychopinn.errors import PtychoError
from ptychopinn.evaluation.metrics import score_in_box
from ptychopinn.inference import whole
from ptychopinn.inference.infer import infer
from ptychopinn.model.pretrained import pretrained
from ptychopinn.model.unet import UNet
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan

EXACT = InferenceConfig(inference_precision="32")


@pytest.fixture(scope="module")
def image(tiny_scan: Scan) -> Reconstruction:
    return infer(pretrained(), tiny_scan, EXACT)


def test_it_is_nearer_to_the_truth_than_vacuum(tiny_scan, image):
    flat = replace(image, object=np.ones_like(image.object))
    assert score_in_box(image, tiny_scan)["phase_mae"] < 0.7 * score_in_box(flat, tiny_scan)["phase_mae"]
    assert image.subpixel == "fourier"
    assert image.deviance < 0.5 * flat.with_deviance(tiny_scan).deviance


@pytest.mark.parametrize("factor", [0.05, 30.0])
def test_the_scale_of_the_probe_changes_only_that_of_the_image(tiny_scan, image, factor):
    found = infer(pretrained(), replace(tiny_scan, probe=factor * tiny_scan.probe), EXACT)
    lit = image.coverage > 0.1 * image.coverage.max()
    assert np.allclose(found.object[lit] * factor, image.object[lit], atol=2e-3)
    assert np.allclose(found.amplitude_std[lit] * factor, image.amplitude_std[lit], atol=2e-3)


def test_little_memory_gives_the_same_image(tiny_scan, image, monkeypatch):
    monkeypatch.setattr(whole, "frames_per_chunk", lambda probe: 5)
    monkeypatch.setattr(whole._Frames, "__init__", _not_held(whole._Frames.__init__))
    found = infer(pretrained(), tiny_scan, EXACT)
    assert np.allclose(found.object, image.object, atol=1e-3)


def _not_held(make):
    def init(self, *args):
        make(self, *args)
        self.held = False

    return init


def test_tiles_give_what_the_whole_canvas_gives(monkeypatch):
    torch.manual_seed(0)
    network = UNet(6, 2, 4, 2).eval()
    torch.nn.init.normal_(network.leave.weight)
    seen = torch.randn(1, 6, 200, 148)
    monkeypatch.setattr(whole, "TILE", 64)
    with torch.no_grad():
        assert torch.allclose(whole._Tiled(network, 2)(seen), network(seen), atol=1e-5)


def test_error_bars_shrink_with_the_dose_and_are_there_for_every_pixel(tiny_scan, image):
    assert image.phase_std.shape == image.object.shape
    assert (image.phase_std >= 0).all()
    faint = replace(
        tiny_scan,
        counts=np.random.default_rng(0).binomial(tiny_scan.counts.astype(int), 1e-2).astype(np.float32),
        probe=0.1 * tiny_scan.probe,
    )
    lit = image.coverage > 0.5 * image.coverage.max()
    assert np.median(infer(pretrained(), faint, EXACT).phase_std[lit]) > 1.3 * np.median(image.phase_std[lit])


def test_dark_frames_are_named_and_a_scan_without_light_is_refused(tiny_scan):
    counts = np.array(tiny_scan.counts)
    counts[[3, 10]] = 0
    assert infer(pretrained(), replace(tiny_scan, counts=counts), EXACT).dark.tolist() == [3, 10]
    with pytest.raises(PtychoError, match="photon"):
        infer(pretrained(), replace(tiny_scan, counts=0 * counts), EXACT)


def counted(monkeypatch, until=1000):
    """Passes that were made; from number ``until`` on they give vacuum."""
    honest, count = whole.stage, []

    def runs_away(network, estimate, scene, activation):
        found = honest(network, estimate, scene, activation)
        count.append(1)
        return found if len(count) < until else found._replace(image=torch.ones_like(found.image))

    monkeypatch.setattr(whole, "stage", runs_away)
    return count


def test_passes_that_run_away_do_not_spoil_the_image(tiny_scan, image, monkeypatch):
    """The image is that of the cycle that fitted best where a later one fits far worse, and no more follow."""
    count = counted(monkeypatch, until=5)
    found = infer(pretrained(), tiny_scan, EXACT)
    assert len(count) == 6 + 4, "of the scan, and of the simulated counts of its image"
    assert found.deviance < 2 * image.deviance


def test_passes_end_where_only_noise_is_left(tiny_scan, monkeypatch):
    count = counted(monkeypatch)
    infer(pretrained(), tiny_scan, EXACT)
    bright = len(count)
    thinned = np.random.default_rng(0).binomial(tiny_scan.counts.astype(int), 1e-3).astype(np.float32)
    infer(pretrained(), replace(tiny_scan, counts=thinned, probe=1e-3**0.5 * tiny_scan.probe), EXACT)
    assert len(count) - bright < bright


def test_the_deviance_of_a_few_frames_is_that_of_the_scan(tiny_scan, image, monkeypatch):
    monkeypatch.setattr(whole, "FEW", len(tiny_scan))
    frames = whole._Frames(tiny_scan, 1000, 1, "cpu")
    canvas = torch.from_numpy(image.object / frames.factor)[None]
    pixels = len(tiny_scan) * (tiny_scan.N**2 if tiny_scan.good_pixels is None else tiny_scan.good_pixels.sum())
    measured, noise = frames.deviance(canvas)
    assert measured / pixels == pytest.approx(image.deviance, rel=1e-3)
    assert noise / pixels == pytest.approx(image.expected_deviance, rel=0.02)
