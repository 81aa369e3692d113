"""``ptychopinn subset``."""

from typing import Annotated

import typer

from ptychopinn.cli import options
from ptychopinn.commands.shared.request import Request

OUT = options.out_option("NPZ file to write; must be new")


@options.command("subset scan.npz --n 64 --out small.npz", OUT, "replace existing files", quiet=False)
def subset(
    scan: options.Scan,
    request: Request,
    n: Annotated[int, typer.Option("--n", help="frames to keep, spread over the whole scan")] = 64,
) -> str:
    """Cut a small scan out of a large one, with a JSON file that says which frames it has."""
    from ptychopinn.commands.subset import subset_file

    part = subset_file(scan, n, request)
    out = request.out
    return f"{out}: {len(part)} frames of {part.N} x {part.N} pixels, listed in {out.with_suffix('.json')}"
