"""Training of a network on a scan."""

import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from ptychopinn.config import Settings
from ptychopinn.engines import refinement
from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.replacing import Place
from ptychopinn.model.bundle import Run
from ptychopinn.model.execution import compile_networks, device_of
from ptychopinn.model.features import input_scale
from ptychopinn.model.model import PtychoModel
from ptychopinn.scan.probe_scale import as_networks_see
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report
from ptychopinn.training.callbacks import LAST, Clock, Teacher, Watch
from ptychopinn.training.datamodule import ScanDataModule
from ptychopinn.training.module import TrainingModule
from ptychopinn.training.plan import Follow, TrainingPlan, check_training, remarks
from ptychopinn.training.start import PACKAGE
from ptychopinn.training.trainer import build_trainer, quiet_lightning


def train(
    scan: Scan,
    settings: Settings,
    folder: Path | Place | None = None,
    report: Report = lambda line: None,
    progress_bar: bool = False,
    resume: bool = False,
    plan: TrainingPlan | None = None,
    follow: Follow = lambda row, share: None,
) -> Run:
    """Train a network on a scan.

    ``model_type pinn`` uses no ground truth, only counts, positions and the probe: a teacher object is
    reconstructed from the same counts first (``teacher_epochs``); its patches, those of synthetic objects under the
    same probe, and the Poisson likelihood of the counts train the network. ``supervised`` trains the same network on
    patches of the scan's own object instead.

    Args:
        scan: to train on; the plan may name further ones.
        settings: all settings; see :mod:`ptychopinn.config`.
        folder: where checkpoints and logs go, held or not; nothing is written when None.
        report: receives a line of progress per epoch.
        progress_bar: draw one on the terminal.
        resume: continue from the last checkpoint in ``folder``, if there is one.
        plan: of this scan and these settings, and a second scan to validate on; made here when None.
        follow: looks on; see :class:`ptychopinn.training.callbacks.Watch`.

    Raises:
        PtychoError: when the settings ask for what the scan or the machine does not have.
        RunFailedError: when the loss stops being finite, a signal or the file system stops the training.
    """
    plan = plan or check_training(scan, settings)
    full, validation = plan.settings, plan.validation and as_networks_see(plan.validation)[0]
    settings = settings.model_copy(update={"model": full.model})
    scan, factor = as_networks_see(scan)
    lightning.seed_everything(settings.training.seed, verbose=False)
    clock, device = Clock(settings.training.max_seconds), device_of(full)
    beside = [ScanDataModule(as_networks_see(other)[0], chosen) for other, chosen in plan.others]
    data = ScanDataModule(scan, full, validation, beside)
    place = Place(folder, "train") if isinstance(folder, Path) else folder
    watch = Watch(clock, report, data, place, full.execution, follow)
    checkpoint = _last_checkpoint(place, full) if resume else None
    if full.training.start_from == PACKAGE:
        report("Starts from the network of the package (--from scratch: from random weights).")
    for line in remarks(full, data.validates):
        report(line)
    module = TrainingModule(_model(full, scan, device, plan.start), full, clock, data)
    with quiet_lightning(), watch.stop:
        teachers = [Teacher(_targets(part, full, device, report), part) for part in data.parts]
        callbacks = [watch, *teachers]
        trainer = build_trainer(full, device, place, callbacks, data.validates, progress_bar)
        clock.trainer = trainer
        with _writing(place):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
            if watch.asked_to_stop:
                raise watch.stopped(trainer)
        _keep_the_better(trainer, module, data, watch)
    found = _trained(scan, factor, settings, module, data, watch)
    return found if plan.start is None else replace(found, error_model=plan.start.error_model)


