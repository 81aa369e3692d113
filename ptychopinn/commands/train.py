"""``train``: a scan file to a run folder."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ptychopinn.commands.shared.live import Live, rate
from ptychopinn.commands.shared.messages import report_scan, scan_record
from ptychopinn.commands.shared.request import Request
from ptychopinn.config import ExecutionConfig, Settings, read_settings
from ptychopinn.errors import WARNING, PtychoError, RunFailedError
from ptychopinn.figures.history import draw_history
from ptychopinn.figures.probe import draw_probe
from ptychopinn.files.output_folder import (
    PROVENANCE,
    check_apart,
    file_hash,
    leads,
    provenance_of,
    read_provenance,
    write_json,
)
from ptychopinn.files.reading import open_scan
from ptychopinn.files.replacing import Place, holding
from ptychopinn.model import bundle
from ptychopinn.model.bundle import Run
from ptychopinn.model.pretrained import NAME
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report
from ptychopinn.training.plan import Follow, TrainingPlan, check_training
from ptychopinn.training.start import PACKAGE, SCRATCH

OF_ONE_SCAN: Final = {"n_subsample": None, "frames": None}
"""Settings of reading that belong to the training scan alone, as they are for a second one."""

ANY_SCAN: Final = (None, "auto", "none")
"""Values of ``drop_frames`` that are no list of frames of one scan."""

MAY_CHANGE = frozenset({"nepochs", "max_seconds", *ExecutionConfig.model_fields}) - {"scheduler", "monitor", "mode"}
"""Settings that may change when a training continues."""

LOSSES: Final = {
    "step_loss": "loss of every tenth step",
    "train_loss": "training loss of every epoch",
    "val_loss": "validation loss of every epoch",
}
"""Curves of the live page: names in the history, and titles."""


def train_folder(sources: Sequence[Path], request: Request, resume: bool = False) -> Run:
    """Train on scan files and write a run folder: bundle, checkpoints, log, settings and pictures.

    Args:
        sources: scan files, one or more.
        request: settings and folder; see :func:`resumed`.
        resume: continue the run that the folder holds, from its last checkpoint.
    """
    out, settings = request.out, request.settings
    source, *more = sources
    if len({path.resolve() for path in sources}) < len(sources):
        raise PtychoError(f"{', '.join(map(str, sources))}: a scan is given twice.")
    if not resume:
        check_apart([out], request.reads(*sources))
    scan, validation = open_scan(source, settings.data), open_validation(settings)
    others = {str(path): open_scan(path, settings.data) for path in more}
    plan = check_training(scan, settings, validation, others)
    if not leads():
        from ptychopinn.training.train import train

        return train(scan, settings, out, resume=resume, plan=plan)
    report_scan(scan, request.report)
    origin: dict[str, Any] = {"scan": str(source), "sha256": file_hash(source)}
    if others:
        files = ((path, _report_beside(Path(path), each, request.report)) for path, each in others.items())
        origin["scans"] = [{**origin, "frames": len(scan)}, *(found for _, found in files)]
    if validation is not None:
        origin["validation"] = _report_beside(Path(str(settings.training.validate_on)), validation, request.report)
    if resume:
        _check_resumed(origin, request)
    live = Live(request, f"train {source.name}", along="step")
    with holding(out, "train", request.overwrite, keep=resume) as place, live.beside(place):
        run = fill_run(
            scan, plan, replace(request, report=live.report), place, origin, resume, _Shown(live, plan.settings)
        )
        draw_probe(out / "probe.png", run.illumination.probe.numpy())
        name = settings.training.validate_on
        draw_history(out / "loss.png", _loss_columns(run), "frames held out" if name is None else Path(name).name)
    return run


class _Shown:
    """Shows losses and speed of a training on its page."""

    def __init__(self, live: Live, settings: Settings) -> None:
        self._live, self._epochs = live, settings.training.nepochs
        groups = settings.training.batch_size * settings.execution.accumulate_grad_batches
        self._per_step = groups * settings.model.gridsize**2
        self._first: tuple[float, float] | None = None

    def __call__(self, row: Mapping[str, float], share: float) -> None:
        """Take note of a row of the history."""
        now, step = time.monotonic(), row["step"]
        self._first = self._first or (now, step)
        for name, title in LOSSES.items():
            if name in row:
                self._live.note(title, step, row[name])
        epoch = f"{row['epoch']:.0f} of at most {self._epochs}"
        speed = rate((step - self._first[1]) * self._per_step, now - self._first[0])
        self._live.know({"epoch": epoch, "step": f"{step:.0f}", **speed}, share)


def open_validation(settings: Settings) -> Scan | None:
    """The scan of ``validate_on``, all its frames read as those of the training scan are; None where there is none."""
    path = settings.training.validate_on
    if path is None:
        return None
    dropped = settings.data.drop_frames
    of_any = {"drop_frames": dropped if dropped in ANY_SCAN else None}
    return open_scan(Path(path), settings.data.model_copy(update=OF_ONE_SCAN | of_any))


def _check_resumed(origin: Mapping[str, Any], request: Request) -> None:
    """Refuse to continue a run with other scans than it was begun with, or one without checkpoints."""
    out, before = request.out, read_provenance(request.out)
    if not request.settings.execution.enable_checkpointing:
        raise PtychoError(
            f"--resume: {out} was trained with enable_checkpointing false; there is nothing to continue from."
        )
    if before.get("sha256") != origin["sha256"]:
        raise PtychoError(f"{origin['scan']}: is not the scan that {out} was trained on; --resume needs the same file.")
    if _hashes(before) != _hashes(origin):
        raise PtychoError(f"--resume: {out} was trained on other scans, or in another order; give the same files.")
    if before.get("validation", {}).get("sha256") != origin.get("validation", {}).get("sha256"):
        other = request.settings.training.validate_on
        raise PtychoError(f"{other}: is not the scan that {out} was validated on; --resume needs the same file.")


def _hashes(origin: Mapping[str, Any]) -> list[str]:
    return [each["sha256"] for each in origin.get("scans", [])]


def _report_beside(path: Path, scan: Scan, report: Report) -> dict[str, Any]:
    """Report what was found in a further scan; its file, hash and frames for the provenance."""

    def about(line: str) -> None:
        warning = WARNING if line.startswith(WARNING) else ""
        report(f"{warning}{path.name}: {line.removeprefix(WARNING)}")

    report_scan(scan, about)
    return {"scan": str(path), "sha256": file_hash(path), "frames": len(scan)}


def resumed(request: Request) -> Request:
    """A request with the settings of the run that its folder holds.

    Raises:
        PtychoError: when the folder holds no run, or for a setting that decided the run so far.
    """
    if request.config or request.overwrite:
        raise PtychoError("--resume: continues with the settings of the run; omit --config and --overwrite.")
    out, changes = request.out, request.given
    if not all((out / name).is_file() for name in (PROVENANCE, "settings.json")):
        raise PtychoError(f"--resume: {out} holds no run; give the --out of an earlier 'ptychopinn train'.")
    # Runs of an older version began with random weights.
    values = {"start_from": SCRATCH} | read_settings(out / "settings.json")
    before = Settings.of(values, str(out / "settings.json"))
    for name, value in changes.items():
        if value != (old := before.flat()[name]) and name not in MAY_CHANGE:
            raise PtychoError(f"--resume: {name} {value!r} given, but {out} was begun with {old!r}; start a new run.")
    sources = read_provenance(out).get("sources", {}) | dict.fromkeys(changes, "flag")
    return replace(request, settings=before.changed(**changes), sources=sources)


def _loss_columns(run: Run) -> dict[str, list[float]]:
    kinds = ("loss", "nll", "patch_error")
    names = ["epoch", *(f"{stage}_{kind}" for kind in kinds for stage in ("train", "val"))]
    return {name: [row[name] for row in run.history] for name in names if all(name in row for row in run.history)}


def fill_run(
    scan: Scan,
    plan: TrainingPlan,
    request: Request,
    place: Place,
    origin: Mapping[str, Any] = MappingProxyType({}),
    resume: bool = False,
    follow: Follow = lambda row, share: None,
) -> Run:
    """Train into a folder: settings, provenance, checkpoints and the bundle.

    An older run stays in it until the first checkpoint of this one.

    Args:
        scan: to train on.
        plan: of the scan and the settings of ``request``.
        request: ``settings.json`` keeps its settings; the provenance keeps those of the plan.
        place: the folder of the request, held.
        origin: of the scan, for the provenance.
        resume: continue from the last checkpoint.
        follow: looks on.
    """
    from ptychopinn.training.train import train

    settings = request.settings
    sources = {**request.sources, **dict.fromkeys(plan.derived, "data")}
    start = plan.settings.training.start_from
    start = NAME if start == PACKAGE else start
    values = {
        **origin,
        "start": start,
        "sources": sources,
        "frames": len(scan),
        "settings": settings.flat() | plan.derived,
    }
    values |= scan_record(scan)
    record = provenance_of("train", values)
    place.put(PROVENANCE, lambda path: write_json(path, record))
    place.put("settings.json", lambda path: write_json(path, settings.flat()))
    run = train(scan, settings, place, request.report, request.progress_bar, resume, plan, follow)
    run.provenance.update(record)
    try:
        place.put(bundle.BUNDLE, lambda path: bundle.save_run(path.parent, run), ready=True)
    except RunFailedError as error:
        place.keep_elsewhere(lambda folder: bundle.save_run(folder, run), error)
    return run
