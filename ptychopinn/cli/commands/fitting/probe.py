"""``ptychopinn probe``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import options
from ptychopinn.commands.shared.request import Request
from ptychopinn.errors import PtychoError

ACTION = typer.Argument(metavar="make", help="make: write the probe of a scan")
OUT = options.out_option("NPZ file to write; must be new")


@options.command("probe make raw.h5 --probe-from zone-plate --out probe.npz", OUT, "replace an existing file")
def probe(
    action: Annotated[str, ACTION],
    scan: Annotated[Path, typer.Argument(help="scan file, with or without a probe")],
    request: Request,
) -> str:
    """Make a probe for a scan: search it, or take it from optics or from another file.

    'inspect' draws it, and every command that reads a scan takes it by --probe.
    """
    if action != "make":
        raise PtychoError(f"probe {action}: no such action; 'probe make SCAN --out FILE' is needed.")

    from ptychopinn.commands.probe import make_probe

    lit = make_probe(scan, request)
    return f"Probe of {len(lit.scan.probe)} mode{'s' if len(lit.scan.probe) > 1 else ''}: {request.out}"
