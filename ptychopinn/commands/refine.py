"""``refine`` and ``baseline``: a scan file to an image by an iterative engine."""

import signal
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ptychopinn.commands.shared.messages import deviance_record, report_result, report_scan, scan_record
from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.shared.results import save_reconstruction
from ptychopinn.commands.shared.resuming import Checkpoints
from ptychopinn.commands.shared.starting import start_of
from ptychopinn.config import Settings
from ptychopinn.engines import error_bars, native, ptychi
from ptychopinn.engines.progress import BY_ITSELF, Running
from ptychopinn.errors import PtychoError, RunFailedError, shortened
from ptychopinn.figures.history import draw_history
from ptychopinn.figures.probe import draw_probe
from ptychopinn.files.output_folder import (
    CHECKPOINT,
    STOPPED,
    check_apart,
    file_hash,
    leads,
    write_provenance,
    write_table,
)
from ptychopinn.files.reading import open_scan
from ptychopinn.files.replacing import holding
from ptychopinn.files.signals import Interruption, Stopped, StopRequest
from ptychopinn.model import processes
from ptychopinn.model.execution import device_of
from ptychopinn.model.processes import ALONE, Team
from ptychopinn.physics.probe import probe_power
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report


def refine_scan(
    scan: Scan,
    settings: Settings,
    device: str,
    start: Reconstruction | None = None,
    report: Report = lambda line: None,
    running: Running = BY_ITSELF,
) -> Reconstruction:
    """Reconstruct with the native engine and error bars; ``seconds`` include those of ``start``."""
    seed = settings.training.seed
    result = native.reconstruct(scan, settings.baseline, settings.refinement, seed, device, start, report, running)
    result = replace(result, seconds=result.seconds if start is None else start.seconds | result.seconds)
    try:
        with running.allowed():
            return with_error_bars(result, scan, settings, device, running.team)
    except Stopped:
        return result


def with_error_bars(
    result: Reconstruction, scan: Scan, settings: Settings, device: str, team: Team = ALONE
) -> Reconstruction:
    """Add error bars from the counts, and the seconds they took."""
    began = time.perf_counter()
    draws, seed = settings.refinement.error_draws, settings.training.seed
    memory = native.bytes_for(settings.refinement.memory, device)
    result = error_bars.with_error_bars(result, scan, draws, seed, device, memory, team)
    return replace(result, seconds=result.seconds | {"error bars": time.perf_counter() - began})


def refine_folder(source: Path, request: Request, init: Path | None = None, resume: bool = False) -> Reconstruction:
    """:func:`baseline_folder` with the native engine; a signal ends it with the image so far.

    Args:
        source: scan file.
        request: settings and folder.
        init: reconstruction to start from; vacuum when None.
        resume: go on from the checkpoint in the folder, which every scoring step leaves there.
    """
    engine = request.settings.baseline.engine
    if request.sources["engine"] != "default" and engine != "native":
        raise PtychoError(f"engine: {engine} given; refine has one engine, use baseline for others.")
    if resume and init is not None:
        raise PtychoError("--init: has no effect with --resume, which goes on from its own image; give one of them.")
    request = replace(request, settings=request.settings.changed(engine="native"))
    if not leads():
        return _helped(source, request, init, resume)
    with Interruption(signal.SIGINT, take=False) as stop:
        checkpoints = Checkpoints(request, source, resume)
        result, place = baseline_folder(source, checkpoints.request, init, "refine", checkpoints, stop)
    if stop.name is not None:
        kept = "" if place == request.out else f", and {request.out} keeps the finished one"
        call = "the same command" if not request.overwrite else "the same command without --overwrite"
        raise RunFailedError(
            f"refine: stopped by {stop.name}; the image so far is in {place}{kept}; go on with {call} and --resume."
        )
    checkpoints.remove()
    return result


def _helped(source: Path, request: Request, init: Path | None, resume: bool) -> Reconstruction:
    """Do the share of a process that does not lead: it writes and reports nothing, and stops with the first one."""
    with StopRequest():
        checkpoints = Checkpoints(request, source, resume)
        settings = checkpoints.request.settings
        scan = open_scan(source, settings.data, held=_held(settings))
        start = None if init is None else start_of(init, scan, settings.data, source, lambda line: None)
        with processes.team() as team:
            return refine_scan(scan, settings, device_of(settings), start, running=checkpoints.running(scan, team))


