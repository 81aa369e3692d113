"""The plan of a training: complete settings, and checks that refuse a wrong call before anything is written."""

import math
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.files.naming import naming
from ptychopinn.model.bundle import Run
from ptychopinn.model.execution import device_of
from ptychopinn.scan.checks import check_scan, common_frames
from ptychopinn.scan.grouping import check_reach, form_groups, usual_neighbor_count
from ptychopinn.scan.scan import Scan
from ptychopinn.training.dataset import frames_held_out, synthetic_groups, validation_groups
from ptychopinn.training.start import PACKAGE, SCRATCH, architecture, start_of

LOGGER_PACKAGES: Final = {"tensorboard": "tensorboard", "mlflow": "mlflow"}

USUAL_STEPS = 1100
"""Optimiser steps after which the loss of the reference scans has levelled off."""

FINE_STEPS = 300
"""The same of a network that was trained already."""

WHOLE_BATCH = 4
"""Groups in a step, where each is a small scan."""

USUAL_RATE, FINE_RATE, WHOLE_RATE = 2e-3, 1e-3, 3e-4
"""Peak step sizes from random weights, from a trained network, and from one for whole scans."""

USUAL_TEACHER_EPOCHS = 20

USUAL_SYNTHETIC_FRACTION = 0.5

FEWEST_FRAMES = 4
"""Smallest scan to train on: patches must overlap."""

SMALLEST_FRAME = 8
"""Smallest frame to train on, pixels along its edge."""

Follow = Callable[[Mapping[str, float], float], None]
"""Receives a row of the history, of an epoch or of a step, and the share of the training that is done."""


class TrainingPlan(NamedTuple):
    """A training that was checked.

    Attributes:
        settings: complete.
        derived: by name, the values among them that come from the data.
        validation: second scan to validate on; None where frames of the first are held out.
        others: further scans to train on, and their settings.
        start: trained network to start from; None for random weights.
    """

    settings: Settings
    derived: dict[str, Any]
    validation: Scan | None = None
    others: tuple[tuple[Scan, Settings], ...] = ()
    start: Run | None = None


def derived(
    scan: Scan, settings: Settings, validation: Scan | None = None, beside: int = 0, trained: bool = False
) -> dict[str, Any]:
    """Values, by name, of the settings that the data decide.

    Args:
        scan: to train on.
        settings: all settings.
        validation: second scan to validate on; then no frames are held out.
        beside: groups of further scans in an epoch.
        trained: whether the network is a trained one already.
    """
    if validation is not None:
        none_held_out = {"val_fraction": 0.0}
        return none_held_out | derived(scan, settings.changed(**none_held_out), None, beside, trained)
    training, data, model = settings.training, settings.data, settings.model
    # Teacher and synthetic objects assume a right probe; supervised training needs neither.
    trusts = model.model_type == "pinn" and not model.probe_trainable
    values: dict[str, Any] = {}
    if data.neighbor_count is None:
        values["neighbor_count"] = usual_neighbor_count(scan.positions, model.group_side, scan.probe_diameter)
    if training.teacher_epochs is None:
        values["teacher_epochs"] = USUAL_TEACHER_EPOCHS if trusts else 0
    if training.synthetic_fraction is None:
        values["synthetic_fraction"] = USUAL_SYNTHETIC_FRACTION if trusts else 0.0
    if data.n_groups is None:
        values["n_groups"] = len(scan) - frames_held_out(len(scan), training.val_fraction)
    if model.whole and training.batch_size == type(training)().batch_size:
        values["batch_size"] = WHOLE_BATCH
    if training.nepochs is None:
        batch = values.get("batch_size", training.batch_size)
        batches = max(1, math.ceil((groups_per_epoch(settings.changed(**values)) + beside) / batch))
        values["nepochs"] = math.ceil((FINE_STEPS if trained else USUAL_STEPS) / batches)
    if settings.execution.learning_rate is None:
        fine = WHOLE_RATE if model.whole else FINE_RATE
        values["learning_rate"] = fine if trained else USUAL_RATE
    return values


def groups_per_epoch(settings: Settings) -> int:
    """Measured and synthetic groups, of settings that :func:`derived` completed."""
    groups, fraction = settings.data.n_groups, settings.training.synthetic_fraction
    assert groups is not None
    assert fraction is not None
    return groups + synthetic_groups(groups, fraction)


