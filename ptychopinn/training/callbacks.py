"""Callbacks of a training: time budget, history, stop requests and teacher."""

import math
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from ptychopinn.config import ExecutionConfig
from ptychopinn.errors import RunFailedError
from ptychopinn.files.output_folder import write_table
from ptychopinn.files.replacing import Place
from ptychopinn.files.signals import StopRequest
from ptychopinn.text import Report
from ptychopinn.training.datamodule import ScanDataModule
from ptychopinn.training.plan import Follow

CHECKPOINTS = "checkpoints"

LAST = Path(CHECKPOINTS) / "last.ckpt"

TABLE = "metrics.csv"
"""History of a run: rows of epochs and of steps, written as a whole every time, so that a resumed run continues it."""

EVERY_STEPS = 10
"""Optimiser steps between two rows of steps."""


class Clock:
    """Progress of a training: the fraction of its steps or of its seconds, whichever is larger.

    Args:
        max_seconds: wall-clock budget, or None.
    """

    def __init__(self, max_seconds: float | None) -> None:
        self.start = time.monotonic()
        self.now = 0.0
        self.max_seconds = max_seconds
        self.trainer: lightning.Trainer | None = None

    def seconds(self) -> float:
        """Seconds of training, those before a resume included."""
        return time.monotonic() - self.start

    def continue_from(self, seconds: float) -> None:
        """Count ``seconds`` that an earlier process spent."""
        self.start -= seconds

    def tick(self, seconds: float) -> None:
        """Set the time that counts until the next tick, the same in all processes of a training."""
        self.now = seconds

    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return self.max_seconds is not None and self.now >= self.max_seconds

    def progress(self) -> float:
        """From 0 to 1."""
        by_time = self.now / self.max_seconds if self.max_seconds else 0.0
        if self.trainer is None:
            return by_time
        return max(by_time, self.trainer.global_step / max(1, self.trainer.estimated_stepping_batches))


