"""The Lightning trainer that the execution settings describe."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ptychopinn.config import ExecutionConfig, Settings
from ptychopinn.errors import PtychoError
from ptychopinn.files.atomic import writing

CHECKPOINTS = "checkpoints"


def device_of(settings: Settings) -> str:
    """The torch device that the accelerator setting means here.

    Raises:
        PtychoError: when the machine has none.
    """
    wanted = settings.execution.accelerator
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return "cuda" if here["cuda"] else "cpu"
    if not here[wanted]:
        raise PtychoError(f"accelerator: {wanted} asked for, but this machine has none; use auto or cpu.")
    return wanted


def build_trainer(
    settings: Settings, epochs: int, folder: Path | None, callbacks: list[Callback], validates: bool, progress_bar: bool
) -> lightning.Trainer:
    """A trainer for one run.

    Args:
        settings: of the run.
        epochs: to train.
        folder: for checkpoints and logs; neither is written when None.
        callbacks: that watch.
        validates: whether there is validation data.
        progress_bar: draw one.
    """
    execution = settings.execution
    checkpointing = folder is not None and execution.enable_checkpointing
    if folder is not None and checkpointing:
        callbacks = [*callbacks, *_checkpoints(folder, execution, validates)]
    if execution.early_stop_patience is not None:
        monitor = monitored(execution, validates)
        callbacks = [*callbacks, EarlyStopping(monitor, patience=execution.early_stop_patience, mode=execution.mode)]
    if execution.precision == "16-mixed" and device_of(settings) == "cpu":
        raise PtychoError("precision: 16-mixed needs a GPU; use bf16-mixed or 32-true on a CPU.")
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator=device_of(settings),
        devices=1,
        precision=execution.precision,
        deterministic=execution.deterministic,
        logger=_logger(folder, execution) if folder is not None else False,
        callbacks=callbacks,
        enable_checkpointing=checkpointing,
        enable_progress_bar=progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accumulate_grad_batches=execution.accumulate_grad_batches,
        gradient_clip_val=execution.gradient_clip_val,
        reload_dataloaders_every_n_epochs=1,
        plugins=[_WholeFiles()],
    )


def monitored(execution: ExecutionConfig, validates: bool) -> str:
    """The value that decides which weights are best: ``train_loss`` stands in where nothing is validated."""
    return execution.monitor if validates else execution.monitor.replace("val_", "train_")


def loader_options(execution: ExecutionConfig) -> dict[str, Any]:
    """Execution settings of a ``DataLoader``."""
    workers = execution.num_workers
    if not workers and (execution.persistent_workers or execution.prefetch_factor):
        raise PtychoError("num_workers: 0 given, but persistent_workers and prefetch_factor need at least 1.")
    return {
        "num_workers": workers,
        "pin_memory": execution.pin_memory,
        "persistent_workers": execution.persistent_workers,
        "prefetch_factor": execution.prefetch_factor,
    }


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's own announcements off the user's terminal; errors still come through.

    Torch's choice of algorithms, which ``deterministic`` changes for the whole process, is put back too.
    """
    logger = logging.getLogger("lightning.pytorch")
    level, deterministic = logger.level, torch.are_deterministic_algorithms_enabled()
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            yield
    finally:
        logger.setLevel(level)
        torch.use_deterministic_algorithms(deterministic)


class _WholeFiles(TorchCheckpointIO):
    """Checkpoints that appear under their name whole; Lightning's own may be seen half copied."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with writing(Path(path)) as temporary, temporary.open("wb") as stream:
            torch.save(checkpoint, stream)


def _checkpoints(folder: Path, execution: ExecutionConfig, validates: bool) -> list[Callback]:
    """The best weights, and every epoch the last ones: Lightning's ``save_last`` skips epochs that are no better."""
    best = ModelCheckpoint(
        folder / CHECKPOINTS,
        filename="best" if execution.save_top_k == 1 else "epoch{epoch:04d}",
        auto_insert_metric_name=False,
        monitor=monitored(execution, validates),
        mode=execution.mode,
        save_top_k=execution.save_top_k,
        enable_version_counter=False,
    )
    last = ModelCheckpoint(folder / CHECKPOINTS, filename="last", enable_version_counter=False)
    return [best, last]


def _logger(folder: Path, execution: ExecutionConfig) -> Logger | bool:
    if execution.logger == "none":
        return False
    if execution.logger == "csv":
        return CSVLogger(folder, name="", version="")
    package = {"tensorboard": "tensorboard", "mlflow": "mlflow"}[execution.logger]
    if find_spec(package) is None:
        raise PtychoError(f"logger: {package} is not installed; pip install 'ptychopinn[{package}]', or use csv.")
    if execution.logger == "tensorboard":
        return TensorBoardLogger(folder, name="tensorboard", version="")
    return MLFlowLogger(experiment_name="ptychopinn", tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
