"""The Lightning module: losses and optimiser."""

import math
from typing import Any

import lightning
import torch
from torch import Tensor

from ptychopinn.config import Settings
from ptychopinn.model.batches import Batch
from ptychopinn.model.model import PtychoModel, TrainedProbe
from ptychopinn.physics import likelihood
from ptychopinn.physics.probe import circular_mask, probe_intensity
from ptychopinn.scan.illumination import Illumination
from ptychopinn.scan.scan import Scan
from ptychopinn.training import losses
from ptychopinn.training.callbacks import Clock
from ptychopinn.training.datamodule import ScanDataModule
from ptychopinn.training.plan import monitored

Batches = Batch | list[tuple[int, Batch]]
"""Groups of one scan, or a list of the numbers of scans and their groups."""

EARLY_STAGE_WEIGHT = 0.3
"""Weight of the patch error of every stage before the last."""

WARMUP_STEPS = 100

FINAL_RATE = 0.005
"""Step size at the end of a decaying schedule, as a fraction of the peak."""

MILESTONES = (0.5, 0.75, 0.9)
"""Fractions of the run at which the multistep schedule divides the step size by 3."""


class TrainingModule(lightning.LightningModule):
    """Losses and optimiser of a model.

    Args:
        model: to train.
        illuminations: of the scans; they move with the module.
        settings: training and execution settings.
        clock: progress of the training.
        data: what it trains on; sets the units of the losses.
    """

    def __init__(self, model: PtychoModel, settings: Settings, clock: Clock, data: ScanDataModule) -> None:
        super().__init__()
        self.model, self.clock = model, clock
        scans = {"train": [part.scan for part in data.parts]}
        scans["val"] = scans["train"] if data.validation is None else [data.validation]
        self.measured = {stage: [Illumination.of(scan) for scan in some] for stage, some in scans.items()}
        first = self.measured["train"][0]
        self.probe = TrainedProbe(first.probe, _mask(settings, first)) if settings.model.probe_trainable else None
        self.config, self.execution = settings.training, settings.execution
        self.monitor = monitored(settings, data.validates)
        # Constants of the scan, not of the batch: the mean over parts of a batch is the mean over the batch.
        self.mean_count = {stage: [_mean_count(scan) for scan in some] for stage, some in scans.items()}
        self.known_share = _known_share(settings)

    @property
    def illumination(self) -> Illumination:
        """Of the first scan, with the probe as it is now."""
        return self._illumination("train", 0)

    def _illumination(self, stage: str, scan: int) -> Illumination:
        """Of a scan that is trained or validated on; a trained probe serves both."""
        measured = self.measured[stage][scan]
        return measured if self.probe is None else measured._replace(probe=self.probe())

    def on_fit_start(self) -> None:
        """Bring the illumination to the device of the model."""
        self.measured = {stage: [each.to(self.device) for each in some] for stage, some in self.measured.items()}

    def transfer_batch_to_device(self, batch: Batches, device: torch.device, dataloader_idx: int) -> Batches:
        """What Lightning calls for every batch, on a CPU too."""
        return batch.to(device) if isinstance(batch, Batch) else [(scan, part.to(device)) for scan, part in batch]

    def training_step(self, batch: Batches, index: int) -> Tensor:
        """Loss of one batch."""
        return self._loss(batch, "train")

    def validation_step(self, batch: Batches, index: int) -> Tensor:
        """Loss of one validation batch."""
        return self._loss(batch, "val")

    def configure_optimizers(self) -> Any:
        """AdamW, its step size following the chosen schedule to the end of the run, be it epochs or seconds."""
        groups: list[dict[str, Any]] = [{"params": self.model.parameters()}]
        if self.probe is not None:
            groups.append({"params": self.probe.parameters(), "weight_decay": 0.0})
        # One pass over all weights instead of a dozen. Lightning does not clip gradients for it in mixed precision.
        fused = self.execution.precision == "32-true"
        assert self.execution.learning_rate is not None  # the plan is complete
        optimizer = torch.optim.AdamW(groups, lr=self.execution.learning_rate, weight_decay=1e-3, fused=fused)
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

    def _loss(self, batch: Batches, stage: str) -> Tensor:
        batches = [(0, batch)] if isinstance(batch, Batch) else batch
        found = [(len(one.counts), self._parts(one, scan, stage)) for scan, one in batches]
        groups = sum(count for count, _ in found)
        # The mean over the groups of all scans, whose parts are means over their own.
        names = found[0][1]
        parts = {name: torch.stack([count / groups * each[name] for count, each in found]).sum() for name in names}
        weights = {
            "nll": self.config.nll_weight,
            "mae": self.config.mae_weight,
            "patch_error": self.config.realspace_weight,
            "patch_mae": self.config.realspace_mae_weight,
            "tv": self.config.tv_weight,
        }
        loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        values = {f"{stage}_loss": loss} | {f"{stage}_{name}": part for name, part in parts.items()}
        shared = self.trainer.world_size > 1
        size: Any = float(groups)  # Lightning divides whole numbers without remainder between processes
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=size, sync_dist=shared)
        return loss

    def _parts(self, batch: Batch, scan: int, stage: str) -> dict[str, Tensor]:
        """Terms of the loss of groups of one scan."""
        illumination = self._illumination(stage, scan)
        estimates = self.model(batch.counts, batch.offsets, illumination, batch.reach, batch.dose)
        parts = self._patch_parts(batch, estimates, illumination)
        if self.config.nll_weight or self.config.mae_weight:
            rate = self.model.predict_counts(estimates[-1], batch.offsets, illumination, batch.reach)
            mean = self.mean_count[stage][scan]
            parts |= self._count_parts(batch.counts, rate, illumination.good_pixels, mean)
        return parts

    def _count_parts(self, counts: Tensor, rate: Tensor, mask: Tensor | None, mean: float) -> dict[str, Tensor]:
        """Errors of the predicted counts, divided by the mean count so that they do not depend on the dose.

        Half the deviance is the negative log-likelihood above that of a perfect prediction; per photon it has the
        size of a squared relative error.
        """
        parts = {"nll": 0.5 * losses.mean_over(likelihood.poisson_deviance(rate, counts), mask) / mean}
        if self.config.mae_weight:
            parts["mae"] = losses.amplitude_mae(rate, counts, mask) / math.sqrt(mean)
        return parts

    def _patch_parts(self, batch: Batch, estimates: list[Tensor], illumination: Illumination) -> dict[str, Tensor]:
        """Errors of the patches of all stages, where their targets are known."""
        weight = probe_intensity(illumination.probe)
        known = self.known_share * len(batch.counts)
        shares = [EARLY_STAGE_WEIGHT] * (len(estimates) - 1) + [1.0]
        errors = {"patch_error": losses.patch_error}
        if self.config.realspace_mae_weight:
            errors["patch_mae"] = losses.complex_mae
        parts = {
            name: torch.stack(
                [
                    share * (error(patches, batch.targets, weight) * batch.has_target).sum() / known
                    for share, patches in zip(shares, estimates, strict=True)
                ]
            ).sum()
            for name, error in errors.items()
        }
        if self.config.tv_weight:
            parts["tv"] = losses.total_variation(estimates[-1]).mean() / illumination.support**2
        return parts


def _mean_count(scan: Scan) -> float:
    """Mean photons per good pixel."""
    return scan.photons / (scan.N**2 if scan.good_pixels is None else int(scan.good_pixels.sum()))


def _known_share(settings: Settings) -> float:
    """Share of the groups of an epoch whose patches have a target; 1 where no group has one."""
    training = settings.training
    if settings.model.model_type == "supervised" or training.teacher_epochs:
        return 1.0
    return training.synthetic_fraction or 1.0


def _mask(settings: Settings, illumination: Illumination) -> Tensor | None:
    """Weight (N, N) that confines a trained probe; None where it may spread."""
    if not settings.data.probe_mask:
        return None
    size, diameter = illumination.probe.shape[-1], settings.data.probe_mask_diameter
    return circular_mask(size, None if diameter is None else diameter / 2, softness=1.0)
