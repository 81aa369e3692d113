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
from ptychopinn.files.output_folder import write_table
from ptychopinn.files.replacing import Place
from ptychopinn.files.signals import StopRequest
from ptychopinn.model.execution import device_of
from ptychopinn.model.model import PtychoModel
from ptychopinn.model.whole import SmallScans, as_transformed, passes, reconstructed, vacuum
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.text import Report
from ptychopinn.training.callbacks import CHECKPOINTS, TABLE
from ptychopinn.training.draws import Draws, SmallScan
from ptychopinn.training.losses import patch_error
from ptychopinn.training.setups import Field

CHECKPOINT = Path(CHECKPOINTS) / "last.ckpt"

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints, each with a row of the history."""

PANEL_SECONDS = 600.0
"""Between two looks at the panel of scans."""

USUAL_SECONDS = 3600.0
"""Of a training without ``max_seconds``."""

USUAL_RATE = 2e-3
"""Peak step size without ``learning_rate``."""

WARMUP_STEPS = 200
FINAL_RATE = 0.005
EARLY_STAGE_WEIGHT = 0.3

SINGLE_FRAMES = 0.1
"""Share of the batches whose frames are predicted one by one, as in the training on a scan."""

HELD, MOST_REPEATS = 16, 8
"""Batches of small scans that are in the making, and how often the later stages go on with one before it is over."""

LIT = 0.2
"""Light, in units of the mean light of a lit pixel, at which a pixel counts half."""

FLOOR = 1e-5
"""Added to a patch error: its root keeps a finite gradient."""

MEMORY = 0.98
"""Of the running errors, per sample of a kind."""

HEAVIEST = 3.0
"""Largest weight of a sample, in units of a usual one."""


class InTheMaking:
    """A batch of small scans and the images so far.

    Args:
        draw: of the scans.
        hidden: channels of the network.
        repeats: how often the later stages go on with it.
    """

    def __init__(self, draw: SmallScan, hidden: int, repeats: int) -> None:
        self.draw, self.left = draw, repeats
        shape = draw.targets.shape[-2], draw.targets.shape[-1]
        self.scene = SmallScans(as_transformed(draw.counts).sqrt(), draw.lights, shape)
        self.begun, self.estimate = False, vacuum(self.scene.light, hidden)


class RunningErrors:
    """Errors of similar samples (kind of probe, photons, contrast of the object): what is achievable for them."""

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
        self.model, self.hidden = PtychoModel(settings.model).to(self.device), settings.model.hidden_channels
        self.rate = settings.execution.learning_rate or USUAL_RATE
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.rate, weight_decay=1e-3)
        self.draws, self.given = Draws(settings.training.seed, given), given
        self.errors = RunningErrors()
        self.held: list[InTheMaking] = []
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []

    def advance(self, progress: float) -> float:
        """One optimiser step; returns the mean root of the patch errors of its batch."""
        rate = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * rate * min(1.0, (self.step + 1) / WARMUP_STEPS)
        alone = float(self.draws.rng.random()) < SINGLE_FRAMES
        loss, found = self._single_frames() if alone else self._small_scans()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return found

    def _single_frames(self) -> tuple[Tensor, float]:
        """Loss on frames that are predicted one by one."""
        draw = self.draws.next().to(self.device)
        with self._precision():
            stages = self.model(draw.counts, draw.counts.new_zeros(len(draw.counts), 1, 2), draw.light, 0)
        weight = probe_intensity(draw.light.probe)
        keys = [f"{kind} alone" for kind in draw.kinds]
        return self._weighed(stages, draw.targets, weight, draw.photons, keys)

    def _small_scans(self) -> tuple[Tensor, float]:
        """Loss on small scans that are reconstructed as a whole, for the next stages of one of those in the making.

        The later stages thus go on from where they ended, with weights that have changed little since.
        """
        rng = self.draws.rng
        if len(self.held) < HELD:
            repeats = int(rng.integers(MOST_REPEATS + 1)) if len(self.model.networks) > 1 else 0
            self.held.append(InTheMaking(self.draws.next_scans().to(self.device), self.hidden, repeats))
        which = len(self.held) - 1 if not self.held[-1].begun else int(rng.integers(len(self.held)))
        some = self.held[which]
        draw, light = some.draw, some.scene.light
        order = passes(len(self.model.networks), 0)[int(some.begun) :]
        activation = self.settings.model.amp_activation
        with self._precision():
            found = reconstructed(list(self.model.networks), some.scene, activation, order, some.estimate)
        some.begun, some.left, some.estimate = True, some.left - 1, found[-1].detach()
        if some.left < 0:
            self.held.pop(which)
        usual = light.square().sum(dim=(-2, -1), keepdim=True) / light.sum(dim=(-2, -1), keepdim=True)
        weight = (light / (light + LIT * usual))[:, None]
        images = [estimate.image[:, None] for estimate in found]
        keys = [f"{kind} {draw.counts.shape[1]}" for kind in draw.kinds]
        return self._weighed(images, draw.targets[:, None], weight, draw.photons, keys)

    def _precision(self) -> torch.autocast:
        bf16 = self.settings.execution.precision == "bf16-mixed"
        return torch.autocast(self.device, torch.bfloat16, enabled=bf16)

    def _weighed(
        self, stages: list[Tensor], targets: Tensor, weight: Tensor, photons: Tensor, keys: list[str]
    ) -> tuple[Tensor, float]:
        """Roots of the errors of all stages, each relative to what similar samples reach; and their mean.

        Args:
            stages: (B, 1, M, M) complex each.
            targets: (B, 1, M, M) complex.
            weight: (B, 1, M, M) real.
            photons: (B,) of the probes.
            keys: (B,) kinds of samples.
        """
        roots = [(patch_error(image, targets, weight) + FLOOR).sqrt() for image in stages]
        # What is achievable depends on the light, its photons and how far the object is from vacuum.
        contrasts = patch_error(torch.ones_like(targets), targets, weight).clamp_min(1e-4).log2().floor().int()
        kinds = [
            " ".join(map(str, key))
            for key in zip(keys, photons.log10().floor().int().tolist(), contrasts.tolist(), strict=True)
        ]
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


Look = Callable[[PtychoModel], dict[str, float]]
"""Errors, by name, of a network on a panel of scans."""


def pretrain(
    settings: Settings,
    folder: Path | Place,
    look: Look,
    report: Report = lambda line: None,
    given: tuple[Field, ...] = (),
    resume: bool = False,
) -> Pretraining:
    """Train on generated frames until ``max_seconds`` of wall-clock time are over, those before a resume included.

    Each minute a checkpoint and a row of ``metrics.csv`` are written; every ten, and at the end, the errors on the
    panel as well.

    Args:
        settings: network, optimiser, ``max_seconds`` and seed.
        folder: for the checkpoint and the table, held or not.
        look: at the panel.
        report: receives a line for each row.
        given: measured probes to vary, (m, n, n) each.
        resume: continue from the checkpoint in ``folder``.

    Raises:
        PtychoError: for a checkpoint that cannot be read.
        RunFailedError: when a signal stops it, or the loss is not finite.
    """
    training = Pretraining(settings, given)
    place = Place(folder, "pretrain") if isinstance(folder, Path) else folder
    if resume:
        training.restore(_read(place.folder / CHECKPOINT))
    most = settings.training.max_seconds or USUAL_SECONDS
    began, found = time.monotonic() - training.seconds, []
    shown = training.seconds
    with StopRequest() as stop:
        while training.seconds < most and not stop.name:
            found.append(training.advance(training.seconds / most))
            training.seconds = time.monotonic() - began
            if training.seconds - shown >= CHECKPOINT_SECONDS or training.seconds >= most or stop.name:
                over = training.seconds // PANEL_SECONDS > shown // PANEL_SECONDS or training.seconds >= most
                _note(training, found, look if over else lambda model: {}, place, report)
                found, shown = [], training.seconds
        if stop.name and training.seconds < most:
            done = f"stopped by {stop.name} after step {training.step}"
            raise RunFailedError(f"training: {done}; go on with the same command and --resume.")
    return training


def _note(training: Pretraining, found: list[float], look: Look, place: Place, report: Report) -> None:
    """Add a row to the history, write it and a checkpoint."""
    error = sum(found) / max(1, len(found))
    if not math.isfinite(error):
        raise RunFailedError("training: the loss is not finite; try a smaller --learning-rate.")
    panel = look(training.model)
    row = {"step": training.step, "seconds": round(training.seconds, 1), "patch_error": error}
    training.history.append(row | panel)
    beside = "".join(f"  {name} {value:.3f}" for name, value in panel.items())
    report(f"step {training.step}  {training.seconds:.0f} s  patch error {error:.4f}{beside}")
    buffer = io.BytesIO()
    torch.save(training.state(), buffer)

    def write(path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        with writing(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    place.put(TABLE, lambda path: write_table(path, training.history))
    place.put(str(CHECKPOINT), write, ready=True)


def _read(path: Path) -> dict[str, Any]:
    """A checkpoint of :func:`pretrain`."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError):
        raise PtychoError(f"{path}: is missing or damaged; train anew.") from None
    return state