def remarks(settings: Settings, validates: bool) -> list[str]:
    """One line per setting that is ignored or replaced."""
    lines, wanted, size = [], settings.execution.monitor, settings.training.batch_size
    if (used := monitored(settings, validates)) != wanted:
        lines.append(f"monitor: nothing is validated, so {used} stands in for {wanted}.")
    if size > (groups := groups_per_epoch(settings)):
        lines.append(f"batch_size: {size} given, but an epoch has {groups} groups: one batch takes them all.")
    if settings.model.model_type == "supervised" and (epochs := settings.training.teacher_epochs):
        lines.append(f"teacher_epochs: {epochs} given, but a supervised training has a truth and makes no teacher.")
    if settings.model.features == "amplitude" and settings.model.stages != type(settings.model)().stages:
        lines.append(f"stages: {settings.model.stages} given, but a network on amplitudes has one.")
    return lines


def check_training(
    scan: Scan,
    settings: Settings,
    validation: Scan | None = None,
    others: Mapping[str, Scan] = MappingProxyType({}),
) -> TrainingPlan:
    """Complete the settings of a training; refuse one that the scans or the machine do not allow.

    Args:
        scan: to train on.
        settings: all settings.
        validation: second scan, to validate on.
        others: further scans to train on, by the names that errors have for them.

    Raises:
        PtychoError: naming the setting or the part of the scan, what is there and what is needed.
    """
    check_execution(settings)
    start = start_of(settings)
    usual = settings.training.start_from is None
    if start is not None and usual and not _holds_small_scans(start, (scan, *others.values()), settings):
        start = None
    network = {} if start is None else _changes(settings, architecture(start))
    if settings.training.start_from is None:
        network["start_from"] = SCRATCH if start is None else PACKAGE
    settings, trained = settings.changed(**network), start is not None
    if settings.model.whole and settings.model.gridsize > 1:
        raise PtychoError("gridsize: with canvas scan all frames meet in one image, and there are no groups; omit it.")
    if others and settings.model.probe_trainable:
        raise PtychoError(f"probe_trainable: one probe is trained, but {1 + len(others)} scans are given; give one.")
    beside = []
    for name, other in others.items():
        with naming(name):
            beside.append((other, _completed(other, settings, derived(other, settings, validation, 0, trained))))
    _check_frames(scan)
    groups = sum(groups_per_epoch(full) for _, full in beside)
    found = network | derived(scan, settings, validation, groups, trained)
    full = _completed(scan, settings, found)
    if validation is not None:
        with naming("validate_on"):
            for each in (scan, *others.values()):
                _check_validation(validation, each, full)
    return TrainingPlan(full, found, validation, tuple(beside), start)


def _holds_small_scans(start: Run, scans: Iterable[Scan], settings: Settings) -> bool:
    """Whether each scan has the frames of a group of a network that nobody asked for."""
    held, fewest = settings.training.val_fraction, start.settings.model.group_side**2
    return all(len(scan) - frames_held_out(len(scan), held) >= fewest for scan in scans)


def _changes(settings: Settings, values: dict[str, Any]) -> dict[str, Any]:
    """Those values that are not the settings already."""
    flat = settings.flat()
    return {name: value for name, value in values.items() if value != flat[name]}


def _check_frames(scan: Scan) -> None:
    """Refuse too few or too small frames, before anything is computed from them."""
    if len(scan) < FEWEST_FRAMES:
        frames = "1 frame" if len(scan) == 1 else f"{len(scan)} frames"
        raise PtychoError(f"scan: {frames} to train on; at least {FEWEST_FRAMES} that overlap are needed.")
    if scan.N < SMALLEST_FRAME:
        raise PtychoError(f"diffraction: frames of {scan.N} x {scan.N} pixels; at least {SMALLEST_FRAME} are needed.")


def _completed(scan: Scan, settings: Settings, found: dict[str, Any]) -> Settings:
    """The complete settings of the training on one scan, which is checked."""
    _check_frames(scan)
    check_scan(scan)
    if settings.model.model_type == "supervised":
        _check_truth(scan)
    full, gridsize = settings.changed(**found), settings.model.group_side
    neighbor_count, fraction = full.data.neighbor_count, full.training.val_fraction
    assert neighbor_count is not None
    groups = form_groups(scan.positions, gridsize, neighbor_count, settings.data.n_groups, settings.training.seed)
    check_reach(scan.positions, groups, scan.N)
    fewest = max(gridsize**2, FEWEST_FRAMES)
    left = len(scan) - frames_held_out(len(scan), fraction)
    if left < fewest:
        raise PtychoError(
            f"val_fraction: {fraction:g} given, which leaves {left} of {len(scan)} frames to train on; "
            f"at least {fewest} are needed."
        )
    return full


