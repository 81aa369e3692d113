"""The folder of an inference that follows a growing scan."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ptychopinn.commands.shared.live import Live, rate
from ptychopinn.commands.shared.messages import deviance_record, report_result, scan_record
from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.shared.results import save_image
from ptychopinn.errors import PtychoError
from ptychopinn.figures.reconstruction import draw_reconstruction
from ptychopinn.files.detector.examined import FirstMask
from ptychopinn.files.growing.reader import Look, Reader, check_growing, growing_reader
from ptychopinn.files.output_folder import (
    LIVE,
    PROVENANCE,
    check_apart,
    check_folder,
    file_hash,
    hashes,
    write_provenance,
)
from ptychopinn.files.reading import files_of
from ptychopinn.files.replacing import Place, holding
from ptychopinn.inference import following
from ptychopinn.model import processes
from ptychopinn.model.bundle import reading_of, spare_probe
from ptychopinn.model.execution import device_of
from ptychopinn.model.pretrained import NAME, bundle_of, chosen_run
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report


def follow_folder(run_path: Path | None, source: Path, request: Request) -> Reconstruction:
    """Reconstruct a scan while a detector appends it to an HDF5 file in SWMR mode.

    ``live.png`` is drawn anew at intervals; when the scan is over it gives way to what ``infer`` writes. The folder is
    made, or emptied, when there are frames that the run can use: what is refused leaves it as it is.

    Whatever happens to the file after that, the image of the frames that were good is written. From then on Ctrl-C and
    SIGTERM mean that the scan is over.

    Args:
        run_path: run folder or bundle; None: the network of the package.
        source: CXI file, or any HDF5 file with a map.
        request: its settings win over what the run was trained with.

    Raises:
        PtychoError: for a wrong call; and, when the image is written, for frames after its last that cannot be used.
    """
    if processes.started_together() > 1:
        raise PtychoError("--follow: one process follows a file; start it without torchrun.")
    out, live = request.out, Live(request, f"infer --follow {source.name}")
    report = live.report
    check_folder(out, "infer", request.overwrite)
    check_apart([out], request.reads(run_path, source))
    run = chosen_run(run_path)
    asked, request = request.settings.data, request.over(reading_of(run))
    settings = request.settings
    chosen, device = settings.inference, device_of(settings)
    if chosen.refine:
        raise PtychoError("--follow: --refine needs the whole scan; refine the result afterwards: ptychopinn refine.")
    check_growing(source, asked)

    ending = following.Ending(report)
    patience, spare = chosen.follow_timeout, spare_probe(run)
    read = _telling(growing_reader(source, settings.data, FirstMask(report), spare), report)
    scans = following.growing(read, patience, chosen.follow_frames, report, ending, partial(read, whole=True))
    scans = following.begun(run, scans, chosen)
    with ending, holding(out, "infer", request.overwrite) as place, _live(out), live.beside(place):
        inputs = {"run": NAME if run_path is None else str(run_path), "scan": str(source), "settings": request.given}
        inputs["inputs_sha256"] = hashes((bundle_of(run_path), *files_of(settings.data)))
        # With the first picture, so that a killed one can be replaced.
        place.put(PROVENANCE, lambda path: write_provenance(path.parent, "infer", inputs))
        result, scan, refused = following.follow(
            run, scans, chosen, device, _shown(place, live, chosen.follow_frames), report, ending
        )
        left_out = np.setdiff1d(np.arange(scan.numbers[-1]), scan.numbers).tolist()
        found = inputs | scan_record(scan) | {"left_out": left_out}
        found |= _known(result, scan, source, report, same=refused is None)

        def write(folder: Path) -> None:
            write_provenance(folder, "infer", found)
            save_image(folder, result, scan, report=report)

        place.publish(write)
        report_result(result, scan, report)
    if refused is not None:
        why = str(refused.of(source)).rstrip(".")
        raise PtychoError(f"{why}; {out} holds the image of the {len(scan)} frames that were read before.")
    return result


def _shown(place: Place, live: Live, whole: int | None) -> following.Show:
    """Shows the image so far: in ``live.png``, and on the page.

    Args:
        place: folder of the run.
        live: page of the run.
        whole: number of frames with which the scan ends, if it is known.
    """
    began = time.monotonic()

    def show(image: Tensor, coverage: Tensor, frames: int) -> None:
        shown = image.cpu().numpy(), coverage.cpu().numpy()
        place.put(LIVE, lambda path: draw_reconstruction(path, *shown, title=f"{frames} frames"), ready=True)
        live.picture(lambda: shown)
        speed = rate(frames, time.monotonic() - began)
        live.know({"frames": str(frames), **speed}, None if whole is None else frames / whole)
        live.report(f"{frames} frames: {place.folder / LIVE}")

    return show


@contextmanager
def _live(out: Path) -> Iterator[None]:
    """Remove the picture of the growing scan, whichever way the block ends."""
    try:
        yield
    finally:
        (out / LIVE).unlink(missing_ok=True)


def _telling(read: Reader, report: Report) -> Reader:
    """The same reader; each note of the scans it returns is reported once."""
    told: set[str] = set()

    def reading(whole: bool = False) -> Look:
        look = read(whole)
        for note in look.scan.notes:
            if note not in told:
                report(note)
        told.update(look.scan.notes)
        return look

    return reading


def _known(result: Reconstruction, scan: Scan, source: Path, report: Report, same: bool) -> dict[str, Any]:
    """What the provenance says of a result.

    Args:
        result: image.
        scan: its frames.
        source: file of the scan.
        report: receives a line where that can no longer be read, so that its hash is not known.
        same: whether it still holds the scan.
    """
    digest = None
    try:
        digest = file_hash(source) if same else None
    except OSError as error:
        report(f"{source}: cannot be read at the end ({error.strerror or error}): {PROVENANCE} has no hash of it.")
    known = {name: None if math.isnan(value) else value for name, value in deviance_record(result).items()}
    return {"sha256": digest, "seconds": result.seconds, **known, "frames": len(scan)}
