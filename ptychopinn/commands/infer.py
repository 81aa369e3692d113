"""``infer``: a run and a scan file to an image."""

from pathlib import Path
from typing import Any

from ptychopinn.commands.messages import deviance_in_words, tell, tell_result, told
from ptychopinn.commands.refine import refined
from ptychopinn.commands.results import save_reconstruction
from ptychopinn.config import Settings, read_settings
from ptychopinn.errors import WARNING
from ptychopinn.files.output_folder import check_folder, file_hash, holding, leads, write_provenance
from ptychopinn.files.reading import open_scan
from ptychopinn.inference import processes
from ptychopinn.inference.infer import infer
from ptychopinn.model import bundle
from ptychopinn.model.bundle import reading_of, with_trained_probe
from ptychopinn.model.execution import algorithms, device_of
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.checks import dark_frames
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report


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
    spare = run.light.probe.numpy()
    scan = open_scan(source, settings.data, once=not settings.inference.refine, spare=spare)
    device = device_of(settings)
    tell(scan, report, passes=False)
    if run.settings.model.probe_trainable:
        report("The probe that was trained is used, not the one in the file.")
    with processes.team() as team, algorithms(settings.execution.deterministic):
        result = infer(run, scan, settings.inference, device, team)
    if leads():
        for line in dark_frames(result.dark, len(scan)):
            report(f"{WARNING}{line}")
    if settings.inference.refine and leads():
        report(f"network: {deviance_in_words(result)}")
        result = refined(with_trained_probe(run, scan), settings, device, result, report)
    return result, with_trained_probe(run, scan), reading
