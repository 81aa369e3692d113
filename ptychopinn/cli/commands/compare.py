"""``ptychopinn compare``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, options, screen
from ptychopinn.commands.shared.arms import ArmFile, named_arms
from ptychopinn.commands.shared.request import Request
from ptychopinn.errors import PtychoError

INPUTS = "a scan file (NPZ), or two reconstructions"
ARM = "[NAME=]PATH"
PINN = "run trained on the counts; all three may be repeated"
ITERATIVE = "image of the same scan by 'baseline' or 'refine': its folder or file"
TRUTH = "file that holds the true object, if the scan does not"


@options.command("compare star.npz --pinn run --iterative image --out comparison")
def compare(
    inputs: Annotated[list[Path], typer.Argument(help=INPUTS)],
    request: Request,
    pinn: Annotated[list[str] | None, typer.Option(metavar=ARM, help=PINN)] = None,
    supervised: Annotated[list[str] | None, typer.Option(metavar=ARM, help="run trained on true patches")] = None,
    iterative: Annotated[list[str] | None, typer.Option(metavar=ARM, help=ITERATIVE)] = None,
    refine: Annotated[bool, typer.Option("--refine", help="also every PINN image refined on the counts")] = False,
    truth: Annotated[Path | None, typer.Option(help=TRUTH)] = None,
    no_truth: Annotated[bool, typer.Option("--no-truth", help="the scan's objectGuess is no truth")] = False,
    skip_registration: Annotated[bool, typer.Option("--skip-registration", help="remove no shift")] = False,
    scale: Annotated[bool, typer.Option("--scale", help="remove one amplitude factor per image")] = False,
    ramp: Annotated[bool, typer.Option("--ramp", help="remove a phase ramp per image")] = False,
    sigma: Annotated[float, typer.Option(min=0, max=100, help="px; smoothing before MS-SSIM")] = 0.0,
    save_npz: Annotated[bool, typer.Option(help="write the images")] = True,
) -> str:
    """Compare reconstructions of one scan: on the same frames, aligned, with the same metrics."""
    arms = named_arms({"pinn": pinn or [], "supervised": supervised or [], "iterative": iterative or []}, refine)
    images = [arm for arm in arms if arm.kind == "iterative"]
    runs = [arm for arm in arms if arm.kind != "iterative"]
    if len(inputs) > 2 or (len(inputs) == 2 and (runs or images)):
        raise PtychoError(
            f"compare: {len(inputs)} files given; one scan with --pinn, --supervised or --iterative is needed, or two "
            "reconstructions without them."
        )
    if refine and not pinn:
        raise PtychoError("--refine: given without --pinn; give the network whose image is to be refined.")
    if no_truth and len(inputs) == 2:
        raise PtychoError("--no-truth: two images are given without a scan, which could bring one; omit it.")
    _check_effects(request, len(inputs) == 2, bool(runs), refine)
    if len(inputs) == 2:
        images = [ArmFile(_name(path, number), "iterative", path) for number, path in enumerate(inputs)]
    elif truth is not None and no_truth:
        raise PtychoError("--no-truth: given together with --truth; give one of them.")
    elif not runs and not images:
        raise PtychoError("compare: nothing to compare; give --pinn, --supervised or --iterative, or two images.")

    from ptychopinn.commands.compare import Wanted, compare_folder

    alignment = {"register": not skip_registration, "scale": scale, "ramp": ramp, "sigma": sigma}
    wanted = Wanted(runs, images, refine, truth, not no_truth, alignment, save_npz)
    screen.show(compare_folder(inputs[0] if len(inputs) == 1 else None, wanted, request))
    names = ("comparison_metrics.csv", "comparison.png", "view.html")
    return "Comparison: {}, {} and {}".format(*(request.out / name for name in names))


def _check_effects(request: Request, no_scan: bool, networks: bool, refine: bool) -> None:
    """Refuse settings that have no effect in this comparison."""
    reasons = (
        (no_scan, applicable.READING, "says how a scan is read, and two images are given without one; omit it"),
        (not networks, applicable.NETWORKS, "says how a network is run, and none is given; omit it"),
        (not refine, applicable.NATIVE, "has no effect without --refine; give both or neither"),
    )
    for applies, names, why in reasons:
        if applies:
            applicable.refuse(request.written, names, why)


def _name(path: Path, number: int) -> str:
    """Name of an image in the tables: ``image/reconstruction.h5`` becomes A (image)."""
    shown = path.parent.name if path.stem == "reconstruction" and path.parent.name else path.stem
    return f"{'AB'[number]} ({shown})"
