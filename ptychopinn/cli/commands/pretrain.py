"""``ptychopinn pretrain``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import options
from ptychopinn.commands.shared.request import Request

PROBES = "file with a probe that a quarter of the set-ups vary; may be given several times"


@options.command("pretrain --out network --max-seconds 3600")
def pretrain(
    request: Request,
    probes: Annotated[list[Path] | None, typer.Option("--probes", help=PROBES)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in --out")] = False,
) -> str:
    """Train one network for any set-up, on generated probes, objects and doses, without a scan.

    The package has such a network, which 'infer' and 'train' take by themselves; this command makes another.
    """
    from ptychopinn.commands.pretrain import pretrain_folder
    from ptychopinn.commands.train import resumed

    if resume:
        request = resumed(request)
    elif request.sources["noise_input"] == "default":
        request = replace(request, settings=request.settings.changed(noise_input=True))
    pretrain_folder(probes or (), request, resume)
    return f"Trained network: {request.out / 'wts.h5.zip'}"
