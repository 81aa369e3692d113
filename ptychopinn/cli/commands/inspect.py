"""``ptychopinn inspect``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import options, screen
from ptychopinn.commands.shared.request import Request
from ptychopinn.errors import PtychoError
from ptychopinn.files.output_folder import check_apart, check_new


@options.command("inspect star.npz", overwrite="replace an existing picture", quiet=False)
def inspect(
    file: Annotated[Path, typer.Argument(help="scan file, product or frames of any format")],
    request: Request,
    out: Annotated[Path | None, options.out_option("PNG to write [default: FILE-inspect.png here]")] = None,
) -> str:
    """Print what to check first about a scan, and draw it."""
    picture = out or Path(f"{file.stem}-inspect.png")
    if picture.suffix != ".png":
        raise PtychoError(f"--out {picture}: the name of the picture must end in .png.")
    kept = picture.exists() and not request.overwrite
    if out is not None:
        check_new(picture, request.overwrite)
    check_apart([picture], request.reads(file))

    from ptychopinn.commands.inspect import inspect_file

    rows, draw = inspect_file(file, request.settings.data)
    width = max(len(label) for label, _ in rows)
    screen.show("\n".join(f"{label:<{width}}  {value}" for label, value in rows), columns=2)
    if kept:
        return f"No picture: {picture} exists already; give --out, or --overwrite to replace it."
    draw(picture)
    return f"Picture: {picture}"