def _check_validation(validation: Scan, scan: Scan, settings: Settings) -> None:
    """Refuse a second scan that cannot be validated on, or that holds frames of the first."""
    check_scan(validation)
    gridsize, size = settings.model.group_side, validation.N
    if settings.model.probe_trainable and size != scan.N:
        raise PtychoError(f"frames of {size} pixels, but the probe that is trained has {scan.N}; crop the larger ones.")
    if size < SMALLEST_FRAME:
        raise PtychoError(f"frames of {size} x {size} pixels; at least {SMALLEST_FRAME} are needed.")
    if len(validation) < gridsize**2:
        raise PtychoError(f"{len(validation)} frames, but groups of {gridsize} x {gridsize} need {gridsize**2}.")
    if settings.model.model_type == "supervised":
        _check_truth(validation)
    check_reach(validation.positions, validation_groups(validation, settings), size)
    if common := common_frames(scan, validation):
        mine, other = common[0]
        raise PtychoError(
            f"{len(common)} of its {len(validation)} frames are trained on (its frame {other} is frame {mine} of the "
            "scan); a scan without frames in common is needed, such as a half that 'simulate --split' writes."
        )


def _check_truth(scan: Scan) -> None:
    """Refuse a missing truth, or one that the probe lights beyond its edge; one pixel at the rim is rounding."""
    if scan.object is None:
        raise PtychoError("model_type: supervised needs true patches, but the scan has no objectGuess; use pinn.")
    half, edges = scan.support / 2, np.array(scan.object.shape)
    beyond = ((scan.positions < half - 1) | (scan.positions > edges - half + 1)).any(axis=1)
    if beyond.any():
        y, x = scan.positions[int(beyond.argmax())]
        raise PtychoError(
            f"objectGuess: {edges[0]} x {edges[1]} pixels, but the probe lights {scan.support} pixels around every "
            f"position, beyond its edge for {int(beyond.sum())} of {len(scan)} frames (the first at y {y:.1f}, x "
            f"{x:.1f}); supervised training needs a truth under all frames."
        )


def check_execution(settings: Settings) -> None:
    """Refuse execution settings that contradict each other or that this machine does not support.

    Raises:
        PtychoError: naming the setting.
    """
    execution = settings.execution
    device = device_of(settings)
    monitored(settings, True)
    batch, devices = settings.training.batch_size, execution.devices
    if device == "cuda" and devices > torch.cuda.device_count():
        raise PtychoError(f"devices: {devices} given, but this machine has {torch.cuda.device_count()} GPUs.")
    if batch % devices:
        raise PtychoError(f"batch_size: {batch} groups cannot be shared by {devices} devices; give a multiple of them.")
    training = settings.training
    learns = ("nll_weight", "mae_weight", "realspace_weight", "realspace_mae_weight")
    if not any(getattr(training, name) for name in learns):
        raise PtychoError(f"{', '.join(learns)}: all 0, so nothing would be learnt; give one of them.")
    if execution.precision == "16-mixed" and device == "cpu":
        raise PtychoError("precision: 16-mixed needs a GPU; use bf16-mixed or 32-true on a CPU.")
    if execution.pin_memory and device == "cpu":
        raise PtychoError("pin_memory: page-locked batches are for a GPU, and the training runs on a CPU.")
    if not execution.num_workers and (execution.persistent_workers or execution.prefetch_factor):
        raise PtychoError("num_workers: 0 given, but persistent_workers and prefetch_factor need at least 1.")
    package = LOGGER_PACKAGES.get(execution.logger)
    if package is not None and find_spec(package) is None:
        raise PtychoError(f"logger: {package} is not installed; pip install 'ptychopinn[{package}]', or use csv.")


def monitored(settings: Settings, validates: bool) -> str:
    """Name of the value that decides which weights are best; without validation, that of the training.

    Raises:
        PtychoError: when its weight is zero, so that it is not computed.
    """
    monitor, weights = settings.execution.monitor, settings.training
    if monitor == "val_nll" and not (weights.nll_weight or weights.mae_weight):
        raise PtychoError("monitor: val_nll is not computed with nll_weight 0; use val_loss.")
    return monitor if validates else monitor.replace("val_", "train_")
