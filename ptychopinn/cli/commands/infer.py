"""``ptychopinn infer``."""

from typing import Annotated

import typer

from ptychopinn.cli import applicable, options
from ptychopinn.commands.shared.request import Request

FOLLOW = "reconstruct frames while a detector appends them to SCAN"


@options.command("infer run star.npz --out image", working="Reconstructing")
def infer(
    run: options.Run,
    scan: options.Scan,
    request: Request,
    follow: Annotated[bool, typer.Option("--follow", help=FOLLOW)] = False,
) -> str:
    """Reconstruct a scan with a trained network, in one pass; with --refine its image is then fitted to the counts.

    The scan is read as the training scan was (crop, flips) unless a flag says otherwise. With --follow frames are
    taken as a detector appends them to an HDF5 file.
    """
    if not request.settings.inference.refine:
        applicable.refuse(request.written, applicable.NATIVE, "has no effect without --refine; give both or neither")
    if not follow:
        applicable.refuse(request.written, applicable.FOLLOWING, "has no effect without --follow; give both or neither")

    from ptychopinn.commands.follow import follow_folder
    from ptychopinn.commands.infer import infer_folder

    (follow_folder if follow else infer_folder)(run, scan, request)
    return f"Image: {request.out / 'reconstruction.h5'} and {request.out / 'reconstruction.png'}"
