"""``ptychopinn simulate``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, options
from ptychopinn.commands.shared.request import Request

OUT = typer.Argument(help="NPZ file to write; must be new")
SOURCE = "NPZ file whose objectGuess, probeGuess, xcoords, ycoords to use"
SPLIT = "cut the scan in two along this axis: OUT_train.npz, OUT_test.npz"
GAP = "px; between the positions of the two [default: lit width of the probe]"


@options.command("simulate star.npz --nphotons 1e5", OUT, "replace an existing file", quiet=False)
def simulate(
    request: Request,
    source: Annotated[Path | None, typer.Option("--from", help=SOURCE)] = None,
    split: Annotated[str | None, typer.Option(metavar="y|x", help=SPLIT)] = None,
    split_gap: Annotated[float | None, typer.Option(min=0, help=GAP)] = None,
) -> None:
    """Simulate a scan of an embedded object, or of any object, probe and positions."""
    from ptychopinn.commands.simulate import simulate_files

    if source is None:
        why = "says how the file of --from is read, and none is given; omit it"
        applicable.refuse(request.written, ("allow_external",), why)

    simulate_files(request, source, split, split_gap)
