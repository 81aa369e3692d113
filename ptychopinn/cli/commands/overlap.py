"""``ptychopinn overlap``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import options
from ptychopinn.commands.shared.request import Request


@options.command("overlap star.npz --out views --overlap 0.7 --gridsize 2")
def overlap(
    scans: Annotated[list[Path], typer.Argument(help="scan files (NPZ); each is one split, named by its file")],
    request: Request,
) -> str:
    """Measure how much the frames of scans overlap, and write views of them with fewer frames, further apart.

    A view is a scan file like any other. Overlap is that of discs as wide as the probe.
    """
    from ptychopinn.commands.overlap import BUNDLE, overlap_folder

    overlap_folder(scans, request)
    views = ", ".join(str(request.out / f"{scan.stem}.npz") for scan in scans)
    return f"Views: {views}; {request.out / BUNDLE}"
