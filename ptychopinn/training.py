"""Training: the Lightning module, its schedule, and ``train``."""

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from ptychopinn import losses, refinement
from ptychopinn.bundle import Run
from ptychopinn.config import Settings, TrainingConfig
from ptychopinn.dataset import Batch, Grouping, ScanDataModule
from ptychopinn.errors import RunFailedError
from ptychopinn.grouping import usual_neighbor_count
from ptychopinn.model import Illumination, PtychoModel
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan import Scan

EARLY_STAGE_WEIGHT = 0.3
"""Weight of the patch error of every stage before the last."""

WARMUP_STEPS = 100

USUAL_STEPS = 1100
"""Optimiser steps after which the loss of the reference scans has levelled off."""

Report = Callable[[str], None]
"""Receives one line of progress."""


class TrainingModule(lightning.LightningModule):
    """Losses and optimiser of a model.

    Args:
        model: to train.
        light: the experiment; moves with the module.
        config: training settings.
        progress: fraction of the training that is over, 0 to 1, asked before every step.
    """

    def __init__(
        self, model: PtychoModel, light: Illumination, config: TrainingConfig, progress: Callable[[], float]
    ) -> None:
        super().__init__()
        self.model, self.light, self.config, self.progress = model, light, config, progress

    def on_fit_start(self) -> None:
        """Bring the experiment to the device of the model."""
        self.light = self.light.to(self.device)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one batch."""
        return self._loss(batch, "train")

    def validation_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one validation batch."""
        return self._loss(batch, "val")

    def configure_optimizers(self) -> Any:
        """AdamW with a short warm-up and a cosine to zero at the end of the run, be it epochs or seconds."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.config.learning_rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        done = min(1.0, self.progress())
        return min(1.0, (step + 1) / WARMUP_STEPS) * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * done)))

    def _loss(self, batch: Batch, stage: str) -> Tensor:
        counts, offsets, targets, has_target, reach = batch
        estimates = self.model(counts, offsets, self.light, reach)
        weight = probe_intensity(self.light.probe)
        shares = [EARLY_STAGE_WEIGHT] * (len(estimates) - 1) + [1.0]
        known = has_target.sum().clamp_min(1)
        error = sum(
            share * (losses.patch_error(patches, targets, weight) * has_target).sum() / known
            for share, patches in zip(shares, estimates, strict=True)
        )
        rate = self.model.predict_counts(estimates[-1], offsets, self.light, reach)
        deviance = losses.mean_over(losses.poisson_deviance(rate, counts), self.light.good_pixels)
        # Half the deviance is the negative log-likelihood above that of a perfect prediction; per photon it has
        # the size of a squared relative error, at any dose.
        nll = 0.5 * deviance / losses.mean_over(counts, self.light.good_pixels).clamp_min(1e-9)
        loss: Tensor = self.config.nll_weight * nll + self.config.realspace_weight * error
        values = {f"{stage}_loss": loss, f"{stage}_nll": nll, f"{stage}_patch_error": error}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(counts))
        return loss


class _Clock:
    """Fraction of a training that is over: by steps or by seconds, whichever is further."""

    def __init__(self, max_seconds: float | None) -> None:
        self.start = time.monotonic()
        self.max_seconds = max_seconds
        self.trainer: lightning.Trainer | None = None

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def progress(self) -> float:
        by_time = self.seconds() / self.max_seconds if self.max_seconds else 0.0
        if self.trainer is None:
            return by_time
        return max(by_time, self.trainer.global_step / max(1, self.trainer.estimated_stepping_batches))


class _Watch(Callback):
    """Stops at the time budget, collects the history, reports a line per epoch and refuses to go on with NaN."""

    def __init__(self, clock: _Clock, report: Report) -> None:
        self.clock, self.report = clock, report
        self.history: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        budget = self.clock.max_seconds
        if budget and self.clock.seconds() >= budget:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {"epoch": trainer.current_epoch + 1, "seconds": round(self.clock.seconds(), 1), **row}
        if not all(math.isfinite(value) for value in row.values()):
            raise RunFailedError(
                f"training: the loss is not finite after epoch {row['epoch']}; try a smaller --learning-rate."
            )
        self.history.append(row)
        shown = [f"{name} {row[name]:.4f}" for name in ("train_loss", "val_loss", "val_nll") if name in row]
        self.report(f"epoch {row['epoch']}/{trainer.max_epochs}  {row['seconds']:.0f} s  " + "  ".join(shown))


def train(
    scan: Scan,
    settings: Settings,
    folder: Path | None = None,
    report: Report = lambda line: None,
    progress_bar: bool = False,
) -> Run:
    """Train a network on a scan; no ground truth is used, only counts, positions and the probe.

    A teacher object is reconstructed from the same counts first (``teacher_epochs``); its patches, those of
    synthetic objects under the same probe, and the Poisson likelihood of the counts train the network.

    Args:
        scan: to train on.
        settings: all settings; see :mod:`ptychopinn.config`.
        folder: where checkpoints and the CSV log go; nothing is written when None.
        report: receives a line of progress per epoch.
        progress_bar: draw one on the terminal.

    Returns:
        The trained run: model, experiment, settings and history.

    Raises:
        RunFailedError: when the loss stops being finite.
    """
    config = settings.training
    lightning.seed_everything(config.seed, verbose=False)
    clock = _Clock(config.max_seconds)
    light = Illumination.of(scan)
    data = ScanDataModule(
        scan,
        _grouping(scan, settings),
        config.batch_size,
        config.val_fraction,
        _teacher(scan, settings, report),
        config.synthetic_fraction,
    )
    module = TrainingModule(PtychoModel(settings.model), light, config, clock.progress)
    watch = _Watch(clock, report)
    with _quiet_lightning():
        trainer = _trainer(settings, data, folder, watch, progress_bar)
        clock.trainer = trainer
        trainer.fit(module, datamodule=data)
        _keep_the_better(trainer, module, data)
    return Run(module.model.cpu().eval(), light.to("cpu"), settings, tuple(watch.history))


def _grouping(scan: Scan, settings: Settings) -> Grouping:
    gridsize, data = settings.model.gridsize, settings.data
    neighbor_count = data.neighbor_count or usual_neighbor_count(scan.positions, gridsize, scan.probe_diameter)
    return Grouping(gridsize, neighbor_count, data.n_groups, settings.training.seed)


def _teacher(scan: Scan, settings: Settings, report: Report) -> Tensor | None:
    epochs = settings.training.teacher_epochs
    if not epochs or not settings.training.realspace_weight:
        return None
    start = time.monotonic()
    teacher = refinement.reconstruct(scan, epochs, settings.training.seed, device=device_of(settings)).cpu()
    if not bool(torch.isfinite(teacher).all()):
        raise RunFailedError("teacher: the reconstruction diverged; check probe and positions, or --teacher-epochs 0.")
    report(f"teacher: {epochs} epochs of projections on the counts in {time.monotonic() - start:.1f} s")
    return teacher


def device_of(settings: Settings) -> str:
    """The torch device that the accelerator setting means here."""
    wanted = settings.execution.accelerator
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def _trainer(
    settings: Settings, data: ScanDataModule, folder: Path | None, watch: _Watch, progress_bar: bool
) -> lightning.Trainer:
    callbacks: list[Callback] = [watch]
    if folder is not None:
        monitor = "val_loss" if data.held_out.any() else "train_loss"
        callbacks.append(
            ModelCheckpoint(folder / "checkpoints", filename="best", monitor=monitor, save_last=True, save_top_k=1)
        )
    return lightning.Trainer(
        max_epochs=settings.training.nepochs or _usual_epochs(data),
        accelerator=device_of(settings),
        devices=1,
        logger=CSVLogger(folder, name="", version="") if folder is not None else False,
        callbacks=callbacks,
        enable_checkpointing=folder is not None,
        enable_progress_bar=progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=settings.training.gradient_clip_val,
        reload_dataloaders_every_n_epochs=1,
    )


def _usual_epochs(data: ScanDataModule) -> int:
    """Passes over the scan that make about ``USUAL_STEPS`` steps."""
    return max(1, math.ceil(USUAL_STEPS / len(data.train_dataloader())))


def _keep_the_better(trainer: lightning.Trainer, module: TrainingModule, data: ScanDataModule) -> None:
    """Go back to the weights of the best epoch when the last ones are worse.

    The last weights are measured anew: a time budget may have ended in the middle of an epoch.
    """
    checkpoint = trainer.checkpoint_callback
    if not isinstance(checkpoint, ModelCheckpoint) or checkpoint.best_model_score is None:
        return
    last = float(trainer.callback_metrics["train_loss"])
    if data.held_out.any():
        last = trainer.validate(module, datamodule=data, verbose=False)[0]["val_loss"]
    if last > float(checkpoint.best_model_score):
        state = torch.load(checkpoint.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's own announcements off the user's terminal; errors still come through."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            yield
    finally:
        logger.setLevel(level)
