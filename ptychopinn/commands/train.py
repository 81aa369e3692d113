"""``train``: a scan file to a run folder."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ptychopinn.commands.messages import tell
from ptychopinn.config import ExecutionConfig, Settings, read_settings
from ptychopinn.errors import PtychoError
from ptychopinn.figures.history import draw_history
from ptychopinn.figures.probe import draw_probe
from ptychopinn.files.output_folder import (
    PROVENANCE,
    file_hash,
    filling,
    leads,
    read_provenance,
    write_json,
    write_provenance,
)
from ptychopinn.files.reading import open_scan
from ptychopinn.model import bundle
from ptychopinn.model.bundle import Run
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report
from ptychopinn.training.plan import check_training, derived

MAY_CHANGE = frozenset({"nepochs", "max_seconds", *ExecutionConfig.model_fields}) - {"scheduler", "monitor", "mode"}
"""Settings that may change when a training goes on."""


def train_folder(
    source: Path,
    out: Path,
    settings: Settings,
    sources: dict[str, str],
    overwrite: bool = False,
    report: Report = lambda line: None,
    progress_bar: bool = False,
    resume: bool = False,
) -> Run:
    """Train on a scan file and write a run folder: bundle, checkpoints, log, settings and pictures.

    Args:
        source: scan file.
        out: new or empty folder, or an older run with ``overwrite``.
        settings: effective settings.
        sources: where each setting came from.
        overwrite: replace an older run.
        report: receives lines of progress.
        progress_bar: draw one instead of lines per epoch.
        resume: go on with the run that the folder holds, from its last checkpoint.
    """
    scan = open_scan(source, settings.data)
    if not leads():
        from ptychopinn.training.train import train

        return train(scan, settings, out, resume=resume)
    tell(scan, report)
    check_training(scan, settings)
    origin = {"scan": str(source), "sha256": file_hash(source)}
    if resume and not settings.execution.enable_checkpointing:
        raise PtychoError(
            f"--resume: {out} was trained with enable_checkpointing false; there is nothing to go on from."
        )
    if resume and read_provenance(out).get("sha256") != origin["sha256"]:
        raise PtychoError(f"{source}: is not the scan that {out} was trained on; --resume needs the same file.")
    with filling(out, "train", overwrite, keep=resume):
        run = fill_run(out, scan, settings, {**origin, "sources": sources}, report, progress_bar, resume)
        draw_probe(out / "probe.png", run.illumination.probe.numpy())
        draw_history(out / "loss.png", _loss_columns(run))
    return run


def settings_to_resume(out: Path, flags: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Settings of a run that is to go on, and where they came from.

    Args:
        out: its folder.
        flags: settings by name that are to change; only what does not decide the result up to here may.

    Raises:
        PtychoError: when the folder holds no run, or for a setting that cannot change.
    """
    if not all((out / name).is_file() for name in (PROVENANCE, "settings.json")):
        raise PtychoError(f"--resume: {out} holds no run; give the --out of an earlier 'ptychopinn train'.")
    sources = read_provenance(out).get("sources", {})
    before = Settings.of(read_settings(out / "settings.json"), str(out / "settings.json"))
    settings = before.changed(**flags)
    for name, value in flags.items():
        if value != before.flat()[name] and name not in MAY_CHANGE:
            raise PtychoError(
                f"--resume: {name} {value!r} given, but {out} was begun with {before.flat()[name]!r}; start a new run."
            )
    return settings, sources | dict.fromkeys(flags, "flag")


def _loss_columns(run: Run) -> dict[str, list[float]]:
    kinds = ("loss", "nll", "patch_error")
    names = ["epoch", *(f"{stage}_{kind}" for kind in kinds for stage in ("train", "val"))]
    return {name: [row[name] for row in run.history] for name in names if all(name in row for row in run.history)}


def fill_run(
    folder: Path,
    scan: Scan,
    settings: Settings,
    origin: Mapping[str, Any] = MappingProxyType({}),
    report: Report = lambda line: None,
    progress_bar: bool = False,
    resume: bool = False,
) -> Run:
    """Train into a folder that is held: settings, provenance, checkpoints and the bundle.

    Args:
        folder: to write to.
        scan: to train on.
        settings: as given; ``settings.json`` keeps them, the provenance has what the data made of them.
        origin: for the provenance: the scan file, and the ``sources`` of the settings.
        report: receives lines of progress.
        progress_bar: draw one.
        resume: go on from the last checkpoint.
    """
    from ptychopinn.training.train import train

    found = derived(scan, settings)
    sources = {**origin.get("sources", {}), **dict.fromkeys(found, "data")}
    values = {**origin, "sources": sources, "frames": len(scan), "settings": settings.flat() | found}
    provenance = write_provenance(folder, "train", values)
    write_json(folder / "settings.json", settings.flat())
    run = train(scan, settings, folder, report, progress_bar, resume)
    run.provenance.update(provenance)
    bundle.save_run(folder, run)
    return run
