"""``ptychopinn overlap``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import common
from ptychopinn.cli.common import setting

app = common.new_app()


@app.command(epilog="Example: ptychopinn overlap star.npz --out views --overlap 0.7 --gridsize 2")
def overlap(
    ctx: typer.Context,
    scans: Annotated[list[Path], typer.Argument(help="scan files (NPZ); each is one split, named by its file")],
    out: common.Out,
    overlap: Annotated[float | None, setting("overlap")] = None,
    n_subsample: Annotated[int | None, setting("n_subsample", "--s-img", "--n-subsample")] = None,
    subsample_seed: Annotated[int | None, setting("subsample_seed")] = None,
    probe_diameter_px: Annotated[float | None, setting("probe_diameter_px")] = None,
    overlap_neighbors: Annotated[int | None, setting("overlap_neighbors")] = None,
    gridsize: Annotated[int | None, setting("gridsize")] = None,
    neighbor_count: Annotated[int | None, setting("neighbor_count")] = None,
    n_groups: Annotated[int | None, setting("n_groups")] = None,
    crop: common.Crop = None,
    every: common.Every = None,
    scan_index: common.ScanIndex = None,
    flip_x: common.FlipX = None,
    flip_y: common.FlipY = None,
    swap_xy: common.SwapXY = None,
    mask: common.Mask = None,
    drop_frames: common.DropFrames = None,
    measurement: common.Measurement = None,
    nphotons: common.Photons = None,
    seed: Annotated[int | None, typer.Option("--seed", help="of the groups")] = None,
    assigned: common.Set = None,
    config: common.Config = None,
    overwrite: common.Overwrite = False,
    quiet: common.Quiet = False,
) -> None:
    """Measure how much the frames of scans overlap, and write views of them with fewer frames, further apart.

    A view is a scan file like any other. Overlap is that of discs as wide as the probe.
    """
    settings, sources = common.resolved(ctx)

    from ptychopinn.commands.overlap import BUNDLE, overlap_folder

    overlap_folder(scans, out, settings, sources, overwrite, common.speaker(quiet))
    typer.echo(f"Views: {', '.join(str(out / f'{scan.stem}.npz') for scan in scans)}; {out / BUNDLE}")
