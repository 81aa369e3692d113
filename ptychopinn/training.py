"""Training: the Lightning module and ``train``."""

import math
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from ptychopinn import losses, refinement
from ptychopinn.bundle import Run
from ptychopinn.config import Settings
from ptychopinn.dataset import Batch, Grouping, ScanDataModule
from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.grouping import usual_neighbor_count
from ptychopinn.model import Illumination, PtychoModel
from ptychopinn.physics.probe import probe_intensity
from ptychopinn.scan import Scan
from ptychopinn.training_setup import (
    CHECKPOINTS,
    build_trainer,
    device_of,
    loader_options,
    monitored,
    quiet_lightning,
)
from ptychopinn.training_watch import Clock, Report, Watch, signals_restored

EARLY_STAGE_WEIGHT = 0.3
"""Weight of the patch error of every stage before the last."""

WARMUP_STEPS = 100

USUAL_STEPS = 1100
"""Optimiser steps after which the loss of the reference scans has levelled off."""

FINAL_RATE = 0.005
"""Step size at the end of a decaying schedule, as a fraction of the peak."""

MILESTONES = (0.5, 0.75, 0.9)
"""Fractions of the run at which the multistep schedule divides the step size by 3."""


class TrainingModule(lightning.LightningModule):
    """Losses and optimiser of a model.

    Args:
        model: to train.
        light: the experiment; moves with the module.
        settings: training and execution settings.
        clock: how much of the training is over.
        validates: whether there is validation data.
    """

    def __init__(
        self, model: PtychoModel, light: Illumination, settings: Settings, clock: Clock, validates: bool
    ) -> None:
        super().__init__()
        self.model, self.light, self.clock = model, light, clock
        self.config, self.execution = settings.training, settings.execution
        self.monitor = monitored(settings.execution, validates)

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
        """AdamW, its step size following the chosen schedule to the end of the run, be it epochs or seconds."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.execution.learning_rate, weight_decay=1e-3)
        if self.execution.scheduler == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, self.execution.mode, factor=0.3, patience=3)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": self.monitor}}
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        done = min(1.0, self.clock.progress())
        match self.execution.scheduler:
            case "exponential":
                return FINAL_RATE**done
            case "multistep":
                return float(3.0 ** -sum(done >= milestone for milestone in MILESTONES))
            case "constant":
                return 1.0
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        return warm * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done)))

    def _loss(self, batch: Batch, stage: str) -> Tensor:
        counts, offsets, _, _, reach = batch
        estimates = self.model(counts, offsets, self.light, reach)
        parts = self._patch_parts(batch, estimates)
        if self.config.nll_weight or self.config.mae_weight:
            parts |= self._count_parts(counts, self.model.predict_counts(estimates[-1], offsets, self.light, reach))
        weights = {
            "nll": self.config.nll_weight,
            "mae": self.config.mae_weight,
            "patch_error": self.config.realspace_weight,
            "patch_mae": self.config.realspace_mae_weight,
            "tv": self.config.tv_weight,
        }
        loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        values = {f"{stage}_loss": loss} | {f"{stage}_{name}": part for name, part in parts.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(counts))
        return loss

    def _count_parts(self, counts: Tensor, rate: Tensor) -> dict[str, Tensor]:
        """Errors of the predicted counts, made free of the dose by the mean count.

        Half the deviance is the negative log-likelihood above that of a perfect prediction; per photon it has the
        size of a squared relative error.
        """
        mask = self.light.good_pixels
        mean = losses.mean_over(counts, mask).clamp_min(1e-9)
        parts = {"nll": 0.5 * losses.mean_over(losses.poisson_deviance(rate, counts), mask) / mean}
        if self.config.mae_weight:
            parts["mae"] = losses.amplitude_mae(rate, counts, mask) / mean.sqrt()
        return parts

    def _patch_parts(self, batch: Batch, estimates: list[Tensor]) -> dict[str, Tensor]:
        """Errors of the patches where their targets are known, every stage counted."""
        light = probe_intensity(self.light.probe)
        known = batch.has_target.sum().clamp_min(1)
        shares = [EARLY_STAGE_WEIGHT] * (len(estimates) - 1) + [1.0]
        errors = {"patch_error": losses.patch_error}
        if self.config.realspace_mae_weight:
            errors["patch_mae"] = losses.complex_mae
        parts = {
            name: torch.stack(
                [
                    share * (error(patches, batch.targets, light) * batch.has_target).sum() / known
                    for share, patches in zip(shares, estimates, strict=True)
                ]
            ).sum()
            for name, error in errors.items()
        }
        if self.config.tv_weight:
            parts["tv"] = losses.total_variation(estimates[-1]).mean() / self.light.support**2
        return parts


def train(
    scan: Scan,
    settings: Settings,
    folder: Path | None = None,
    report: Report = lambda line: None,
    progress_bar: bool = False,
    resume: bool = False,
) -> Run:
    """Train a network on a scan.

    ``model_type pinn`` uses no ground truth, only counts, positions and the probe: a teacher object is
    reconstructed from the same counts first (``teacher_epochs``); its patches, those of synthetic objects under the
    same probe, and the Poisson likelihood of the counts train the network. ``supervised`` trains the same network on
    patches of the scan's own object instead.

    Args:
        scan: to train on.
        settings: all settings; see :mod:`ptychopinn.config`.
        folder: where checkpoints and logs go; nothing is written when None.
        report: receives a line of progress per epoch.
        progress_bar: draw one on the terminal.
        resume: go on from the last checkpoint in ``folder``, if there is one.

    Returns:
        The trained run: model, experiment, settings and history.

    Raises:
        PtychoError: when the settings ask for what the scan or the machine does not have.
        RunFailedError: when the loss stops being finite, a signal or the file system stops the training.
    """
    lightning.seed_everything(settings.training.seed, verbose=False)
    clock = Clock(settings.training.max_seconds)
    watch = Watch(clock, report)
    light = Illumination.of(scan)
    data = _data(scan, settings, report)
    validates = bool(data.held_out.any())
    module = TrainingModule(PtychoModel(settings.model), light, settings, clock, validates)
    epochs = settings.training.nepochs or max(1, math.ceil(USUAL_STEPS / len(data.train_dataloader())))
    with quiet_lightning(), signals_restored():
        trainer = build_trainer(settings, epochs, folder, [watch], validates, progress_bar)
        clock.trainer = trainer
        try:
            trainer.fit(module, datamodule=data, ckpt_path=_last_checkpoint(folder) if resume else None)
            _stop_if_asked(trainer, watch, folder)
        except OSError as error:
            reason = error.strerror or error
            raise RunFailedError(f"{folder}: cannot be written: {reason}; what was there is intact.") from error
        _keep_the_better(trainer, module, data)
    return Run(module.model.cpu().eval(), light.to("cpu"), settings, tuple(watch.history))


def _data(scan: Scan, settings: Settings, report: Report) -> ScanDataModule:
    """Batches of a scan, with targets to learn from."""
    training, data = settings.training, settings.data
    gridsize = settings.model.gridsize
    neighbor_count = data.neighbor_count or usual_neighbor_count(scan.positions, gridsize, scan.probe_diameter)
    supervised = settings.model.model_type == "supervised"
    return ScanDataModule(
        scan,
        Grouping(gridsize, neighbor_count, data.n_groups, training.seed, data.sequential_sampling),
        training.batch_size,
        training.val_fraction,
        _truth(scan) if supervised else _teacher(scan, settings, report),
        0.0 if supervised else training.synthetic_fraction,
        loader_options(settings.execution),
    )


def _truth(scan: Scan) -> Tensor:
    """The scan's own object on its canvas, vacuum where it does not reach."""
    if scan.object is None:
        raise PtychoError("model_type: supervised needs true patches, but the scan has no objectGuess; use pinn.")
    return torch.from_numpy(scan.on_canvas(scan.object, outside=1.0))


