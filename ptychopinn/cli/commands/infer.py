"""``ptychopinn infer``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, options
from ptychopinn.commands.shared.request import Request
from ptychopinn.errors import PtychoError
from ptychopinn.files.output_folder import is_run

FOLLOW = "reconstruct frames while a detector appends them to SCAN"


RUN = typer.Argument(
    metavar="RUN_OR_SCAN",
    help="folder that 'train' wrote, or its wts.h5.zip, before the scan file; or the scan file alone",
)
SCAN = typer.Argument(metavar="SCAN", help="scan file, after a run", show_default=False)


@options.command("infer star.npz --out image", working="Reconstructing", live=True)
def infer(
    run: Annotated[Path, RUN],
    request: Request,
    scan: Annotated[Path | None, SCAN] = None,
    follow: Annotated[bool, typer.Option("--follow", help=FOLLOW)] = False,
) -> str:
    """Reconstruct a scan with a trained network, in one pass; with --refine its image is then fitted to the counts.

    The network of the package knows no set-up; one that was trained on the set-up is better. The scan is read as the
    training scan was (crop, flips) unless a flag says otherwise. With --follow frames are taken as a detector appends
    them to an HDF5 file.
    """
    if not request.settings.inference.refine:
        applicable.refuse(request.written, applicable.NATIVE, "has no effect without --refine; give both or neither")
    if not follow and request.serve is not None:
        raise PtychoError("--serve: has no effect without --follow; give both or neither.")
    if not follow:
        applicable.refuse(request.written, applicable.FOLLOWING, "has no effect without --follow; give both or neither")

    trained = None if scan is None else run
    if scan is None and is_run(run):
        raise PtychoError(f"{run}: is a trained network; give a scan file too: ptychopinn infer {run} SCAN.")
    from ptychopinn.commands.follow import follow_folder
    from ptychopinn.commands.infer import infer_folder

    (follow_folder if follow else infer_folder)(trained, scan or run, request)
    return f"Image: {request.out / 'reconstruction.h5'} and {request.out / 'reconstruction.png'}"
