"""``ptychopinn convert``."""

from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, common

app = common.new_app()


@app.command(epilog="Example: ptychopinn convert scan.npz product.h5 --to ptychodus-product --pixel-size 2e-8")
def convert(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(help="any file that 'inspect' recognises, or the folder of a result")],
    out: Annotated[Path, typer.Argument(help="file to write; must be new")],
    to: Annotated[
        str | None,
        typer.Option("--to", help="npz, ptychodus-product, cxi or tiff [default: by the ending of OUT]"),
    ] = None,
    pixel_size: common.PixelSize = None,
    energy: Annotated[
        float | None, typer.Option(help="photon energy, eV, where the file does not say", min=1e-3)
    ] = None,
    distance: Annotated[
        float | None, typer.Option(help="object to detector, m, where the file does not say", min=1e-6)
    ] = None,
    dummy_geometry: Annotated[
        bool, typer.Option("--dummy-geometry", help="placeholders for an unknown pixel size, energy and distance")
    ] = False,
    with_frames: Annotated[bool, typer.Option("--with-frames/--no-frames", help="write the frames too")] = True,
    format: common.Format = None,
    map: common.Map = None,
    frames: common.FramesFile = None,
    probe: common.ProbeFile = None,
    measurement: common.Measurement = None,
    nphotons: common.Photons = None,
    assigned: common.Set = None,
    config: common.Config = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing file")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Write a scan, or object and probe, in another file format; OUT.tif is OUT_amplitude.tif and OUT_phase.tif."""
    settings, _ = common.resolved(ctx)

    from ptychopinn.commands.convert import convert_file, targets
    from ptychopinn.commands.inspect import record_rows
    from ptychopinn.files.geometry import Completion

    if not with_frames:
        why = "says how frames are read, and --no-frames writes none; give one of them"
        applicable.refuse(common.written(ctx), ("frames", "measurement", "nphotons"), why)
    given = Completion(settings.data.pixel_size, energy, distance, dummy_geometry)
    record = convert_file(source, out, to, settings.data, given, with_frames, overwrite)
    speak = common.speaker(quiet)
    for note in record.notes:
        speak(note)
    names = " and ".join(str(target) for target in targets(out, to))
    typer.echo(f"{names}: {record_rows(record)[1][1]}")
