"""``ptychopinn train``."""

from typing import Annotated

import typer

from ptychopinn.cli import applicable, options
from ptychopinn.commands.shared.request import Request


@options.command("train star.npz --out run --max-seconds 60")
def train(
    scan: options.Scan,
    request: Request,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in --out")] = False,
) -> str:
    """Train a network on a scan, from its counts alone."""
    from ptychopinn.commands.train import resumed, train_folder

    if request.settings.training.validate_on is not None:
        why = "has no effect with --validate-on, which validates on another scan; give one of them"
        applicable.refuse(request.written, ("val_fraction",), why)
    train_folder(scan, resumed(request) if resume else request, resume)
    return f"Trained network: {request.out / 'wts.h5.zip'}"