def _trained(
    scan: Scan,
    factor: float,
    settings: Settings,
    module: TrainingModule,
    data: ScanDataModule,
    watch: Watch,
) -> Run:
    """The run of a training that has ended."""
    illumination = module.cpu().illumination.to("cpu")  # no part of the module's state: it does not move with it
    trained = illumination._replace(probe=illumination.probe.detach() / factor)
    held_out, history = scan.numbers[data.held_out], tuple(watch.history)
    return Run(module.model.eval(), trained, settings, history, {}, scan.numbers, held_out, network_factor=factor)


@contextmanager
def _writing(place: Place | None) -> Iterator[None]:
    """Say of errors of the file system that the folder could not be written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        name, reason = place and place.folder, error.strerror or error
        raise RunFailedError(f"{name}: cannot be written: {reason}; what was there is intact.") from error


def _model(settings: Settings, scan: Scan, device: str, start: Run | None) -> PtychoModel:
    """The network to train."""
    model = PtychoModel(settings.model, input_scale(scan))
    if start is not None:
        model.load_state_dict(start.model.state_dict())
    if settings.execution.compile_network:
        compile_networks(model, device)
    return model


def _targets(
    data: ScanDataModule, settings: Settings, device: str, report: Report
) -> dict[str, Callable[[], Tensor | None]]:
    """How to make the objects that patches are compared with, by attribute of the data."""
    targets = {"target": _target(data.scan, settings, device, report)}
    if data.validation is not None:
        targets["validation_target"] = _target(
            data.validation, settings, device, lambda line: report(f"validate_on: {line}")
        )
    return targets


def _target(scan: Scan, settings: Settings, device: str, report: Report) -> Callable[[], Tensor | None]:
    """How to make the object that patches are compared with: the truth, a teacher, or none."""
    training = settings.training

    def truth() -> Tensor:
        assert scan.object is not None
        return torch.from_numpy(scan.on_canvas(scan.object, outside=1.0))

    def teacher() -> Tensor | None:
        epochs = training.teacher_epochs
        if not epochs or not (training.realspace_weight or training.realspace_mae_weight):
            return None
        start = time.monotonic()
        found = refinement.reconstruct(scan, epochs, training.seed, device=device).cpu()
        if not bool(torch.isfinite(found).all()):
            raise RunFailedError(
                "teacher: the reconstruction diverged; check probe and positions, or --teacher-epochs 0."
            )
        report(f"teacher: {epochs} epochs of projections on the counts in {time.monotonic() - start:.1f} s")
        return found

    return truth if settings.model.model_type == "supervised" else teacher


def _last_checkpoint(place: Place | None, settings: Settings) -> Path | None:
    """The checkpoint to continue from, if there is one.

    Raises:
        PtychoError: when it cannot be read, or holds more epochs than asked for.
    """
    path = None if place is None else place.folder / LAST
    if path is None or not path.is_file():
        return None
    try:
        epoch = torch.load(path, map_location="cpu", weights_only=True)["epoch"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError):
        raise PtychoError(
            f"{path}: is damaged; put {path.with_name('best.ckpt').name} in its place to go on from the best epoch, "
            "or train anew."
        ) from None
    wanted = settings.training.nepochs or 0
    if epoch + 1 > wanted:
        raise PtychoError(f"nepochs: {wanted} given, but {epoch + 1} epochs are begun already; give at least as many.")
    return path


def _keep_the_better(trainer: lightning.Trainer, module: TrainingModule, data: ScanDataModule, watch: Watch) -> None:
    """Restore the weights of the best epoch when the last ones are worse.

    The last weights are validated again: a time budget may have ended in the middle of an epoch.
    """
    checkpoint = trainer.checkpoint_callback
    if not isinstance(checkpoint, ModelCheckpoint) or checkpoint.best_model_score is None:
        return
    trainer.loggers = []
    values = trainer.validate(module, datamodule=data, verbose=False)[0] if data.validates else watch.history[-1]
    last = values[module.monitor]
    worse = last - float(checkpoint.best_model_score)
    if worse * (1 if checkpoint.mode == "min" else -1) > 0:
        state = torch.load(checkpoint.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])
