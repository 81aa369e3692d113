"""``ptychopinn train``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import common
from ptychopinn.cli.common import setting
from ptychopinn.config import resolve
from ptychopinn.errors import PtychoError

app = common.new_app()


@app.command()
def train(
    ctx: typer.Context,
    scan: Annotated[Path, typer.Argument(help="scan file (NPZ)")],
    out: common.Out,
    crop: common.Crop = None,
    every: common.Every = None,
    flip_x: common.FlipX = None,
    flip_y: common.FlipY = None,
    swap_xy: common.SwapXY = None,
    measurement: common.Measurement = None,
    nphotons: common.Photons = None,
    gridsize: Annotated[int | None, setting("gridsize")] = None,
    neighbor_count: Annotated[int | None, setting("neighbor_count")] = None,
    n_groups: Annotated[int | None, setting("n_groups")] = None,
    features: Annotated[str | None, setting("features")] = None,
    stages: Annotated[int | None, setting("stages")] = None,
    n_filters_scale: Annotated[float | None, setting("n_filters_scale")] = None,
    nepochs: Annotated[int | None, setting("nepochs")] = None,
    max_seconds: Annotated[float | None, setting("max_seconds")] = None,
    batch_size: Annotated[int | None, setting("batch_size")] = None,
    learning_rate: Annotated[float | None, setting("learning_rate")] = None,
    nll_weight: Annotated[float | None, setting("nll_weight")] = None,
    realspace_weight: Annotated[float | None, setting("realspace_weight")] = None,
    teacher_epochs: Annotated[int | None, setting("teacher_epochs")] = None,
    synthetic_fraction: Annotated[float | None, setting("synthetic_fraction")] = None,
    seed: Annotated[int | None, setting("seed")] = None,
    accelerator: common.Accelerator = None,
    config: common.Config = None,
    overwrite: common.Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Train a network on a scan, from its counts alone.

    Example: ptychopinn train star.npz --out run --max-seconds 60
    """
    if resume and (config or overwrite):
        raise PtychoError("--resume: continues with the settings of the run; leave --config and --overwrite away.")
    if resume and not (out / "settings.json").is_file():
        raise PtychoError(f"--resume: {out} holds no run; give the --out of an earlier 'ptychopinn train'.")
    settings, sources = resolve(common.given(ctx), out / "settings.json" if resume else config)

    from ptychopinn import jobs

    jobs.train_folder(scan, out, settings, sources, overwrite, common.speaker(quiet), common.shows_bar(quiet), resume)
    typer.echo(f"Trained network: {out / 'wts.h5.zip'}")
