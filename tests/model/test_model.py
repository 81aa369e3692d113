"""The model: vacuum at first, any even size, groups that do not see each other, counts of one common object."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ptychopinn.config import ModelConfig
from ptychopinn.model.features import amplitude_scale
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics import likelihood
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.probe import curved_disc, normalise_probe, probe_intensity
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.simulation import smooth_lines
from ptychopinn.training import losses
from tests.helpers import poisson_nll, random_positions

FEATURES = pytest.mark.parametrize("features", ["realspace", "amplitude"])
GRIDSIZES = pytest.mark.parametrize("gridsize", [1, 2, 3])
REACH = 4
SCALE = amplitude_scale(34, 1e6)
"""For frames of 34 pixels and 1e6 photons."""


def light_of(size: int, photons: float = 1e6) -> Illumination:
    """A disc probe on frames of ``size`` pixels."""
    probe = normalise_probe(curved_disc(size, 7.0, 2.5), photons)
    return Illumination(probe, None, support=20)


def offsets_of(groups: int, gridsize: int, seed: int = 0) -> Tensor:
    """Offsets (groups, C, 2) within ``REACH``, centred in every group."""
    drawn = random_positions(groups, gridsize**2, low=-2, high=2, seed=seed, dtype=torch.float32)
    return drawn - drawn.mean(dim=1, keepdim=True)


def truth(offsets: Tensor, size: int) -> Tensor:
    """Patches (B, C, N, N) of one object, each group at a place of its own."""
    middle = size / 2 + REACH + 4 * torch.arange(len(offsets))[:, None, None]
    image = torch.from_numpy(smooth_lines(2 * size + 40, seed=2))
    places = (middle + offsets).flatten(0, 1)
    return extract_patches(image, places, size).unflatten(0, offsets.shape[:2])


def model_of(features: str, gridsize: int, touched: bool = True) -> PtychoModel:
    """A narrow model; with ``touched`` its last layers are no longer zero."""
    torch.manual_seed(0)
    model = PtychoModel(ModelConfig(features=features, gridsize=gridsize, stages=2, n_filters_scale=0.25), SCALE)
    for name, parameter in model.named_parameters():
        if touched and ".leave." in name:
            nn.init.normal_(parameter, std=0.03)
    return model


def measured(offsets: Tensor, light: Illumination) -> Tensor:
    rate = diffract(light.probe, truth(offsets, light.probe.shape[-1]))
    return torch.poisson(rate, torch.Generator().manual_seed(0))


@FEATURES
@GRIDSIZES
@pytest.mark.parametrize("size", [34, 50, 66])
def test_any_even_size_gives_vacuum_before_training(features, gridsize, size):
    light, offsets = light_of(size), offsets_of(2, gridsize)
    model = model_of(features, gridsize, touched=False)
    stages = model(measured(offsets, light), offsets, light, REACH)
    assert len(stages) == (1 if features == "amplitude" else 2)
    for patches in stages:
        expected = torch.ones(2, gridsize**2, size, size, dtype=torch.complex64)
        torch.testing.assert_close(patches, expected, rtol=0, atol=1e-6)
    rate = model.predict_counts(stages[-1], offsets, light, REACH)
    vacuum = diffract(light.probe, torch.ones(size, size, dtype=torch.complex64))
    # Beyond the reach of the light the common object is not known and 0, not vacuum.
    torch.testing.assert_close(rate, vacuum.expand_as(rate), rtol=1e-3, atol=1e-3 * float(vacuum.max()))


@FEATURES
@GRIDSIZES
def test_groups_of_a_batch_do_not_see_each_other(features, gridsize):
    light, offsets = light_of(34), offsets_of(5, gridsize)
    counts, model = measured(offsets, light), model_of(features, gridsize)
    together = model(counts, offsets, light, REACH)[-1].detach()
    assert (together - 1).abs().max() > 0.05
    rates = model.predict_counts(together, offsets, light, REACH)
    for rows in ([0], [3, 1], [4, 0, 2]):
        apart = model(counts[rows], offsets[rows], light, REACH)[-1]
        torch.testing.assert_close(apart, together[rows], rtol=0, atol=1e-5)
        rate = model.predict_counts(apart, offsets[rows], light, REACH)
        torch.testing.assert_close(rate, rates[rows], rtol=1e-3, atol=1e-5 * float(rates.max()))


@FEATURES
@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_the_answer_does_not_know_the_dose(features, factor):
    light, offsets = light_of(34), offsets_of(2, 2)
    counts, model = measured(offsets, light), model_of(features, 2)
    expected = model(counts, offsets, light, REACH)[-1]
    model.input_scale = factor**-0.5 * SCALE
    found = model(factor * counts, offsets, light._replace(probe=factor**0.5 * light.probe), REACH)[-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_masked_pixels_do_not_reach_the_realspace_network():
    offsets, mask = offsets_of(2, 2), torch.rand(34, 34, generator=torch.Generator().manual_seed(0)) > 0.1
    light = light_of(34)._replace(good_pixels=mask)
    counts, model = measured(offsets, light), model_of("realspace", 2)
    expected = model(counts, offsets, light, REACH)[-1]
    assert torch.equal(model(torch.where(mask, counts, 1e6), offsets, light, REACH)[-1], expected)


def test_counts_of_true_patches_are_exact_for_single_frames():
    light, offsets = light_of(34), offsets_of(3, 1)
    patches = truth(offsets, 34)
    rate = model_of("realspace", 1).predict_counts(patches, offsets, light, REACH)
    assert torch.equal(rate, diffract(light.probe, patches))


@pytest.mark.parametrize("gridsize", [2, 3])
def test_counts_of_true_patches_are_those_of_the_common_object(gridsize):
    light, offsets = light_of(34), offsets_of(3, gridsize).round()
    patches = truth(offsets, 34)
    expected = diffract(light.probe, patches)
    found = model_of("realspace", gridsize).predict_counts(patches, offsets, light, REACH)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6 * float(expected.max()))


@pytest.mark.parametrize("gridsize", [2, 3])
def test_between_pixels_a_smooth_object_gives_nearly_its_counts(gridsize):
    light, offsets = light_of(34), offsets_of(3, gridsize)
    columns = offsets[..., 1, None, None] + torch.arange(34)
    patches = torch.exp(0.1j * columns).expand(-1, -1, 34, -1)
    expected = diffract(light.probe, patches)
    found = model_of("realspace", gridsize).predict_counts(patches, offsets, light, REACH)
    assert float((found.sqrt() - expected.sqrt()).square().sum() / expected.sum()) < 1e-5


def test_patches_that_disagree_predict_what_their_mean_does():
    light, offsets = light_of(34), torch.zeros(1, 4, 2)
    patches = torch.stack([torch.full((34, 34), value, dtype=torch.complex64) for value in (0.5, 1.5, 1 + 1j, 1 - 1j)])
    found = model_of("realspace", 2).predict_counts(patches[None], offsets, light, REACH)
    vacuum = diffract(light.probe, torch.ones(34, 34, dtype=torch.complex64))
    torch.testing.assert_close(found, vacuum.expand_as(found), rtol=1e-3, atol=1e-6 * float(vacuum.max()))


def total_loss(model: PtychoModel, counts: Tensor, offsets: Tensor, light: Illumination) -> Tensor:
    """Everything that training may minimise."""
    stages = model(counts, offsets, light, REACH)
    rate = model.predict_counts(stages[-1], offsets, light, REACH)
    weight, target = probe_intensity(light.probe), truth(offsets, counts.shape[-1])
    error = sum(losses.patch_error(patches, target, weight).sum() for patches in stages)
    return error + likelihood.poisson_deviance(rate, counts).mean() + poisson_nll(rate, counts).mean()


@FEATURES
@GRIDSIZES
def test_gradients_reach_every_parameter(features, gridsize):
    light, offsets = light_of(34), offsets_of(2, gridsize)
    model = model_of(features, gridsize)
    total_loss(model, measured(offsets, light), offsets, light).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@FEATURES
@pytest.mark.parametrize("case", ["no photons at all", "half of the frames dark", "opaque prediction"])
def test_gradients_stay_finite(features, case):
    light, offsets = light_of(34), offsets_of(2, 2)
    counts, model = measured(offsets, light), model_of(features, 2)
    if case == "no photons at all":
        counts = torch.zeros_like(counts)
    elif case == "half of the frames dark":
        counts[:, ::2] = 0
    else:
        for network in model.networks:
            nn.init.constant_(network.leave.bias, -300.0)
    loss = total_loss(model, counts, offsets, light)
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_input_scale_is_that_of_the_good_pixels_and_belongs_to_amplitudes(tiny_scan):
    mask = np.random.default_rng(0).random((32, 32)) > 0.2
    masked = replace(tiny_scan, good_pixels=mask)
    photons = float((tiny_scan.frames(slice(None)) * torch.from_numpy(mask)).sum(dim=(1, 2)).mean())
    model = model_of("amplitude", 1)
    scaled = model.scaled_to(masked)
    assert scaled.input_scale == pytest.approx(amplitude_scale(32, photons))
    assert model.input_scale == SCALE
    assert all(a is b for a, b in zip(scaled.parameters(), model.parameters(), strict=True))
    corrections = model_of("realspace", 1)
    assert corrections.scaled_to(masked) is corrections