def _teacher(scan: Scan, settings: Settings, report: Report) -> Tensor | None:
    epochs = settings.training.teacher_epochs
    if not epochs or not (settings.training.realspace_weight or settings.training.realspace_mae_weight):
        return None
    start = time.monotonic()
    teacher = refinement.reconstruct(scan, epochs, settings.training.seed, device=device_of(settings)).cpu()
    if not bool(torch.isfinite(teacher).all()):
        raise RunFailedError("teacher: the reconstruction diverged; check probe and positions, or --teacher-epochs 0.")
    report(f"teacher: {epochs} epochs of projections on the counts in {time.monotonic() - start:.1f} s")
    return teacher


def _last_checkpoint(folder: Path | None) -> Path | None:
    path = None if folder is None else folder / CHECKPOINTS / "last.ckpt"
    return path if path is not None and path.is_file() else None


def _stop_if_asked(trainer: lightning.Trainer, watch: Watch, folder: Path | None) -> None:
    """Turn a signal into a checkpoint and an error that says how to go on."""
    if watch.asked_to_stop is None:
        return
    step = f"training: stopped by {watch.asked_to_stop} after step {trainer.global_step}"
    if folder is None or trainer.checkpoint_callback is None:
        raise RunFailedError(f"{step}; nothing was saved.")
    trainer.save_checkpoint(folder / CHECKPOINTS / "last.ckpt")
    raise RunFailedError(f"{step}; go on with the same command and --resume.")


def _keep_the_better(trainer: lightning.Trainer, module: TrainingModule, data: ScanDataModule) -> None:
    """Go back to the weights of the best epoch when the last ones are worse.

    The last weights are measured anew: a time budget may have ended in the middle of an epoch.
    """
    checkpoint = trainer.checkpoint_callback
    if not isinstance(checkpoint, ModelCheckpoint) or checkpoint.best_model_score is None:
        return
    last = float(trainer.callback_metrics[module.monitor])
    if data.held_out.any():
        last = trainer.validate(module, datamodule=data, verbose=False)[0][module.monitor]
    worse = last - float(checkpoint.best_model_score)
    if worse * (1 if checkpoint.mode == "min" else -1) > 0:
        state = torch.load(checkpoint.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])
