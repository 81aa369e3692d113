"""The network: alone, with stitching, a training step, and a whole training next to the rates of the older program.

The scan of the older program's numbers is simulated again: 784 frames of 64 x 64 of an object of 200 x 200, soft disc
probe of radius 11.5 px with 2.5 rad of curvature, 1e9 photons.
"""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.floors import Work, flops_of
from ptychopinn import api
from ptychopinn.config import InferenceConfig, ModelConfig, Settings
from ptychopinn.evaluation.metrics import score
from ptychopinn.inference.infer import infer
from ptychopinn.model.batches import Batch, GroupDataset
from ptychopinn.model.bundle import Run
from ptychopinn.model.execution import multiplies_bf16, ready, usual_batch_size
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics import likelihood
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.scan import Scan
from ptychopinn.training import losses
from ptychopinn.training.plan import derived

PIXELS, TINY_PIXELS = {"cpu": 2**21, "cuda": 2**25}, 2**18
"""Detector pixels of the frames of a call."""

CHECKED = 4
"""Frames that are compared with double precision."""

STEP_BATCH = 16
"""Groups of a training step."""

EPOCHS = 4
"""Of the whole training: a third of what the default would be, and enough for the older program's errors."""

PEER = {
    "object": "lines",
    "object_size": 200,
    "step": 4.9,
    "jitter": 0.1,
    "probe_radius": 11.5,
    "probe_curvature": 2.5,
    "nphotons": 1e9,
    "interpolation": "cubic",
}
OLDER = {"inference": 110.0, "training": 33.0}
"""Patterns per second of the older TensorFlow program on a quiet machine of 2 cores; its inference did not stitch."""

OLDER_ERRORS = {"phase_mae": 0.129, "amplitude_mae": 0.054, "phase_mae, unseen": 0.123}

PRECISIONS = pytest.mark.parametrize("precision", ["32", "bf16"])


@pytest.fixture(scope="module")
def scan(N: int, device: str, tiny: bool) -> Scan:
    """As much of a frame is lit at every N, and the frames of a call have as many pixels."""
    count = (TINY_PIXELS if tiny else PIXELS[device]) // N**2
    edge, step = math.isqrt(count), 5 * N / 64
    size = int(edge * step + N + 2 + 0.4 * step)
    return api.simulate(object_size=size, N=N, step=step, probe_radius=12 * N / 64, nphotons=1e7)


@pytest.fixture(scope="module")
def model() -> PtychoModel:
    """The default network, not trained, but with an answer."""
    torch.manual_seed(0)
    found = PtychoModel(ModelConfig()).eval()
    for network in found.networks:
        torch.nn.init.normal_(network.leave.weight, std=0.01)
    return found


def network_work(model: PtychoModel, batch: Batch, light: Illumination, factor: float = 1.0) -> Work:
    """The convolutions of a batch, counted."""
    flops = factor * flops_of(lambda: model(batch.counts, batch.offsets, light, batch.reach))
    count = len(batch.counts)
    return Work(count, "patterns", f"{flops / count:.4g} FLOP of convolutions a pattern, counted", conv_flops=flops)


def all_groups(scan: Scan) -> GroupDataset:
    return GroupDataset(scan, np.arange(len(scan))[:, None])


def in_double(model: PtychoModel, batch: Batch, light: Illumination) -> Tensor:
    """Patches of some frames by the same network in double precision."""
    double = ready(model, "cpu", "32").double()
    light = light._replace(probe=light.probe.to(torch.complex128))
    return double(batch.counts.double(), batch.offsets.double(), light, batch.reach)[-1]


@PRECISIONS
def test_network(measure: Callable, model: PtychoModel, scan: Scan, device: str, precision: Any) -> None:
    """Frames in memory to patches on the device, the transfer included."""
    if precision == "bf16" and not multiplies_bf16(device):
        pytest.skip("no bfloat16 arithmetic here")
    light, dataset = Illumination.of(scan), all_groups(scan)
    used, there, size = ready(model, device, precision), light.to(device), usual_batch_size(device)

    @torch.inference_mode()
    def predict() -> Tensor:
        parts = [dataset.__getitems__(rows.tolist()).to(device) for rows in torch.arange(len(scan)).split(size)]
        return torch.cat([used(part.counts, part.offsets, there, part.reach)[-1] for part in parts])

    first = dataset.__getitems__(list(range(CHECKED))).to("cpu")
    whole = dataset.__getitems__(list(range(min(size, len(scan))))).to("cpu")
    work = network_work(model, whole, light)
    per = len(scan) / work.count
    work = Work(len(scan), "patterns", work.formula, conv_flops=per * work.conv_flops)
    found = measure(predict, work=work, device=device)

    with torch.no_grad():
        expected = in_double(model, first, light)
    weight = probe_intensity(light.probe)
    error = ((found[:CHECKED].cpu() - expected).abs().square() * weight).sum() / weight.sum() / CHECKED
    assert float(error.sqrt()) < (1e-2 if precision == "bf16" else 2e-3 if device == "cuda" else 1e-5)


