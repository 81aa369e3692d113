"""``ptychopinn demo``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import options, screen
from ptychopinn.commands.shared.request import Request
from ptychopinn.config import Settings

app = options.new_app()


@app.command(epilog="Example: ptychopinn demo --out demo")
def demo(
    out: Annotated[Path, options.out_option("folder for the results")] = Path("demo"),
    max_seconds: Annotated[float, typer.Option(min=1, help="time for the training, s")] = 40.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help=options.OVERWRITE)] = False,
    quiet: options.Quiet = False,
) -> None:
    """Simulate two objects, reconstruct both without training, train on one, refine it, and score all."""
    from ptychopinn.commands.demo import run_demo

    with screen.reporting(quiet) as report:
        settings = Settings.of({"max_seconds": max_seconds})
        screen.show(run_demo(Request(settings, out=out, overwrite=overwrite, report=report)))
    typer.echo(f"Pictures and scores: {out}")
