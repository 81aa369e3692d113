"""The folder of an inference that follows a growing scan."""

from pathlib import Path
from typing import Any

from torch import Tensor

from ptychopinn import api, bundle, figures, following, processes
from ptychopinn.config import Settings, read_settings
from ptychopinn.errors import PtychoError
from ptychopinn.execution import Report, device_of
from ptychopinn.files.folder import LIVE, check_folder, file_hash, filling, write_provenance
from ptychopinn.inference import Reconstruction
from ptychopinn.jobs import reading_of, save_reconstruction, tell_result, told


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

    Args:
        run_path: run folder or bundle.
        source: CXI file, or any HDF5 file with a map.
        out: new or empty folder, or an older result with ``overwrite``.
        flags: settings by name; they win over ``config``, which wins over what the run was trained with.
        config: JSON file of settings.
        overwrite: replace an older result.
        report: receives lines of progress.
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
    api.check_growing(source, settings.data)

    def show(image: Tensor, coverage: Tensor, frames: int) -> None:
        figures.draw_reconstruction(out / LIVE, image.cpu().numpy(), coverage.cpu().numpy(), title=f"{frames} frames")
        report(f"{frames} frames: {out / LIVE}")

    scans = following.growing(
        lambda: api.open_growing(source, settings.data), chosen.follow_timeout, chosen.follow_frames, report
    )
    scans = following.begun(run, scans)
    with filling(out, "infer", overwrite):
        inputs = {"run": str(run_path), "scan": str(source), "settings": reading}
        write_provenance(out, "infer", inputs)  # so that a killed one can be replaced
        result, scan = following.follow(run, scans, chosen, device, show)
        found = {"seconds": result.seconds, **told(result), "frames": len(scan)}
        write_provenance(out, "infer", {**inputs, "sha256": file_hash(source), **found})
        save_reconstruction(out, result, scan)
        (out / LIVE).unlink(missing_ok=True)
    tell_result(result, scan, report)
    return result
