"""``refine`` and ``baseline``: a scan file to an image by an iterative engine."""

import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ptychopinn.commands.shared.messages import deviance_record, report_result, report_scan, scan_record
from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.shared.results import save_reconstruction
from ptychopinn.commands.shared.starting import start_of
from ptychopinn.config import Settings
from ptychopinn.engines import error_bars, native, ptychi
from ptychopinn.errors import PtychoError
from ptychopinn.figures.history import draw_history
from ptychopinn.figures.probe import draw_probe
from ptychopinn.files.output_folder import (
    file_hash,
    holding,
    write_provenance,
    write_table,
)
from ptychopinn.files.reading import open_scan
from ptychopinn.model.execution import device_of
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
) -> Reconstruction:
    """Reconstruct with the native engine and error bars; ``seconds`` include those of ``start``."""
    seed = settings.training.seed
    result = native.reconstruct(scan, settings.baseline, settings.refinement, seed, device, start, report)
    spent = result.seconds if start is None else start.seconds | result.seconds
    return with_error_bars(replace(result, seconds=spent), scan, settings, device)


def with_error_bars(result: Reconstruction, scan: Scan, settings: Settings, device: str) -> Reconstruction:
    """Add error bars from the counts, and the seconds they took."""
    began = time.perf_counter()
    draws, seed = settings.refinement.error_draws, settings.training.seed
    memory = native.bytes_for(settings.refinement.memory, device)
    result = error_bars.with_error_bars(result, scan, draws, seed, device, memory)
    return replace(result, seconds=result.seconds | {"error bars": time.perf_counter() - began})


def refine_folder(source: Path, request: Request, init: Path | None = None) -> Reconstruction:
    """:func:`baseline_folder` with the native engine."""
    engine = request.settings.baseline.engine
    if request.sources["engine"] != "default" and engine != "native":
        raise PtychoError(f"engine: {engine} given; refine has one engine, use baseline for others.")
    request = replace(request, settings=request.settings.changed(engine="native"))
    return baseline_folder(source, request, init, "refine")


def baseline_folder(
    source: Path, request: Request, init: Path | None = None, command: str = "baseline"
) -> Reconstruction:
    """Reconstruct a scan file with an iterative engine; write what ``infer`` writes, the losses and the probe.

    Args:
        source: scan file.
        request: settings and folder.
        init: reconstruction to start from; vacuum when None.
        command: ``baseline`` or ``refine``.
    """
    out, settings, report = request.out, request.settings, request.report
    with holding(out, command, request.overwrite) as ready:
        scan = open_scan(source, settings.data)
        report_scan(scan, report)
        start = None if init is None else start_of(init, scan, settings.data, source, report)
        result = _fitted(scan, settings, start, report)
        used, origins = _used(scan, request)
        inputs = {"scan": str(source), "sha256": file_hash(source), "init": init and str(init), "settings": used}
        found: dict[str, Any] = {"seconds": result.seconds, **deviance_record(result), **scan_record(scan)}
        if result.probe is not None:
            power = probe_power(torch.from_numpy(result.probe)).double()
            shares = (power / power.sum()).tolist()
            found["power_of_modes"] = shares
            report("power of the probe modes: " + ", ".join(f"{share:.1%}" for share in shares))
        is_ours = settings.baseline.engine == "native"
        library = {} if is_ours else {"ptychi": version("ptychi")}
        ready()
        write_provenance(out, command, {**inputs, "sources": origins, **library, **found})
        save_reconstruction(out, result, scan)
        epochs = range(1, len(result.loss) + 1)
        step = "step" if is_ours else "epoch"
        rows = [{step: epoch, "loss": loss} for epoch, loss in zip(epochs, result.loss, strict=True)]
        write_table(out / "loss.csv", rows)
        draw_history(out / "loss.png", {step: epochs, "train_loss": result.loss})
        draw_probe(out / "probe.png", scan.probe if result.probe is None else result.probe)
    report_result(result, scan, report, judged=True)
    return result


def _fitted(scan: Scan, settings: Settings, start: Reconstruction | None, report: Report) -> Reconstruction:
    """Reconstruct with the chosen engine, with error bars."""
    chosen, seed, device = settings.baseline, settings.training.seed, device_of(settings)
    if chosen.engine == "native":
        if chosen.noise_model == "poisson" or chosen.baseline_batch_size is not None:
            report("noise_model and batch size: the native engine is Poisson and chooses its batches.")
        return refine_scan(scan, settings, device, start, report)
    if (size := chosen.baseline_batch_size or 0) > len(scan):
        report(f"--batch-size {size}: the scan has {len(scan)} frames; one update takes them all.")
    return with_error_bars(ptychi.reconstruct(scan, chosen, seed, device, start, report), scan, settings, device)


def _used(scan: Scan, request: Request) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings that the fit depends on, and where each came from."""
    settings, chosen = request.settings, request.settings.baseline
    used, origins = request.used(settings.data, chosen, settings.refinement, names=("seed",))
    if chosen.engine != "native" and chosen.baseline_batch_size is None:
        used["baseline_batch_size"] = ptychi.usual_batch_size(len(scan), chosen.engine)
        origins["baseline_batch_size"] = "data"
    return used, origins
