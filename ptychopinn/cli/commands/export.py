"""``ptychopinn export``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, options
from ptychopinn.commands.shared.request import Request
from ptychopinn.files.output_folder import leads

OUT = options.out_option("file to write, .pt2 (torch.export) or .onnx; must be new")
SCAN = "scan file whose probe and mask it is for [default: as trained]"


@options.command("export run --out net.pt2", OUT, "replace an existing file", quiet=False)
def export(run: options.Run, request: Request, scan: Annotated[Path | None, typer.Option(help=SCAN)] = None) -> str:
    """Write a trained network as one program, counts in and object patches out, for devices without this package.

    Its numbers are real; the probe and the detector mask are part of it.
    """
    if scan is None:
        why = "says how a scan file is read, and none is given; give --scan FILE too, or omit it"
        applicable.refuse(request.written, applicable.READING, why)

    from ptychopinn.commands.export import export_file

    if not leads():
        return ""  # torchrun started several processes; one writes
    about = export_file(run, scan, request)
    for kind in ("inputs", "outputs"):
        for name, text in about[kind].items():
            typer.echo(f"{kind[:-1]:6}  {name:8}{text}")
    return f"Program: {request.out}"
