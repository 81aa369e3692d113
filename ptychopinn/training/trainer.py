"""The Lightning trainer that the execution settings describe."""

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ptychopinn.config import ExecutionConfig, Settings
from ptychopinn.files.atomic import writing
from ptychopinn.files.replacing import Place
from ptychopinn.training.callbacks import CHECKPOINTS
from ptychopinn.training.plan import monitored


def build_trainer(
    settings: Settings,
    device: str,
    place: Place | None,
    callbacks: list[Callback],
    validates: bool,
    progress_bar: bool,
) -> lightning.Trainer:
    """A trainer for one run.

    Args:
        settings: of the run.
        device: torch device.
        place: for checkpoints and logs; neither is written when None.
        callbacks: that watch.
        validates: whether there is validation data.
        progress_bar: draw one.
    """
    execution = settings.execution
    checkpointing = place is not None and execution.enable_checkpointing
    monitor = monitored(settings, validates)
    if place is not None and checkpointing:
        callbacks = [*callbacks, *_checkpoints(place.folder, execution, monitor)]
    if execution.early_stop_patience is not None:
        callbacks = [*callbacks, EarlyStopping(monitor, patience=execution.early_stop_patience, mode=execution.mode)]
    trainer = lightning.Trainer(
        max_epochs=settings.training.nepochs,
        accelerator=device,
        devices=execution.devices,
        strategy=execution.strategy,
        precision=execution.precision,
        deterministic=execution.deterministic,
        logger=False if place is None else _Waiting() if place.waits else _logger(place.folder, execution),
        callbacks=callbacks,
        enable_checkpointing=checkpointing,
        enable_progress_bar=progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accumulate_grad_batches=execution.accumulate_grad_batches,
        gradient_clip_val=execution.gradient_clip_val,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        plugins=[_WholeFiles(place)],
    )
    if place is not None:
        place.when_begun(lambda: _log_in(trainer, place.folder, execution))
    return trainer


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's own announcements off the user's terminal; errors still come through.

    Torch's choice of algorithms, which ``deterministic`` changes for the whole process, is restored, too.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "mlflow", "alembic")]
    levels, deterministic = [logger.level for logger in loggers], torch.are_deterministic_algorithms_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        torch.use_deterministic_algorithms(deterministic)


class _WholeFiles(TorchCheckpointIO):
    """Writes checkpoints atomically; those of Lightning can be seen half copied.

    Args:
        place: folder of the run; its first checkpoint takes the place of an older run.
    """

    def __init__(self, place: Place | None) -> None:
        super().__init__()
        self.place = place

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # In memory first: torch.save does not raise an OSError when it cannot write.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)

        def write(target: Path) -> None:
            with writing(target) as temporary:
                temporary.write_bytes(buffer.getbuffer())

        if self.place is None or not self.place.waits:
            write(Path(path))
        elif all(bool(torch.isfinite(value).all()) for value in checkpoint["state_dict"].values()):
            self.place.put(os.path.relpath(path, os.path.realpath(self.place.folder)), write, ready=True)


class _Waiting(Logger):
    """Keeps what is logged while the folder still holds an older run."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[dict[str, float], int | None]] = []

    @property
    def name(self) -> str:
        """Of no meaning here."""
        return ""

    @property
    def version(self) -> str:
        """Of no meaning here."""
        return ""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep a row."""
        self.kept.append((metrics, step))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """No logger of ours has them."""


def _log_in(trainer: lightning.Trainer, folder: Path, execution: ExecutionConfig) -> None:
    """Have a training log into its folder, from now on, what it has logged before included."""
    kept = [row for logger in trainer.loggers if isinstance(logger, _Waiting) for row in logger.kept]
    logger = _logger(folder, execution)
    trainer.loggers = [logger] if isinstance(logger, Logger) else []
    for metrics, step in kept:
        for each in trainer.loggers:
            each.log_metrics(metrics, step)


def _checkpoints(folder: Path, execution: ExecutionConfig, monitor: str) -> list[Callback]:
    """Keep the best weights, and the last ones of every epoch; ``save_last`` would skip epochs without improvement."""
    best = ModelCheckpoint(
        folder / CHECKPOINTS,
        filename="best" if execution.save_top_k == 1 else "epoch{epoch:04d}",
        auto_insert_metric_name=False,
        monitor=monitor,
        mode=execution.mode,
        save_top_k=execution.save_top_k,
        enable_version_counter=False,
    )
    last = ModelCheckpoint(folder / CHECKPOINTS, filename="last", enable_version_counter=False)
    return [best, last]


def _logger(folder: Path, execution: ExecutionConfig) -> Logger | bool:
    match execution.logger:
        case "tensorboard":
            return TensorBoardLogger(folder, name="tensorboard", version="")
        case "mlflow":
            return MLFlowLogger("ptychopinn", tracking_uri=f"sqlite:///{(folder / 'mlflow.db').resolve()}")
    return False