def baseline_folder(
    source: Path,
    request: Request,
    init: Path | None = None,
    command: str = "baseline",
    checkpoints: Checkpoints | None = None,
    stop: Interruption | None = None,
) -> tuple[Reconstruction, Path]:
    """Reconstruct a scan file with an iterative engine; write what ``infer`` writes, the losses and the probe.

    Args:
        source: scan file.
        request: settings and folder.
        init: reconstruction to start from; vacuum when None.
        command: ``baseline`` or ``refine``.
        checkpoints: keep the progress of the native engine.
        stop: may end it.

    Returns:
        The image, and the folder that it is in: another one where a stopped fit would replace a finished image.
    """
    out, settings, report = request.out, request.settings, request.report
    keep = checkpoints is not None and checkpoints.resume
    check_apart(() if keep else [out], request.reads(source, init))
    with holding(out, command, request.overwrite, keep, own=None if checkpoints is None else CHECKPOINT) as place:
        scan = open_scan(source, settings.data, held=_held(settings))
        sha256 = file_hash(source) if checkpoints is None else checkpoints.sha256
        report_scan(scan, report)
        start = None if init is None else start_of(init, scan, settings.data, source, report)
        if checkpoints is None:
            result = _fitted(scan, settings, start, report, BY_ITSELF)
        else:
            with processes.team() as team:
                result = _fitted(scan, settings, start, report, checkpoints.running(scan, team, stop))
        used, origins = _used(scan, request)
        inputs = {"scan": str(source), "sha256": sha256, "init": init and str(init), "settings": used}
        found: dict[str, Any] = {"seconds": result.seconds, **deviance_record(result), **scan_record(scan)}
        if stop is not None and stop.name is not None:
            found[STOPPED] = stop.name
        if result.probe is not None:
            power = probe_power(torch.from_numpy(result.probe)).double()
            shares = (power / power.sum()).tolist()
            found["power_of_modes"] = shares
            report("power of the probe modes: " + shortened(", ".join(f"{share:.1%}" for share in shares)))
        is_ours = settings.baseline.engine == "native"
        library = {} if is_ours else {"ptychi": version("ptychi")}

        def write(folder: Path) -> None:
            write_provenance(folder, command, {**inputs, "sources": origins, **library, **found})
            save_reconstruction(folder, result, scan, report=report)
            _save_losses(folder, result, "step" if is_ours else "epoch")
            draw_probe(folder / "probe.png", scan.probe if result.probe is None else result.probe)

        where = place.publish(write, finished=STOPPED not in found)
    report_result(result, scan, report, judged=True)
    return result, where


def _save_losses(out: Path, result: Reconstruction, step: str) -> None:
    """Write the loss of every step as a table and a picture; nothing where a signal came before the first."""
    if result.loss:
        epochs = range(1, len(result.loss) + 1)
        rows = [{step: epoch, "loss": loss} for epoch, loss in zip(epochs, result.loss, strict=True)]
        write_table(out / "loss.csv", rows)
        draw_history(out / "loss.png", {step: epochs, "train_loss": result.loss})


def _fitted(
    scan: Scan, settings: Settings, start: Reconstruction | None, report: Report, running: Running
) -> Reconstruction:
    """Reconstruct with the chosen engine, with error bars."""
    chosen, seed, device = settings.baseline, settings.training.seed, device_of(settings)
    if chosen.engine == "native":
        if chosen.noise_model == "poisson" or chosen.baseline_batch_size is not None:
            report("noise_model and batch size: the native engine is Poisson and chooses its batches.")
        return refine_scan(scan, settings, device, start, report, running)
    if (size := chosen.baseline_batch_size or 0) > len(scan):
        report(f"--batch-size {size}: the scan has {len(scan)} frames; one update takes them all.")
    return with_error_bars(ptychi.reconstruct(scan, chosen, seed, device, start, report), scan, settings, device)


def _held(settings: Settings) -> float | None:
    """Bytes of frames that ``memory`` allows to be kept; None where it is not given."""
    gigabytes = settings.refinement.memory
    return None if gigabytes is None else gigabytes * 1e9


def _used(scan: Scan, request: Request) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings that the fit depends on, and where each came from."""
    settings, chosen = request.settings, request.settings.baseline
    used, origins = request.used(settings.data, chosen, settings.refinement, names=("seed",))
    if chosen.engine != "native" and chosen.baseline_batch_size is None:
        used["baseline_batch_size"] = ptychi.usual_batch_size(len(scan), chosen.engine)
        origins["baseline_batch_size"] = "data"
    return used, origins
