"""The folder of an inference that follows a growing scan."""

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from ptychopinn.commands.messages import tell_result, told
from ptychopinn.commands.results import save_image, save_patterns
from ptychopinn.config import Settings, read_settings
from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.figures.reconstruction import draw_reconstruction
from ptychopinn.files.output_folder import LIVE, PROVENANCE, check_folder, file_hash, filling, write_provenance
from ptychopinn.files.reading import check_growing, open_growing
from ptychopinn.inference import following, processes
from ptychopinn.model import bundle
from ptychopinn.model.bundle import reading_of
from ptychopinn.model.execution import device_of
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report


def follow_folder(
    run_path: Path,
    source: Path,
    out: Path,
    flags: dict[str, Any],
    config: Path | None = None,
    overwrite: bool = False,
    report: Report = lambda line: None,
) -> Reconstruction:
    """Reconstruct a scan while a detector appends it to an HDF5 file in SWMR mode.

    ``live.png`` is drawn anew at intervals; when the scan is over it gives way to what ``infer`` writes. The folder is
    made, or emptied, when there are frames that the run can use: what is refused leaves it as it is.

    Whatever happens to the file after that, the image of the frames that were good is written. From then on Ctrl-C and
    SIGTERM mean that the scan is over.

    Args:
        run_path: run folder or bundle.
        source: CXI file, or any HDF5 file with a map.
        out: new or empty folder, or an older result with ``overwrite``.
        flags: settings by name; they win over ``config``, which wins over what the run was trained with.
        config: JSON file of settings.
        overwrite: replace an older result.
        report: receives lines of progress.

    Raises:
        PtychoError: for a wrong call; and, when the image is written, for frames after its last that cannot be used.
    """
    if processes.started_together() > 1:
        raise PtychoError("--follow: one process follows a file; leave torchrun away.")
    check_folder(out, "infer", overwrite)
    run = bundle.load_run(run_path)
    reading = reading_of(run) | (read_settings(config) if config else {}) | flags
    settings = Settings.of(reading)
    chosen, device = settings.inference, device_of(settings)
    if chosen.refine:
        raise PtychoError("--follow: --refine needs the whole scan; refine the result afterwards: ptychopinn refine.")
    check_growing(source, settings.data)

    def show(image: Tensor, coverage: Tensor, frames: int) -> None:
        draw_reconstruction(out / LIVE, image.cpu().numpy(), coverage.cpu().numpy(), title=f"{frames} frames")
        report(f"{frames} frames: {out / LIVE}")

    ending = following.Ending(report)
    patience = chosen.follow_timeout
    spare = run.light.probe.numpy()
    scans = following.growing(
        lambda: open_growing(source, settings.data, spare), patience, chosen.follow_frames, report, ending
    )
    scans = following.begun(run, scans, patience, report)
    with ending, filling(out, "infer", overwrite):
        inputs = {"run": str(run_path), "scan": str(source), "settings": reading}
        write_provenance(out, "infer", inputs)  # so that a killed one can be replaced
        result, scan, refused = following.follow(run, scans, chosen, device, show, report, ending)
        _save(out, result, scan, inputs, report)
    tell_result(result, scan, report)
    if refused is not None:
        why = str(refused.of(source)).rstrip(".")
        raise PtychoError(f"{why}; {out} holds the image of the {len(scan)} frames before it.")
    return result


def _save(out: Path, result: Reconstruction, scan: Scan, inputs: dict[str, Any], report: Report) -> None:
    """Write what ``infer`` writes, the image first, and what needs the scan file as far as that is still there."""
    save_image(out, result, scan)
    (out / LIVE).unlink(missing_ok=True)
    _save_patterns(out, result, scan, report)
    known = {name: None if math.isnan(value) else value for name, value in told(result).items()}
    found = {"seconds": result.seconds, **known, "frames": len(scan)}
    write_provenance(out, "infer", {**inputs, "sha256": _hash(Path(inputs["scan"]), report), **found})


def _save_patterns(out: Path, result: Reconstruction, scan: Scan, report: Report) -> None:
    """Write ``patterns.png`` unless the frames are no longer to be read."""
    try:
        save_patterns(out, result, scan)
    except RunFailedError:
        raise
    except PtychoError as error:
        report(f"No patterns.png: {error}")


def _hash(source: Path, report: Report) -> str | None:
    """SHA-256 of the file; None, and a line, when it is no longer to be read."""
    try:
        return file_hash(source)
    except OSError as error:
        report(f"{source}: cannot be read at the end ({error.strerror or error}): {PROVENANCE} has no hash of it.")
        return None