class Watch(Callback):
    """Stops at the time budget, at a signal or at NaN, and keeps the history.

    Its state travels with the checkpoints, so a resumed training continues history and clock.

    Args:
        clock: of this training.
        report: receives a line per epoch.
        data: what it trains on; a checkpoint sets where it continues.
        place: folder of the run, for ``metrics.csv`` and the checkpoint that a signal asks for; None to write neither.
        settings: whether to write these.
        follow: is called with every row of the history.
    """

    def __init__(
        self,
        clock: Clock,
        report: Report,
        data: ScanDataModule,
        place: Place | None,
        settings: ExecutionConfig,
        follow: Follow = lambda row, share: None,
    ) -> None:
        self.clock, self.report, self.data, self.follow = clock, report, data, follow
        self.place, self.writes_table = place, settings.logger == "csv"
        self.checkpoint = place.folder / LAST if place is not None and settings.enable_checkpointing else None
        self.resume_at = (0, 0)
        self.history: list[dict[str, float]] = []
        self.steps: list[dict[str, float]] = []
        """Every tenth optimiser step: its number, epoch, step size and loss."""
        self.rate = 0.0
        self.stop = StopRequest(signal.SIGINT, take=False)
        """Ends the training after a step; a second Ctrl-C interrupts it at once."""
        self.asked_to_stop: str | None = None
        self.cut_short = False
        self.saves_at_stop = self.checkpoint is not None
        """Whether there is a checkpoint to go on from after a stop."""

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Take Ctrl-C and SIGTERM over from Lightning, which would leave without a checkpoint."""
        self.stop.take()
        self._tick(trainer)

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, optimizer: Optimizer
    ) -> None:
        """Keep the step size: at the end of a batch it is that of the next step."""
        self.rate = float(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Stop between two steps, never inside one; the first process decides for all."""
        self._tick(trainer)
        self._record_step(trainer, outputs)
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if self.asked_to_stop and not trainer.is_last_batch and batches % trainer.accumulate_grad_batches == 0:
            # Leave the epoch at once: Lightning would take it for finished at its end.
            self.saves_at_stop = self._saves(trainer)
            if self.saves_at_stop:
                self.resume_at = trainer.current_epoch, batches
                trainer.save_checkpoint(str(self.checkpoint))
            raise self.stopped(trainer)
        if self.clock.is_over() or (self.asked_to_stop and trainer.is_last_batch):
            trainer.should_stop = True
            self.cut_short = not (trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs)

    def _record_step(self, trainer: lightning.Trainer, outputs: Any) -> None:
        step = trainer.global_step
        if step % EVERY_STEPS == 0 and (not self.steps or step > self.steps[-1]["step"]):
            # Lightning divides the loss of a batch by the number of batches per step.
            loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
            self.steps.append({"epoch": trainer.current_epoch + 1, "step": step, "lr": self.rate, "step_loss": loss})
            self.follow(self.steps[-1], self.clock.progress())

    def _saves(self, trainer: lightning.Trainer) -> bool:
        """Whether a stop saves a checkpoint, as the first process decides.

        In the first epoch it does not where the folder still holds an older run, which is worth more.
        """
        saves = self.checkpoint is not None and self.place is not None and not self.place.waits
        return saves if trainer.world_size == 1 else bool(trainer.strategy.broadcast(saves))

    def stopped(self, trainer: lightning.Trainer) -> RunFailedError:
        """The error that ends a training after a signal."""
        step = f"training: stopped by {self.asked_to_stop} after step {trainer.global_step}"
        way = "go on with the same command and --resume" if self.saves_at_stop else "nothing was saved"
        if self.place is not None and self.place.waits:
            way += f", and {self.place.folder} holds the earlier run"
        return RunFailedError(f"{step}; {way}.")

    def _tick(self, trainer: lightning.Trainer) -> None:
        # A signal that comes during the broadcast counts in the next tick: it has a name of its own and is not lost.
        now = self.clock.seconds(), self.stop.name
        seconds, self.asked_to_stop = now if trainer.world_size == 1 else trainer.strategy.broadcast(now)
        self.clock.tick(seconds)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Record and report the epoch."""
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        done = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "lr": self.rate}
        row = {**done, "seconds": round(self.clock.seconds(), 1), **row}
        if not all(math.isfinite(value) for value in row.values()):
            raise RunFailedError(
                f"training: the loss is not finite after epoch {row['epoch']}; try a smaller --learning-rate."
            )
        self.history.append(row)
        self.follow(row, self.clock.progress())
        if self.place is not None and self.writes_table and trainer.is_global_zero:
            rows = sorted([*self.steps, *self.history], key=lambda row: row["step"])
            self.place.put(TABLE, lambda path: write_table(path, rows))
        shown = [f"{name} {row[name]:.4f}" for name in ("train_loss", "val_loss", "val_nll") if name in row]
        self.report(f"epoch {row['epoch']}/{trainer.max_epochs}  {row['seconds']:.0f} s  " + "  ".join(shown))

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Report a time budget that ended the training early."""
        if self.clock.is_over() and self.cut_short:
            epochs = f"epoch {self.history[-1]['epoch']:.0f} of {trainer.max_epochs}"
            self.report(f"Ended early, in {epochs}, after {self.clock.max_seconds:g} s (--max-seconds).")

    def state_dict(self) -> dict[str, Any]:
        """History, seconds spent, and where in an epoch to continue."""
        rows = {"history": list(self.history), "steps": list(self.steps)}
        return {**rows, "seconds": self.clock.seconds(), "goes_on_at": list(self.resume_at)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self.history, self.steps = list(state_dict["history"]), list(state_dict["steps"])
        self.clock.continue_from(float(state_dict["seconds"]))
        epoch, batches = state_dict["goes_on_at"]
        self.data.resume_at = epoch, batches


class Teacher(Callback):
    """Sets the targets of the data; of several processes, one makes them.

    Args:
        makes: by attribute of the data, what returns (H, W) complex, or None for no target.
        data: that need them.
    """

    def __init__(self, makes: Mapping[str, Callable[[], Tensor | None]], data: ScanDataModule) -> None:
        self.makes, self.data = makes, data

    def setup(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        """Before the first batch."""
        for name, make in self.makes.items() if stage == "fit" else ():
            target = make() if trainer.is_global_zero else None
            setattr(self.data, name, target if trainer.world_size == 1 else trainer.strategy.broadcast(target))
