"""``ptychopinn view``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import options
from ptychopinn.commands.shared.request import Request

OUT = options.out_option("HTML file to write; must be new")


@options.command("view image --scan scan.npz --out image.html", OUT, "replace the page", quiet=False)
def view(
    results: Annotated[list[Path], typer.Argument(help="folders or files that hold a reconstruction")],
    request: Request,
    scan: Annotated[
        Path | None, typer.Option("--scan", help="scan they were made of: shows measured and fitted frames")
    ] = None,
    browse: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
) -> str:
    """Write one page to look at results: zoom, values, profiles, error bars, frames. It needs no network."""
    from ptychopinn.commands.view import view_page

    page = view_page(results, scan, browse, request)
    return f"{page}: {page.stat().st_size / 1e6:.1f} MB; open it in any browser"
