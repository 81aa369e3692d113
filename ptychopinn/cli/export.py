"""``ptychopinn export``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, common
from ptychopinn.files.output_folder import leads

app = common.new_app()


@app.command(epilog="Example: ptychopinn export run --out net.pt2")
def export(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="folder that 'train' wrote, or its wts.h5.zip")],
    out: Annotated[Path, typer.Option("--out", "-o", help="file to write, .pt2 (torch.export) or .onnx; must be new")],
    scan: Annotated[
        Path | None, typer.Option(help="scan file whose probe and mask it is for [default: as trained]")
    ] = None,
    crop: common.Crop = None,
    scan_index: common.ScanIndex = None,
    map: common.Map = None,
    frames: common.FramesFile = None,
    probe: common.ProbeFile = None,
    mask: common.Mask = None,
    drop_frames: common.DropFrames = None,
    measurement: common.Measurement = None,
    nphotons: common.Photons = None,
    assigned: common.Set = None,
    config: common.Config = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing file")] = False,
) -> None:
    """Write a trained network as one program, counts in and object patches out, for devices without this package.

    Its numbers are real; the probe and the detector mask are part of it.
    """
    common.resolved(ctx)  # refuses a wrong value by the name of its flag or file
    if scan is None:
        why = "says how a scan file is read, and none is given; give --scan FILE too, or leave it away"
        applicable.refuse(common.written(ctx), applicable.READING, why)

    from ptychopinn.commands.export import export_file

    if not leads():
        return  # torchrun started several; one writes
    about = export_file(run, out, scan, common.given(ctx), config, overwrite)
    for kind in ("inputs", "outputs"):
        for name, text in about[kind].items():
            typer.echo(f"{kind[:-1]:6}  {name:8}{text}")
    typer.echo(f"Program: {out}")
