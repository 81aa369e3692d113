"""``export``: a trained network as a program."""

from pathlib import Path
from typing import Any

from ptychopinn.commands.shared.messages import report_notes
from ptychopinn.commands.shared.request import Request
from ptychopinn.files.output_folder import check_apart, check_new
from ptychopinn.files.reading import open_scan
from ptychopinn.model import bundle
from ptychopinn.model.bundle import reading_of
from ptychopinn.model.export import check_ending, export


def export_file(run_path: Path, source: Path | None, request: Request) -> dict[str, Any]:
    """Write a trained network as a program; see :func:`ptychopinn.model.export.export`.

    Args:
        run_path: run folder or bundle.
        source: scan file of the experiment it is for, read as the training scan was; that one when None.
        request: how to read ``source``; ``out`` is a new file, ``.pt2`` or ``.onnx``.
    """
    check_new(request.out, request.overwrite)
    check_apart([request.out], request.reads(bundle.bundle_file(run_path), source))
    check_ending(request.out)
    run = bundle.load_run(run_path)
    scan = None if source is None else open_scan(source, request.over(reading_of(run)).settings.data)
    if scan is not None:
        report_notes(scan, request.report)
    return export(run, request.out, scan)
