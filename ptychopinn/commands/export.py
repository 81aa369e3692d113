"""``export``: a trained network as a program."""

from pathlib import Path
from typing import Any

from ptychopinn.config import Settings, read_settings
from ptychopinn.files.output_folder import check_new
from ptychopinn.files.reading import open_scan
from ptychopinn.model import bundle
from ptychopinn.model.bundle import reading_of
from ptychopinn.model.export import check_ending, export


def export_file(
    run_path: Path, out: Path, source: Path | None, flags: dict[str, Any], config: Path | None, overwrite: bool = False
) -> dict[str, Any]:
    """Write a trained network as a program; see :func:`ptychopinn.model.export.export`.

    Args:
        run_path: run folder or bundle.
        out: new file, ``.pt2`` or ``.onnx``.
        source: scan file of the experiment it is for, read as the training scan was; that one when None.
        flags: settings by name; they win over ``config``.
        config: JSON file of settings.
        overwrite: replace ``out``.
    """
    check_new(out, overwrite)
    check_ending(out)
    run = bundle.load_run(run_path)
    settings = Settings.of(reading_of(run) | (read_settings(config) if config else {}) | flags)
    scan = None if source is None else open_scan(source, settings.data)
    return export(run, out, scan)
