"""``probe make``: the probe of a scan as a file."""

from pathlib import Path

from ptychopinn.commands.shared.probes import Lit, lit_scan
from ptychopinn.commands.shared.request import Request
from ptychopinn.config import DataConfig
from ptychopinn.errors import PtychoError
from ptychopinn.files.formats import npz
from ptychopinn.files.output_folder import check_new
from ptychopinn.files.reading import open_unlit
from ptychopinn.files.record import Record
from ptychopinn.model.execution import device_of
from ptychopinn.scan.checks import check_scan


def make_probe(source: Path, request: Request) -> Lit:
    """Write the probe of a scan as NPZ.

    Args:
        source: scan file; one with a probe gives it, unless ``probe_from`` says otherwise.
        request: settings and file to write.
    """
    out, settings = request.out, request.settings
    if out.suffix != ".npz":
        raise PtychoError(f"{out}: the name of the file to write must end in .npz.")
    check_new(out, request.overwrite)
    record, scan, given = open_unlit(source, unlit_settings(settings.data))
    for note in scan.notes:
        request.report(note)
    check_scan(scan)
    lit = lit_scan(record, scan, settings, device_of(settings), request.report, given)
    pixel = None if scan.pixel_size_m is None else (scan.pixel_size_m, scan.pixel_size_m)
    npz.write(out, Record("npz", measurement=None, probe=lit.scan.probe, pixel_m=pixel))
    return lit


def unlit_settings(data: DataConfig) -> DataConfig:
    """How a scan is read whose probe is made afterwards: frames as they are, and faults of the detector masked."""
    whole = {"centre": "keep", "crop": None, "defocus": data.defocus if data.semiangle is not None else None}
    return data.model_copy(update={**whole, "mask": data.mask or "auto"})
