"""``infer``: a run and a scan file to an image."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ptychopinn.commands.refine import refine_scan
from ptychopinn.commands.shared.messages import (
    deviance_in_words,
    deviance_record,
    report_result,
    report_scan,
    scan_record,
)
from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.shared.results import save_reconstruction
from ptychopinn.errors import WARNING
from ptychopinn.files.output_folder import check_apart, check_folder, hashes, leads, write_provenance
from ptychopinn.files.reading import files_of, open_scan
from ptychopinn.files.replacing import holding
from ptychopinn.inference.infer import infer
from ptychopinn.model import processes
from ptychopinn.model.bundle import reading_of, spare_probe, with_trained_probe
from ptychopinn.model.execution import algorithms, device_of
from ptychopinn.model.pretrained import NAME, bundle_of, chosen_run
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.checks import dark_frames
from ptychopinn.scan.scan import Scan


def infer_folder(run_path: Path | None, source: Path, request: Request) -> Reconstruction:
    """Reconstruct a scan file with a trained run and write the image as HDF5, NPZ and PNG.

    Processes that torchrun started share the parts of a large scan; the first of them writes.

    Args:
        run_path: run folder or bundle; None: the network of the package.
        source: scan file.
        request: its settings win over what the run was trained with.
    """
    out = request.out
    check_folder(out, "infer", request.overwrite)
    check_apart([out], request.reads(run_path, source))
    if not leads():
        return _inferred(run_path, source, replace(request, report=lambda line: None))[0]
    with holding(out, "infer", request.overwrite) as place:
        result, scan, given, known = _inferred(run_path, source, request)
        inputs = {
            "run": NAME if run_path is None else str(run_path),
            "scan": str(source),
            "sha256": known[str(source)],
            "inputs_sha256": known,
            **scan_record(scan),
        }
        found = {"settings": given, "seconds": result.seconds, **deviance_record(result)}

        def write(folder: Path) -> None:
            write_provenance(folder, "infer", {**inputs, **found})
            save_reconstruction(folder, result, scan, report=request.report)

        place.publish(write)
    report_result(result, scan, request.report, judged=request.settings.inference.refine)
    return result


def _inferred(
    run_path: Path | None, source: Path, request: Request
) -> tuple[Reconstruction, Scan, dict[str, Any], dict[str, str]]:
    """The image that :func:`infer_folder` writes, its scan, the settings given, and hashes of what was read."""
    files = (bundle_of(run_path), source, *files_of(request.settings.data))
    run = chosen_run(run_path)
    request = request.over(reading_of(run))
    if run.any_setup:
        request.report(f"Network: {NAME}, which knows no set-up; one that 'ptychopinn train' made for it is better.")
    settings, report = request.settings, request.report
    scan = open_scan(
        source, settings.data, once=not (settings.inference.refine or run.any_setup), spare=spare_probe(run)
    )
    device = device_of(settings)
    report_scan(scan, report, passes=False)
    known = hashes(files) if leads() else {}  # before the work: the file may go meanwhile
    if run.settings.model.probe_trainable:
        report("The probe that was trained is used, not the one in the file.")
    with processes.team() as team, algorithms(settings.execution.deterministic):
        result = infer(run, scan, settings.inference, device, team)
    if leads():
        for line in dark_frames(result.dark, len(scan)):
            report(f"{WARNING}{line}")
    if settings.inference.refine and leads():
        report(f"network: {deviance_in_words(result)}")
        result = refine_scan(with_trained_probe(run, scan), settings, device, result, report)
    return result, with_trained_probe(run, scan), request.given, known
