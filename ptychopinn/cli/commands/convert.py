"""``ptychopinn convert``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, options
from ptychopinn.commands.shared.request import Request

EXAMPLE = "convert scan.npz product.h5 --to ptychodus-product --pixel-size 2e-8"
OUT = typer.Argument(help="file to write; must be new")
TO = "npz, ptychodus-product, cxi or tiff [default: by the ending of OUT]"
ENERGY = "photon energy, eV, where the file does not say"
DISTANCE = "object to detector, m, where the file does not say"
DUMMY = "placeholders for an unknown pixel size, energy and distance"


@options.command(EXAMPLE, OUT, "replace an existing file")
def convert(
    source: Annotated[Path, typer.Argument(help="any file that 'inspect' recognises, or the folder of a result")],
    request: Request,
    to: Annotated[str | None, typer.Option("--to", help=TO)] = None,
    energy: Annotated[float | None, typer.Option(help=ENERGY, min=1e-3)] = None,
    distance: Annotated[float | None, typer.Option(help=DISTANCE, min=1e-6)] = None,
    dummy_geometry: Annotated[bool, typer.Option("--dummy-geometry", help=DUMMY)] = False,
    with_frames: Annotated[bool, typer.Option("--with-frames/--no-frames", help="write the frames too")] = True,
) -> str:
    """Write a scan, or object and probe, in another file format; OUT.tif is OUT_amplitude.tif and OUT_phase.tif."""
    from ptychopinn.commands.convert import convert_file, targets
    from ptychopinn.commands.shared.rows import record_rows
    from ptychopinn.files.geometry.pixels import Geometry

    if not with_frames:
        why = "says how frames are read, and --no-frames writes none; give one of them"
        applicable.refuse(request.written, ("frames", "measurement", "nphotons", "mask"), why)
    given = Geometry(request.settings.data.pixel_size, energy, distance, dummy_geometry)
    record = convert_file(source, to, request, given, with_frames)
    for note in record.notes:
        request.report(note)
    names = " and ".join(str(target) for target in targets(request.out, to))
    return f"{names}: {record_rows(record)[1][1]}"