def test_inference(measure: Callable, model: PtychoModel, scan: Scan, device: str) -> None:
    """``infer`` from frames in memory to the image: phases, stitching, spread and deviance included."""
    light = Illumination.of(scan)
    run = Run(model, light, Settings())
    work = network_work(model, all_groups(scan).__getitems__([0]).to("cpu"), light)
    work = Work(len(scan), "patterns", work.formula, conv_flops=work.conv_flops * len(scan))
    found = measure(lambda: infer(run, scan, InferenceConfig(), device), work=work, device=device, rounds=3)
    expected = infer(run, scan, InferenceConfig(inference_precision="32"))
    lit = expected.coverage > 0.05 * expected.coverage.max()
    assert float(np.sqrt((abs(found.object - expected.object)[lit] ** 2).mean())) < 1e-2


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_step(measure: Callable, scan: Scan, device: str, precision: str) -> None:
    """Forward, losses, backward and optimiser on 16 frames; the loss of these frames must fall."""
    light = Illumination.of(scan).to(device)
    batch = all_groups(scan).__getitems__([i % len(scan) for i in range(STEP_BATCH)]).to(device)
    torch.manual_seed(0)
    network = PtychoModel(ModelConfig()).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    weight, mean = probe_intensity(light.probe), float(batch.counts.mean())
    seen: list[float] = []

    def loss_of() -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16-mixed"):
            stages = network(batch.counts, batch.offsets, light, batch.reach)
            rate = network.predict_counts(stages[-1], batch.offsets, light, batch.reach)
            errors = [losses.patch_error(patches, batch.targets, weight).mean() for patches in stages]
            return likelihood.poisson_deviance(rate, batch.counts).mean() / mean + 1e-3 * torch.stack(errors).sum()

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss.detach()

    seen.append(float(step()))
    # Backward costs two convolutions for each of forward.
    work = network_work(PtychoModel(ModelConfig()), batch.to("cpu"), light.to("cpu"), factor=3)
    measure(lambda: [step() for _ in range(10)], work=_times(work, 10), device=device, rounds=3)
    seen.append(float(loss_of().detach()))
    assert seen[1] < seen[0]


def _times(work: Work, factor: int) -> Work:
    return Work(factor * work.count, work.unit, work.formula, conv_flops=factor * work.conv_flops)


class Peer:
    """The scan of the older program, another object, and a run trained on the first."""

    def __init__(self) -> None:
        self.scan, self.other = api.simulate(**PEER), api.simulate(**PEER, seed=1)
        self.run: Run | None = None

    def train(self, device: str, nepochs: int) -> Run:
        self.run = api.train(self.scan, accelerator=device, nepochs=nepochs)
        return self.run

    def groups(self, run: Run) -> tuple[int, int]:
        """Patterns that a training saw: measured ones, and all with the synthetic ones."""
        values = run.settings.changed(**derived(self.scan, run.settings)).flat()
        measured = values["n_groups"] * len(run.history)
        return measured, round(measured / (1 - values["synthetic_fraction"]))


@pytest.fixture(scope="module")
def peer(device: str) -> Peer:
    return Peer()


def test_whole_training(measure: Callable, peer: Peer, device: str, tiny: bool, benchmark: Any) -> None:
    """``train`` with default settings but fewer epochs, from a scan in memory: start, teacher, epochs, validation.

    Counted are measured patterns only; as many synthetic ones are seen besides.
    """
    planned, epochs = derived(peer.scan, Settings()), 1 if tiny else EPOCHS
    light, batch = Illumination.of(peer.scan), all_groups(peer.scan).__getitems__([0]).to("cpu")
    flops = network_work(PtychoModel(ModelConfig()), batch, light, factor=3).conv_flops
    measured = planned["n_groups"] * epochs
    everything = measured / (1 - planned["synthetic_fraction"])
    formula = f"{flops:.4g} FLOP of convolutions a pattern and direction"
    work = Work(measured, "patterns", formula, conv_flops=flops * everything)
    run = measure(peer.train, device, epochs, work=work, device=device, rounds=1, warmup=0)
    assert peer.groups(run) == (measured, everything)
    report_ratio(benchmark, measured, "training", f"; {everything / measured:g} times that with the synthetic patterns")


@pytest.mark.parametrize("precision", ["auto", "32"])
def test_older_programs_scan(
    measure: Callable, peer: Peer, device: str, tiny: bool, benchmark: Any, precision: Any
) -> None:
    """Inference with stitching after that training, and its errors next to the older program's."""
    run = peer.run or peer.train(device, 1 if tiny else EPOCHS)
    light, batch = Illumination.of(peer.scan), all_groups(peer.scan).__getitems__([0]).to("cpu")
    work = network_work(run.model, batch, light)
    work = Work(len(peer.scan), "patterns", work.formula, conv_flops=work.conv_flops * len(peer.scan))
    image = measure(
        infer, run, peer.scan, InferenceConfig(inference_precision=precision), device, work=work, device=device
    )
    alone = len(peer.scan) / image.seconds["network"]
    report_ratio(benchmark, len(peer.scan), "inference", f"; the network alone {alone:,.0f} patterns/s")
    if not tiny:
        seen, unseen = errors(image, peer.scan), errors(infer(run, peer.other, InferenceConfig(), device), peer.other)
        found = {name: seen[name] for name in ("phase_mae", "amplitude_mae")} | {
            "phase_mae, unseen": unseen["phase_mae"]
        }
        print("; ".join(f"{name} {value:.3f} (older {OLDER_ERRORS[name]:.3f})" for name, value in found.items()))
        assert all(found[name] <= OLDER_ERRORS[name] for name in OLDER_ERRORS)


def errors(image: Reconstruction, scan: Scan) -> dict[str, float]:
    assert scan.object is not None
    return asdict(score(image.window(scan.object.shape)[scan.scan_box], scan.object[scan.scan_box]))


def report_ratio(benchmark: Any, patterns: float, kind: str, more: str) -> None:
    if benchmark.stats is not None:
        rate = patterns / benchmark.stats.stats.median
        print(f"{rate:,.0f} patterns/s, {rate / OLDER[kind]:.1f} times the older program's {OLDER[kind]:g}{more}")
