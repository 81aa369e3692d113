"""``ptychopinn refine``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import common
from ptychopinn.cli.common import setting
from ptychopinn.errors import PtychoError

app = common.new_app()


@app.command(epilog="Example: ptychopinn refine star.npz --init image --out refined")
def refine(
    ctx: typer.Context,
    scan: Annotated[Path, typer.Argument(help="scan file")],
    out: common.Out,
    init: Annotated[Path | None, typer.Option("--init", help="image, and no more, to start from")] = None,
    epochs: Annotated[int | None, setting("epochs")] = None,
    refine_seconds: Annotated[float | None, setting("refine_seconds", "--max-seconds")] = None,
    tolerance: Annotated[float | None, setting("tolerance")] = None,
    subpixel: Annotated[str | None, setting("subpixel")] = None,
    refine_probe: Annotated[bool | None, setting("refine_probe", "--refine-probe")] = None,
    refine_positions: Annotated[bool | None, setting("refine_positions", "--refine-positions")] = None,
    error_draws: Annotated[int | None, setting("error_draws")] = None,
    crop: common.Crop = None,
    every: common.Every = None,
    n_subsample: common.Subsample = None,
    scan_index: common.ScanIndex = None,
    map: common.Map = None,
    frames: common.FramesFile = None,
    probe: common.ProbeFile = None,
    flip_x: common.FlipX = None,
    flip_y: common.FlipY = None,
    swap_xy: common.SwapXY = None,
    mask: common.Mask = None,
    drop_frames: common.DropFrames = None,
    measurement: common.Measurement = None,
    nphotons: common.Photons = None,
    seed: Annotated[int | None, typer.Option("--seed", help="of the order of the frames")] = None,
    accelerator: common.Accelerator = None,
    assigned: common.Set = None,
    config: common.Config = None,
    overwrite: common.Overwrite = False,
    quiet: common.Quiet = False,
) -> None:
    """Fit an image to the counts of a scan, down to the photon noise, with an error bar on every pixel.

    Starts from vacuum, or from an image of 'infer', 'baseline' or 'refine'. The probe of the file is kept as it is
    unless refined.
    """
    settings, sources = common.resolved(ctx)
    if sources["engine"] != "default" and settings.baseline.engine != "native":
        raise PtychoError(f"engine: {settings.baseline.engine} given; refine has one engine, use baseline for others.")

    from ptychopinn.commands.refine import baseline_folder

    chosen = settings.changed(engine="native")
    baseline_folder(scan, out, chosen, sources, init, overwrite, common.speaker(quiet), "refine")
    typer.echo(f"Image: {out / 'reconstruction.h5'} and {out / 'reconstruction.png'}")
