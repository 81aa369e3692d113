"""``ptychopinn train``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import common
from ptychopinn.cli.common import setting
from ptychopinn.errors import PtychoError
from ptychopinn.files.output_folder import leads

app = common.new_app()


@app.command(epilog="Example: ptychopinn train star.npz --out run --max-seconds 60")
def train(
    ctx: typer.Context,
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
    gridsize: Annotated[int | None, setting("gridsize")] = None,
    neighbor_count: Annotated[int | None, setting("neighbor_count")] = None,
    n_groups: Annotated[int | None, setting("n_groups")] = None,
    model_type: Annotated[str | None, setting("model_type")] = None,
    features: Annotated[str | None, setting("features")] = None,
    stages: Annotated[int | None, setting("stages")] = None,
    n_filters_scale: Annotated[float | None, setting("n_filters_scale")] = None,
    nepochs: Annotated[int | None, setting("nepochs")] = None,
    max_seconds: Annotated[float | None, setting("max_seconds")] = None,
    batch_size: Annotated[int | None, setting("batch_size")] = None,
    val_fraction: Annotated[float | None, setting("val_fraction")] = None,
    learning_rate: Annotated[float | None, setting("learning_rate")] = None,
    nll_weight: Annotated[float | None, setting("nll_weight")] = None,
    realspace_weight: Annotated[float | None, setting("realspace_weight")] = None,
    teacher_epochs: Annotated[int | None, setting("teacher_epochs")] = None,
    synthetic_fraction: Annotated[float | None, setting("synthetic_fraction")] = None,
    seed: Annotated[int | None, setting("seed")] = None,
    accelerator: common.Accelerator = None,
    assigned: common.Set = None,
    config: common.Config = None,
    overwrite: common.Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Train a network on a scan, from its counts alone."""
    if resume and (config or overwrite):
        raise PtychoError("--resume: continues with the settings of the run; leave --config and --overwrite away.")
    settings, sources = common.resolved(ctx)

    from ptychopinn.commands.train import settings_to_resume, train_folder

    if resume:
        settings, sources = settings_to_resume(out, common.given(ctx))
    train_folder(scan, out, settings, sources, overwrite, common.speaker(quiet), common.shows_bar(quiet), resume)
    if leads():
        typer.echo(f"Trained network: {out / 'wts.h5.zip'}")
