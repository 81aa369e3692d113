"""Training of one network for any set-up, on generated frames."""

import io
import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.atomic import writing
from ptychopinn.model.execution import device_of
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.text import Report
from ptychopinn.training.draws import Draw, Draws
from ptychopinn.training.losses import patch_error
from ptychopinn.training.setups import Field

CHECKPOINT = "pretrain.ckpt"
CHECKPOINT_SECONDS = 60.0

WARMUP_STEPS = 200
FINAL_RATE = 0.005
EARLY_STAGE_WEIGHT = 0.3

FLOOR = 1e-5
"""Added to a patch error: its root keeps a finite gradient."""

MEMORY = 0.98
"""Of the running errors, per sample of a kind."""

HEAVIEST = 3.0
"""Largest weight of a sample, in units of a usual one."""


class RunningErrors:
    """Errors of similar samples, of one kind of probe and one power of ten in photons: what is achievable for them."""

    def __init__(self) -> None:
        self.table: dict[str, float] = {}

    def weights(self, kinds: list[str], errors: list[float]) -> list[float]:
        """Inverse running root mean square errors, after these errors were taken in; at most 3 times the usual one."""
        for kind, error in zip(kinds, errors, strict=True):
            self.table[kind] = MEMORY * self.table.get(kind, error) + (1 - MEMORY) * error
        usual = math.exp(sum(math.log(value + FLOOR) for value in self.table.values()) / len(self.table))
        return [min(HEAVIEST, math.sqrt(usual / (self.table[kind] + FLOOR))) / math.sqrt(usual) for kind in kinds]


class Pretraining:
    """State of a training on generated frames, and its steps.

    Args:
        settings: of network, optimiser, time and seed.
        given: measured probes to vary.
    """

    def __init__(self, settings: Settings, given: tuple[Field, ...] = ()) -> None:
        self.settings, self.device = settings, device_of(settings)
        torch.manual_seed(settings.training.seed)
        self.model = PtychoModel(settings.model).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.execution.learning_rate, weight_decay=1e-3
        )
        self.draws, self.given = Draws(settings.training.seed, given), given
        self.errors = RunningErrors()
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []

    def advance(self, progress: float) -> float:
        """One optimiser step; returns the mean root of the patch errors of its batch."""
        draw = self.draws.next().to(self.device)
        rate = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.execution.learning_rate * rate * min(1.0, (self.step + 1) / WARMUP_STEPS)
        bf16 = self.settings.execution.precision == "bf16-mixed"
        with torch.autocast(self.device, torch.bfloat16, enabled=bf16):
            offsets = draw.counts.new_zeros(len(draw.counts), 1, 2)
            stages = self.model(draw.counts, offsets, draw.light, 0)
        loss, found = self._loss(draw, stages)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return found

    def _loss(self, draw: Draw, stages: list[Tensor]) -> tuple[Tensor, float]:
        """Roots of the patch errors of all stages, each relative to what similar samples reach."""
        weight = probe_intensity(draw.light.probe)
        roots = [(patch_error(patches, draw.targets, weight) + FLOOR).sqrt() for patches in stages]
        decades = draw.photons.log10().floor().int().tolist()
        kinds = [f"{kind} {decade}" for kind, decade in zip(draw.kinds, decades, strict=True)]
        weights = roots[-1].new_tensor(self.errors.weights(kinds, roots[-1].detach().square().tolist()))
        total = torch.stack([(EARLY_STAGE_WEIGHT if root is not roots[-1] else 1.0) * root for root in roots]).sum(0)
        return (weights * total).mean(), float(roots[-1].detach().mean())

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds; the draws go on from a seed of their own."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "errors": self.errors.table,
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "settings": self.settings.flat(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.errors.table = dict(state["errors"])
        self.step, self.seconds, self.history = state["step"], state["seconds"], list(state["history"])
        # The set-ups of the first part were seen; a restart draws others.
        self.draws = Draws(self.settings.training.seed + 7919 * self.step, self.given)
