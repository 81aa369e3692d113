"""``ptychopinn subset``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import common

app = common.new_app()


@app.command(epilog="Example: ptychopinn subset scan.npz --n 64 --out small.npz")
def subset(
    ctx: typer.Context,
    scan: Annotated[Path, typer.Argument(help="scan file")],
    out: Annotated[Path, typer.Option("--out", "-o", help="NPZ file to write; must be new")],
    n: Annotated[int, typer.Option("--n", help="frames to keep, spread over the whole scan")] = 64,
    scan_index: common.ScanIndex = None,
    format: common.Format = None,
    map: common.Map = None,
    frames: common.FramesFile = None,
    probe: common.ProbeFile = None,
    pixel_size: common.PixelSize = None,
    crop: common.Crop = None,
    mask: common.Mask = None,
    drop_frames: common.DropFrames = None,
    measurement: common.Measurement = None,
    nphotons: common.Photons = None,
    assigned: common.Set = None,
    config: common.Config = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace existing files")] = False,
) -> None:
    """Cut a small scan out of a large one, with a JSON file that says which frames it has."""
    settings, _ = common.resolved(ctx)

    from ptychopinn.commands.subset import subset_file

    part = subset_file(scan, out, n, settings.data, overwrite)
    typer.echo(f"{out}: {len(part)} frames of {part.N} x {part.N} pixels, listed in {out.with_suffix('.json')}")
