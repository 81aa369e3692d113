"""``ptychopinn compare``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, common
from ptychopinn.cli.common import setting
from ptychopinn.errors import PtychoError

app = common.new_app()

INPUTS = "a scan file (NPZ), or two reconstructions"
ITERATIVE = "image of the same scan by 'baseline' or 'refine': its folder or file"


@app.command(epilog="Example: ptychopinn compare star.npz --pinn run --iterative image --out comparison")
def compare(
    ctx: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(help=INPUTS)],
    out: common.Out,
    pinn: Annotated[Path | None, typer.Option(help="run trained on the counts")] = None,
    supervised: Annotated[Path | None, typer.Option(help="run trained on true patches")] = None,
    iterative: Annotated[Path | None, typer.Option(help=ITERATIVE)] = None,
    refine: Annotated[bool, typer.Option("--refine", help="also the PINN image refined on the counts")] = False,
    truth: Annotated[Path | None, typer.Option(help="file that holds the true object, if the scan does not")] = None,
    no_truth: Annotated[bool, typer.Option("--no-truth", help="the scan's objectGuess is no truth")] = False,
    skip_registration: Annotated[bool, typer.Option("--skip-registration", help="remove no shift")] = False,
    scale: Annotated[bool, typer.Option("--scale", help="remove one amplitude factor per image")] = False,
    ramp: Annotated[bool, typer.Option("--ramp", help="remove a phase ramp per image")] = False,
    sigma: Annotated[float, typer.Option(min=0, max=100, help="px; smoothing before MS-SSIM")] = 0.0,
    middle_trim: Annotated[int | None, setting("middle_trim", "--stitch-crop-size")] = None,
    save_npz: Annotated[bool, typer.Option(help="write the images")] = True,
    crop: common.Crop = None,
    every: common.Every = None,
    n_subsample: common.Subsample = None,
    subsample_seed: Annotated[int | None, setting("subsample_seed")] = None,
    scan_index: common.ScanIndex = None,
    mask: common.Mask = None,
    drop_frames: common.DropFrames = None,
    measurement: common.Measurement = None,
    nphotons: common.Photons = None,
    inference_batch_size: Annotated[int | None, setting("inference_batch_size")] = None,
    accelerator: common.Accelerator = None,
    assigned: common.Set = None,
    config: common.Config = None,
    overwrite: common.Overwrite = False,
    quiet: common.Quiet = False,
) -> None:
    """Compare reconstructions of one scan: on the same frames, aligned, with the same metrics."""
    runs = {name: path for name, path in (("PINN", pinn), ("supervised", supervised)) if path is not None}
    images = {} if iterative is None else {"iterative": iterative}
    if len(inputs) > 2 or (len(inputs) == 2 and (runs or images)):
        raise PtychoError(
            f"compare: {len(inputs)} files given; one scan with --pinn, --supervised or --iterative is needed, or two "
            "reconstructions without them."
        )
    if refine and pinn is None:
        raise PtychoError("--refine: given without --pinn; give the network whose image is to be refined.")
    _check_effects(ctx, len(inputs) == 2, bool(runs))
    if len(inputs) == 2:
        images = {_name(path, number): path for number, path in enumerate(inputs)}
    elif truth is not None and no_truth:
        raise PtychoError("--no-truth: given together with --truth; give one of them.")
    elif not runs and not images:
        raise PtychoError("compare: nothing to compare; give --pinn, --supervised or --iterative, or two images.")
    common.resolved(ctx)  # refuses a wrong value by the name of its flag or file
    flags = common.given(ctx)

    from ptychopinn.commands.compare import Wanted, compare_folder

    wanted = Wanted(runs, images, refine, truth, not no_truth, not skip_registration, scale, ramp, sigma, save_npz)
    source = inputs[0] if len(inputs) == 1 else None
    table = compare_folder(source, wanted, out, flags, config, overwrite, common.speaker(quiet))
    typer.echo(table)
    typer.echo(f"Comparison: {out / 'comparison_metrics.csv'} and {out / 'comparison.png'}")


def _check_effects(ctx: typer.Context, no_scan: bool, networks: bool) -> None:
    """Refuse wrong values, and flags of what this comparison does not do."""
    common.resolved(ctx)
    given = {name: flag for name, flag in common.written(ctx).items() if name != "refine"}
    if no_scan:
        applicable.refuse(
            given, applicable.READING, "says how a scan is read, and two images are given without one; leave it away"
        )
        if ctx.params["no_truth"]:
            raise PtychoError("--no-truth: two images are given without a scan, which could bring one; leave it away.")
    if not networks:
        applicable.refuse(given, applicable.NETWORKS, "says how a network is run, and none is given; leave it away")
    if not ctx.params["refine"]:
        applicable.refuse(given, applicable.NATIVE, "has no effect without --refine; give both, or none")


def _name(path: Path, number: int) -> str:
    """``image/reconstruction.h5`` is called A (image)."""
    shown = path.parent.name if path.stem == "reconstruction" and path.parent.name else path.stem
    return f"{'AB'[number]} ({shown})"
