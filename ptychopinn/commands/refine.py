"""``refine`` and ``baseline``: a scan file to an image by an iterative engine."""

import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ptychopinn.commands.messages import tell, tell_result, told
from ptychopinn.commands.results import save_reconstruction
from ptychopinn.commands.starting import start_of
from ptychopinn.config import Settings
from ptychopinn.engines import native, ptychi
from ptychopinn.engines.error_bars import with_error_bars
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
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report


def refined(
    scan: Scan,
    settings: Settings,
    device: str,
    start: Reconstruction | None = None,
    report: Report = lambda line: None,
) -> Reconstruction:
    """An image by the native engine, with error bars; the seconds of ``start`` count too."""
    seed = settings.training.seed
    result = native.reconstruct(scan, settings.baseline, settings.refinement, seed, device, start, report)
    spent = result.seconds if start is None else start.seconds | result.seconds
    return barred(replace(result, seconds=spent), scan, settings, device)


def barred(result: Reconstruction, scan: Scan, settings: Settings, device: str) -> Reconstruction:
    """A reconstruction with the error bars of the counts, and the seconds that they took."""
    began = time.perf_counter()
    result = with_error_bars(result, scan, settings.refinement.error_draws, settings.training.seed, device)
    return replace(result, seconds=result.seconds | {"error bars": time.perf_counter() - began})


def baseline_folder(
    source: Path,
    out: Path,
    settings: Settings,
    sources: dict[str, str],
    init: Path | None = None,
    overwrite: bool = False,
    report: Report = lambda line: None,
    command: str = "baseline",
) -> Reconstruction:
    """Reconstruct a scan file with an iterative engine; write what ``infer`` writes, the losses and the probe.

    Args:
        source: scan file.
        out: new or empty folder, or an older result with ``overwrite``.
        settings: effective settings.
        sources: where each setting came from.
        init: reconstruction to start from; vacuum when None.
        overwrite: replace an older result.
        report: receives lines of progress.
        command: that writes: ``baseline`` or ``refine``.
    """
    with holding(out, command, overwrite) as ready:
        scan = open_scan(source, settings.data)
        tell(scan, report)
        start = None if init is None else start_of(init, scan, settings.data, source, report)
        result = _fitted(scan, settings, start, report)
        used, origins = _used(scan, settings, sources)
        inputs = {"scan": str(source), "sha256": file_hash(source), "init": init and str(init), "settings": used}
        found: dict[str, Any] = {"seconds": result.seconds, **told(result)}
        if result.probe is not None:
            shares = native.power_of_modes(result.probe)
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
    tell_result(result, scan, report)
    return result


def _fitted(scan: Scan, settings: Settings, start: Reconstruction | None, report: Report) -> Reconstruction:
    """The image of an iterative engine, with error bars."""
    chosen, seed, device = settings.baseline, settings.training.seed, device_of(settings)
    if chosen.engine == "native":
        if chosen.noise_model == "poisson" or chosen.baseline_batch_size is not None:
            report("noise_model and batch size: the native engine is Poisson and chooses its batches.")
        return refined(scan, settings, device, start, report)
    if (size := chosen.baseline_batch_size or 0) > len(scan):
        report(f"--batch-size {size}: the scan has {len(scan)} frames; one update takes them all.")
    return barred(ptychi.reconstruct(scan, chosen, seed, device, start, report), scan, settings, device)


def _used(scan: Scan, settings: Settings, sources: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings that decided a fit, and where each came from."""
    chosen, seed = settings.baseline, settings.training.seed
    used = settings.data.model_dump() | chosen.model_dump() | settings.refinement.model_dump() | {"seed": seed}
    origins = {name: sources[name] for name in used}
    if chosen.engine != "native" and chosen.baseline_batch_size is None:
        used["baseline_batch_size"] = ptychi.usual_batch_size(len(scan), chosen.engine)
        origins["baseline_batch_size"] = "data"
    return used, origins
