"""``ptychopinn train`` and ``ptychopinn pretrain``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from ptychopinn.cli import applicable, options
from ptychopinn.commands.shared.request import Request

PROBES = "file with a probe that a quarter of the set-ups vary; may be given several times"
SCANS = typer.Argument(help="scan files; several are trained on together")


FOR_ANY_SET_UP: Final = {"noise_input": True, "hidden_channels": 6, "canvas": "scan"}
"""Settings of a network for any set-up, where none are given."""


@options.command("train star.npz --out run --max-seconds 60", live=True)
def train(
    scan: Annotated[list[Path], SCANS],
    request: Request,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in --out")] = False,
) -> str:
    """Train a network on a scan, or on several, from their counts alone."""
    from ptychopinn.commands.train import resumed, train_folder

    if request.settings.training.validate_on is not None:
        why = "has no effect with --validate-on, which validates on another scan; give one of them"
        applicable.refuse(request.written, ("val_fraction",), why)
    train_folder(scan, resumed(request) if resume else request, resume)
    return f"Trained network: {request.out / 'wts.h5.zip'}"


@options.command("pretrain --out network --max-seconds 3600")
def pretrain(
    request: Request,
    probes: Annotated[list[Path] | None, typer.Option("--probes", help=PROBES)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in --out")] = False,
) -> str:
    """Train one network for any set-up, on generated probes, objects and doses, without a scan.

    The package has such a network, which 'infer' and 'train' take by themselves; this command makes another.
    """
    from ptychopinn.commands.networks.pretrain import pretrain_folder
    from ptychopinn.commands.train import resumed

    if resume:
        request = resumed(request)
    else:
        usual = {name: value for name, value in FOR_ANY_SET_UP.items() if request.sources[name] == "default"}
        request = replace(request, settings=request.settings.changed(**usual))
    pretrain_folder(probes or (), request, resume)
    return f"Trained network: {request.out / 'wts.h5.zip'}"
