"""``ptychopinn refine``."""

from typing import Annotated

import typer

from ptychopinn.cli import options
from ptychopinn.commands.shared.request import Request


@options.command("refine star.npz --init image --out refined", working="Refining")
def refine(
    scan: options.Scan,
    request: Request,
    init: options.Init = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the fit in --out that was stopped")] = False,
) -> str:
    """Fit an image to the counts of a scan, down to the photon noise, with an error bar on every pixel.

    Starts from vacuum, or from an image of 'infer', 'baseline' or 'refine'. The probe of the file is kept as it is
    unless refined.
    """
    from ptychopinn.commands.refine import refine_folder

    refine_folder(scan, request, init, resume)
    return f"Image: {request.out / 'reconstruction.h5'} and {request.out / 'reconstruction.png'}"
