"""What a command leaves on disk: one function per command that fills a folder."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptychopinn import api, baseline, bundle, figures, inference, metrics, native, processes
from ptychopinn.bundle import Run
from ptychopinn.config import ExecutionConfig, Settings, read_settings
from ptychopinn.errors import WARNING, PtychoError
from ptychopinn.execution import Report, algorithms, device_of
from ptychopinn.files.folder import (
    PROVENANCE,
    check_folder,
    file_hash,
    filling,
    holding,
    leads,
    read_provenance,
    write_provenance,
    write_table,
)
from ptychopinn.files.reconstruction import write_reconstruction
from ptychopinn.inference import Reconstruction
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.physics.views import look
from ptychopinn.scan import Scan
from ptychopinn.summary import dark_frames, readable_length
from ptychopinn.telling import deviance_in_words, tell, tell_result, told
from ptychopinn.training_plan import check_training
from ptychopinn.uncertainty import with_error_bars

PATTERNS_SHOWN = 3
SAME_PIXEL = 1e-3
"""Relative difference up to which two pixel sizes are one, rounded on their way through files."""

MAY_CHANGE = frozenset({"nepochs", "max_seconds", *ExecutionConfig.model_fields}) - {"scheduler", "monitor", "mode"}
"""Settings that may change when a training goes on."""

SHARED = (
    *("crop", "flip_x", "flip_y", "swap_xy", "measurement", "probe_mask", "probe_mask_diameter"),
    *("synchronise", "middle_trim"),
)
"""Settings of a training that an inference takes over."""


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
    scan = api.open_scan(source, settings.data)
    if not leads():
        from ptychopinn import training  # it takes seconds to import

        return training.train(scan, settings, out, resume=resume)
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
        run = api.fill_run(out, scan, settings, {**origin, "sources": sources}, report, progress_bar, resume)
        figures.draw_probe(out / "probe.png", run.light.probe.numpy())
        figures.draw_history(out / "loss.png", _loss_columns(run))
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


def infer_folder(
    run_path: Path,
    source: Path,
    out: Path,
    flags: dict[str, Any],
    config: Path | None = None,
    overwrite: bool = False,
    report: Report = lambda line: None,
) -> Reconstruction:
    """Reconstruct a scan file with a trained run and write the image as HDF5, NPZ and PNG.

    Processes that torchrun started share the parts of a large scan; the first of them writes.

    Args:
        run_path: run folder or bundle.
        source: scan file.
        out: new or empty folder, or an older result with ``overwrite``.
        flags: settings by name; they win over ``config``, which wins over what the run was trained with.
        config: JSON file of settings.
        overwrite: replace an older result.
        report: receives lines of progress.
    """
    check_folder(out, "infer", overwrite)
    if not leads():
        return _inferred(run_path, source, flags, config)[0]
    with holding(out, "infer", overwrite) as ready:
        result, scan, reading = _inferred(run_path, source, flags, config, report)
        inputs = {"run": str(run_path), "scan": str(source), "sha256": file_hash(source), "settings": reading}
        ready()
        write_provenance(out, "infer", {**inputs, "seconds": result.seconds, **told(result)})
        save_reconstruction(out, result, scan)
    tell_result(result, scan, report)
    return result


def _inferred(
    run_path: Path,
    source: Path,
    flags: dict[str, Any],
    config: Path | None,
    report: Report = lambda line: None,
) -> tuple[Reconstruction, Scan, dict[str, Any]]:
    """The image that :func:`infer_folder` writes, its scan, and the settings that were given."""
    run = bundle.load_run(run_path)
    reading = reading_of(run) | (read_settings(config) if config else {}) | flags
    settings = Settings.of(reading)
    scan = api.open_scan(source, settings.data, once=not settings.inference.refine)
    device = device_of(settings)
    tell(scan, report, passes=False)
    if run.settings.model.probe_trainable:
        report("The probe that was trained is used, not the one in the file.")
    with processes.team() as team, algorithms(settings.execution.deterministic):
        result = inference.infer(run, scan, settings.inference, device, team)
    if leads():
        for line in dark_frames(result.dark, len(scan)):
            report(f"{WARNING}{line}")
    if settings.inference.refine and leads():
        report(f"network: {deviance_in_words(result)}")
        result = refined(inference.with_trained_probe(run, scan), settings, device, result, report)
    return result, scan, reading


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
        start = None if init is None else inference.load_reconstruction(init)
        scan = api.open_scan(source, settings.data)
        tell(scan, report)
        if start is not None:
            check_pixels(start.pixel_size_m, scan.pixel_size_m, f"--init {init}", "the scan")
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
        figures.draw_history(out / "loss.png", {step: epochs, "train_loss": result.loss})
        figures.draw_probe(out / "probe.png", scan.probe if result.probe is None else result.probe)
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
    return barred(baseline.reconstruct(scan, chosen, seed, device, start, report), scan, settings, device)


def _used(scan: Scan, settings: Settings, sources: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings that decided a fit, and where each came from."""
    chosen, seed = settings.baseline, settings.training.seed
    used = settings.data.model_dump() | chosen.model_dump() | settings.refinement.model_dump() | {"seed": seed}
    origins = {name: sources[name] for name in used}
    if chosen.engine != "native" and chosen.baseline_batch_size is None:
        used["baseline_batch_size"] = baseline.usual_batch_size(len(scan), chosen.engine)
        origins["baseline_batch_size"] = "data"
    return used, origins


