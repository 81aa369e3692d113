"""A model made ready: bfloat16 in the networks only, near float64, the trained model untouched, compiled or refused."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ptychopinn.config import InferenceConfig
from ptychopinn.errors import PtychoError
from ptychopinn.inference.infer import infer
from ptychopinn.model.batches import Batch
from ptychopinn.model.execution import algorithms, compile_networks, multiplies_bf16, ready, usual_batch_size
from ptychopinn.model.model import PtychoModel
from ptychopinn.scan.illumination import Illumination
from tests.model.test_model import GRIDSIZES, REACH, light_of, measured, model_of, offsets_of

FEATURES = pytest.mark.parametrize("features", ["realspace", "amplitude"])


def patches_of_counts(model: PtychoModel, counts: Tensor, offsets: Tensor, light: Illumination) -> Tensor:
    with torch.inference_mode():
        return model(counts.to(offsets.dtype), offsets, light, REACH)[-1]


def patches_of(model: PtychoModel, gridsize: int, light: Illumination, dtype: torch.dtype) -> Tensor:
    """What a model answers to the same counts in some precision."""
    offsets = offsets_of(4, gridsize)
    return patches_of_counts(model, measured(offsets, light_of(34)), offsets.to(dtype), light)


@FEATURES
@GRIDSIZES
@pytest.mark.parametrize(("precision", "rms"), [("32", 2e-6), ("bf16", 4e-3)])
def test_patches_are_near_those_of_double_precision(features, gridsize, precision, rms):
    model = model_of(features, gridsize)
    double = light_of(34)._replace(probe=light_of(34).probe.to(torch.complex128))
    expected = patches_of(model_of(features, gridsize).double(), gridsize, double, torch.float64)
    found = patches_of(ready(model, "cpu", precision), gridsize, light_of(34), torch.float32)
    assert (expected.dtype, found.dtype) == (torch.complex128, torch.complex64)
    assert float((expected - 1).abs().max()) > 0.05
    assert float((found - expected).abs().square().mean().sqrt()) < rms


def test_the_trained_model_stays_as_it_is():
    model = model_of("realspace", 1).train()
    found = ready(model, "cpu", "bf16")
    assert {parameter.dtype for parameter in found.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (model.training, found.training) == (True, False)


def test_the_usual_precision_is_what_the_processor_multiplies():
    dtype = next(ready(model_of("realspace", 1), "cpu").parameters()).dtype
    assert dtype == (torch.bfloat16 if multiplies_bf16("cpu") else torch.float32)
    assert not multiplies_bf16("meta")


def test_a_gpu_gets_more_groups_at_once():
    assert usual_batch_size("cuda:1") > usual_batch_size("cpu")


def test_algorithms_are_chosen_for_a_block_only():
    with pytest.raises(KeyError), algorithms(deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()
    with algorithms(deterministic=False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(PtychoError, match="compile_network: on a CPU a C\\+\\+ compiler is needed"):
        compile_networks(model_of("realspace", 1), "cpu")


@pytest.mark.slow
def test_compiled_networks_answer_the_same():
    model = model_of("realspace", 1)
    expected = patches_of(model, 1, light_of(34), torch.float32)
    found = ready(model, "cpu", "32")
    compile_networks(found, "cpu")
    assert found.state_dict().keys() == model.state_dict().keys()
    torch.testing.assert_close(patches_of(found, 1, light_of(34), torch.float32), expected, rtol=0, atol=1e-5)


needs_cuda = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_cuda)])
@FEATURES
@GRIDSIZES
@pytest.mark.parametrize(("precision", "rms"), [("32", 1e-3), ("bf16", 4e-3)])
def test_a_gpu_answers_what_the_cpu_does(device, features, gridsize, precision, rms):
    """In "32" cuDNN may multiply in TF32, of 10 bits."""
    model, offsets, light = model_of(features, gridsize), offsets_of(4, gridsize), light_of(34)
    counts = measured(offsets, light).clamp_max(60_000).to(torch.uint16)
    expected = patches_of_counts(model, counts, offsets, light)
    batch = Batch(counts, offsets, torch.ones(4), torch.ones(4), torch.ones(4), REACH).to(device)
    found = patches_of_counts(ready(model, device, precision), batch.counts, batch.offsets, light.to(device))
    assert found.device.type == device
    assert float((found.cpu() - expected).abs().square().mean().sqrt()) < rms


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_cuda)])
def test_a_gpu_gives_the_image_of_the_cpu(device, tiny_scan, tiny_run):
    expected, found = (
        infer(tiny_run, tiny_scan, InferenceConfig(inference_precision="32"), place) for place in ("cpu", device)
    )
    lit = expected.coverage > 0.01 * expected.coverage.max()
    error = abs(found.object - expected.object)[lit]
    assert float((error**2).mean() ** 0.5) < 2e-3
    assert found.deviance == pytest.approx(expected.deviance, rel=1e-2)


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_cuda)])
def test_a_gpu_repeats_to_the_last_bit_when_asked(device, tiny_scan, tiny_run):
    with algorithms(deterministic=True):
        first, second = (infer(tiny_run, tiny_scan, device=device).object for _ in range(2))
    assert np.array_equal(first, second)
