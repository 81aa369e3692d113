"""``ptychopinn simulate``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import common
from ptychopinn.cli.common import setting

app = common.new_app()


@app.command(epilog="Example: ptychopinn simulate star.npz --nphotons 1e5")
def simulate(
    ctx: typer.Context,
    out: Annotated[Path, typer.Argument(help="NPZ file to write; must be new")],
    source: Annotated[
        Path | None, typer.Option("--from", help="NPZ file whose objectGuess, probeGuess, xcoords, ycoords to use")
    ] = None,
    nphotons: Annotated[float | None, typer.Option(help="photons per frame through vacuum [default: 1e6]")] = None,
    object: Annotated[str | None, setting("object")] = None,
    object_size: Annotated[int | None, setting("object_size")] = None,
    N: Annotated[int | None, setting("N", "--N")] = None,
    step: Annotated[float | None, setting("step")] = None,
    jitter: Annotated[float | None, setting("jitter")] = None,
    probe_radius: Annotated[float | None, setting("probe_radius")] = None,
    probe_curvature: Annotated[float | None, setting("probe_curvature")] = None,
    interpolation: Annotated[str | None, setting("interpolation")] = None,
    seed: Annotated[int | None, typer.Option(help="of object, positions and noise [default: 0]")] = None,
    assigned: common.Set = None,
    config: common.Config = None,
    split: Annotated[
        str | None, typer.Option(metavar="y|x", help="cut the scan in two along this axis: OUT_train.npz, OUT_test.npz")
    ] = None,
    split_gap: Annotated[
        float | None, typer.Option(min=0, help="px; between the positions of the two [default: lit width of the probe]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing file")] = False,
) -> None:
    """Simulate a scan of an embedded object, or of any object, probe and positions."""
    settings, _ = common.resolved(ctx)

    from ptychopinn.commands.simulate import simulate_files

    given = common.written(ctx)
    simulate_files(out, settings, source, split, split_gap, overwrite, typer.echo, given)
