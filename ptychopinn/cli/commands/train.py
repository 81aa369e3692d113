"""``ptychopinn train``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, options
from ptychopinn.commands.shared.request import Request

SCANS = typer.Argument(help="scan files; several are trained on together, each with its own probe, dose and N")


@options.command("train star.npz --out run --max-seconds 60")
def train(
    scan: Annotated[list[Path], SCANS],
    request: Request,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in --out")] = False,
) -> str:
    """Train a network on a scan, or on several, from their counts alone.

    It starts from the network of the package where that fits, else from random weights.
    """
    from ptychopinn.commands.train import resumed, train_folder

    if request.settings.training.validate_on is not None:
        why = "has no effect with --validate-on, which validates on another scan; give one of them"
        applicable.refuse(request.written, ("val_fraction",), why)
    train_folder(scan, resumed(request) if resume else request, resume)
    return f"Trained network: {request.out / 'wts.h5.zip'}"
