"""``ptychopinn infer``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, common
from ptychopinn.cli.common import setting
from ptychopinn.files.output_folder import leads

app = common.new_app()


@app.command(epilog="Example: ptychopinn infer run star.npz --out image")
def infer(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="folder that 'train' wrote, or its wts.h5.zip")],
    scan: Annotated[Path, typer.Argument(help="scan file")],
    out: common.Out,
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
    inference_batch_size: Annotated[int | None, setting("inference_batch_size")] = None,
    synchronise: Annotated[bool | None, setting("synchronise")] = None,
    refine: Annotated[bool | None, setting("refine", "--refine")] = None,
    epochs: Annotated[int | None, setting("epochs")] = None,
    refine_seconds: Annotated[float | None, setting("refine_seconds", "--max-seconds")] = None,
    subpixel: Annotated[str | None, setting("subpixel")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="of a scan that is being appended to SCAN, as it comes")
    ] = False,
    follow_timeout: Annotated[float | None, setting("follow_timeout")] = None,
    follow_frames: Annotated[int | None, setting("follow_frames")] = None,
    accelerator: common.Accelerator = None,
    assigned: common.Set = None,
    config: common.Config = None,
    overwrite: common.Overwrite = False,
    quiet: common.Quiet = False,
) -> None:
    """Reconstruct a scan with a trained network, in one pass; with --refine its image is then fitted to the counts.

    The scan is read as the training scan was (crop, flips) unless a flag says otherwise. With --follow frames are
    taken as a detector appends them to an HDF5 file.
    """
    settings, _ = common.resolved(ctx)  # refuses a wrong value by the name of its flag or file

    if not settings.inference.refine:
        applicable.refuse(common.written(ctx), applicable.NATIVE, "has no effect without --refine; give both, or none")
    if not follow:
        applicable.refuse(
            common.written(ctx), applicable.FOLLOWING, "has no effect without --follow; give both, or none"
        )

    from ptychopinn.commands.follow import follow_folder
    from ptychopinn.commands.infer import infer_folder

    fill = follow_folder if follow else infer_folder
    fill(run, scan, out, common.given(ctx), config, overwrite, common.speaker(quiet))
    if leads():
        typer.echo(f"Image: {out / 'reconstruction.h5'} and {out / 'reconstruction.png'}")
