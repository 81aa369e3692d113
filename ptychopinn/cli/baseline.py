"""``ptychopinn baseline``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, common
from ptychopinn.cli.common import setting

app = common.new_app()


@app.command(epilog="Example: ptychopinn baseline star.npz --out lsqml --engine lsqml --epochs 30")
def baseline(
    ctx: typer.Context,
    scan: Annotated[Path, typer.Argument(help="scan file")],
    out: common.Out,
    engine: Annotated[str | None, setting("engine")] = None,
    epochs: Annotated[int | None, setting("epochs")] = None,
    refine_probe: Annotated[bool | None, setting("refine_probe", "--refine-probe")] = None,
    refine_positions: Annotated[bool | None, setting("refine_positions", "--refine-positions")] = None,
    subpixel: Annotated[str | None, setting("subpixel")] = None,
    noise_model: Annotated[str | None, setting("noise_model")] = None,
    baseline_batch_size: Annotated[int | None, setting("baseline_batch_size", "--batch-size")] = None,
    init: Annotated[Path | None, typer.Option("--init", help="image, and no more, to start from")] = None,
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
    """Reconstruct a scan with an iterative engine of pty-chi, to compare with, or with the native one.

    The image lies in the same frame as that of 'infer'. The probe of the file is taken as it is unless refined.
    """
    settings, sources = common.resolved(ctx)
    if (chosen := settings.baseline.engine) != "native":
        why = f"has no effect with engine {chosen}; it is a setting of --engine native"
        applicable.refuse(common.written(ctx), applicable.NATIVE_ONLY, why)

    from ptychopinn.commands.refine import baseline_folder

    baseline_folder(scan, out, settings, sources, init, overwrite, common.speaker(quiet))
    typer.echo(f"Image: {out / 'reconstruction.h5'} and {out / 'reconstruction.png'}")
