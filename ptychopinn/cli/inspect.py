"""``ptychopinn inspect``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import common
from ptychopinn.errors import PtychoError

app = common.new_app()


@app.command(epilog="Example: ptychopinn inspect star.npz")
def inspect(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="scan file, product or frames of any format")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="PNG to write [default: FILE-inspect.png here]")
    ] = None,
    crop: common.Crop = None,
    every: common.Every = None,
    n_subsample: common.Subsample = None,
    scan_index: common.ScanIndex = None,
    format: common.Format = None,
    map: common.Map = None,
    frames: common.FramesFile = None,
    probe: common.ProbeFile = None,
    pixel_size: common.PixelSize = None,
    flip_x: common.FlipX = None,
    flip_y: common.FlipY = None,
    swap_xy: common.SwapXY = None,
    mask: common.Mask = None,
    drop_frames: common.DropFrames = None,
    measurement: common.Measurement = None,
    nphotons: common.Photons = None,
    assigned: common.Set = None,
    config: common.Config = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing picture")] = False,
) -> None:
    """Print what to check first about a scan, and draw it."""
    settings, _ = common.resolved(ctx)
    picture = out or Path(f"{file.stem}-inspect.png")
    if picture.suffix != ".png":
        raise PtychoError(f"--out {picture}: the name of the picture must end in .png.")
    kept = picture.exists() and not overwrite
    if kept and out is not None:
        raise PtychoError(f"{picture}: exists already; give another --out, or --overwrite to replace it.")

    from ptychopinn.commands.inspect import inspect_file

    rows, draw = inspect_file(file, settings.data)
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        typer.echo(f"{label:<{width}}  {value}")
    if kept:
        typer.echo(f"No picture: {picture} exists already; give --out, or --overwrite to replace it.")
    else:
        draw(picture)
        typer.echo(f"Picture: {picture}")