def check_pixels(size: float | None, other: float | None, name: str, other_name: str) -> None:
    """Refuse an image whose pixels have another size than those of a scan or another image, where both are known.

    Args:
        size: edge of its pixels, m.
        other: of those of the other.
        name: the image, as the user gave it.
        other_name: with what it does not go together.
    """
    if size and other and not math.isclose(size, other, rel_tol=SAME_PIXEL):
        raise PtychoError(
            f"{name}: its pixels are {readable_length(size)} wide and those of {other_name} {readable_length(other)}; "
            "equal pixels are needed (was one made with another --crop?)."
        )


def save_reconstruction(out: Path, result: Reconstruction, scan: Scan, truth: bool = False) -> None:
    """Write ``reconstruction.h5``, ``.npz`` and the pictures; with the scan's object beside it when ``truth``."""
    save_image(out, result, scan, truth)
    save_patterns(out, result, scan)


def save_image(out: Path, result: Reconstruction, scan: Scan, truth: bool = False) -> None:
    """:func:`save_reconstruction` but for ``patterns.png``, for which frames are read."""
    arrays = {
        "object": result.object,
        "origin": np.array(result.origin),
        "coverage": result.coverage,
        "positions": result.positions,
        "frame_numbers": scan.numbers,
    }
    optional = {"probe": result.probe, "amplitude_std": result.amplitude_std, "phase_std": result.phase_std}
    arrays |= {name: values for name, values in optional.items() if values is not None}
    attributes: dict[str, float | str] = {**told(result), "subpixel": result.subpixel}
    if result.phase_std is not None:
        attributes["std_of"] = result.std_of
    if result.pixel_size_m is not None:
        attributes["pixel_size_m"] = result.pixel_size_m
    write_reconstruction(out, arrays, attributes)
    beside = scan.on_canvas(scan.object, outside=np.nan) if truth and scan.object is not None else None
    bars = None
    if result.amplitude_std is not None and result.phase_std is not None:
        bars = (result.amplitude_std, result.phase_std)
    figures.draw_reconstruction(
        out / "reconstruction.png",
        result.object,
        result.coverage,
        pixel_size_m=result.pixel_size_m,
        truth=beside,
        bars=bars,
        bars_are="error bar" if result.std_of == "counts" else "spread of patches",
    )


def save_patterns(out: Path, result: Reconstruction, scan: Scan) -> None:
    """Write ``patterns.png``: some frames, and what the image says of them."""
    shown = np.linspace(0, len(scan) - 1, PATTERNS_SHOWN).round().astype(np.int64)
    places = torch.from_numpy(result.positions[shown] - np.array(result.origin))
    probe = scan.probe if result.probe is None else result.probe
    views = look(torch.from_numpy(probe), places, result.subpixel)
    patches = extract_patches(torch.from_numpy(result.object), views.places, scan.N)
    predicted = diffract(views.probes, patches).numpy()
    measured = scan.frames(shown).numpy()
    if scan.good_pixels is not None:
        measured[:, ~scan.good_pixels] = np.nan
    figures.draw_patterns(out / "patterns.png", measured, predicted)


def score_in_box(result: Reconstruction, scan: Scan) -> dict[str, float]:
    """Scores of an image against the scan's object, between the outermost positions."""
    assert scan.object is not None
    box = scan.scan_box
    return asdict(metrics.score(result.window(scan.object.shape)[box], scan.object[box]))


def reading_of(run: Run) -> dict[str, Any]:
    """How the training scan was read: the part of its settings that another scan of the set-up shares."""
    usual, chosen = Settings().flat(), run.settings.flat()
    return {name: chosen[name] for name in SHARED if chosen[name] != usual[name]}


def _loss_columns(run: Run) -> dict[str, list[float]]:
    kinds = ("loss", "nll", "patch_error")
    names = ["epoch", *(f"{stage}_{kind}" for kind in kinds for stage in ("train", "val"))]
    return {name: [row[name] for row in run.history] for name in names if all(name in row for row in run.history)}
