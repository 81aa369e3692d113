"""Without a GPU: tensors that hold no numbers and claim to be on one. What mixes devices is refused as there."""

from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ptychopinn.config import ModelConfig
from ptychopinn.inference import stitching
from ptychopinn.inference.stitching import Stitcher, joined
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics.exit_waves import (
    illumination_map,
    object_to_waves,
    position_gradients,
    probe_to_waves,
    probe_views,
    waves_to_object,
    waves_to_probe,
)
from ptychopinn.physics.patches import Canvas, extract_patches, place_patches
from ptychopinn.scan.illumination import Illumination
from tests.helpers import poisson_nll

SIZE = 32
GPU = torch.device("cuda:0")


@pytest.fixture
def pretended() -> Iterator[None]:
    with FakeTensorMode():
        yield


def on_gpu(*shape: int, dtype: torch.dtype = torch.complex64) -> torch.Tensor:
    return torch.ones(*shape, dtype=dtype, device=GPU)


def test_a_mixture_is_refused(pretended):
    with pytest.raises(RuntimeError, match="device"):
        on_gpu(3) + torch.ones(3, 1)


@pytest.mark.parametrize("leading", [(), (2,)])
def test_patches(leading, pretended):
    positions = on_gpu(*leading, 5, 2, dtype=torch.float32)
    read = extract_patches(on_gpu(*leading, 60, 50), positions, SIZE)
    assert (read.device, read.shape) == (GPU, (*leading, 5, SIZE, SIZE))
    placed = place_patches(read, positions, (60, 50))
    assert (placed.device, placed.shape) == (GPU, (*leading, 60, 50))


def test_a_canvas(pretended):
    canvas = Canvas((60, 50), SIZE, torch.complex64, GPU)
    for patches in (on_gpu(5, SIZE, SIZE), on_gpu(SIZE, SIZE).expand(5, -1, -1)):
        canvas.add(patches, on_gpu(5, 2, dtype=torch.float32), on_gpu(SIZE, SIZE, dtype=torch.float32))
    assert canvas.image.device == GPU


@pytest.mark.parametrize("subpixel", ["bilinear", "fourier"])
def test_views(subpixel, pretended):
    views = probe_views(on_gpu(2, SIZE, SIZE), on_gpu(5, 2, dtype=torch.float64), subpixel)
    image, probe = on_gpu(60, 50), on_gpu(2, SIZE, SIZE)
    waves, patches = object_to_waves(views, image), extract_patches(image, views.places, SIZE)
    found = [waves, waves_to_object(views, waves, (60, 50)), illumination_map(views, (60, 50))]
    found += [probe_to_waves(views, patches, probe), waves_to_probe(views, patches, waves)]
    found += [position_gradients(views, patches)]
    assert {values.device for values in (*found, views.probes, views.places)} == {GPU}


@pytest.fixture(params=[("realspace", 1), ("realspace", 2), ("amplitude", 1), ("amplitude", 2)], ids=str)
def model(request) -> PtychoModel:
    features, gridsize = request.param
    return PtychoModel(ModelConfig(gridsize=gridsize, features=features, depth=1))


def test_a_prediction_and_its_loss(model, pretended):
    gridsize = model.config.gridsize
    weights = {name: on_gpu(*weight.shape, dtype=weight.dtype) for name, weight in model.named_parameters()}
    light = Illumination(on_gpu(2, SIZE, SIZE), on_gpu(SIZE, SIZE, dtype=torch.bool), 20)
    counts = on_gpu(3, gridsize**2, SIZE, SIZE, dtype=torch.float32)
    offsets = on_gpu(3, gridsize**2, 2, dtype=torch.float32)
    patches = torch.func.functional_call(model, weights, (counts, offsets, light, 3))[-1]
    loss = poisson_nll(model.predict_counts(patches, offsets, light, 3), counts).mean()
    assert loss.device == GPU


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("moments", [False, True])
def test_a_stitcher(monkeypatch, turned, moments, pretended):
    """Patches and phases may wait in the memory of the host."""
    monkeypatch.setattr(stitching, "lit_square", lambda weight: slice(0, SIZE))  # it looks at the numbers
    parts = []
    for device in ("cpu", GPU):
        part = Stitcher((60, 50), on_gpu(SIZE, SIZE, dtype=torch.float32), moments=moments)
        phases = torch.ones(5, dtype=torch.float64) if turned else None
        part.add(torch.ones(5, 1, SIZE, SIZE, dtype=torch.complex64, device=device), torch.ones(5, 1, 2), phases)
        parts.append(part)
    whole = joined(*parts, turn=turned)
    assert whole.image().device == GPU
    assert not moments or whole.spread()[1].device == GPU
