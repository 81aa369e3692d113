"""``probe make``: the probe of a scan as a file."""

from pathlib import Path

from ptychopinn.commands.shared.probes import Lit, lit_scan
from ptychopinn.commands.shared.request import Request
from ptychopinn.config import DataConfig, Settings
from ptychopinn.errors import PtychoError
from ptychopinn.files.formats import npz
from ptychopinn.files.output_folder import check_new
from ptychopinn.files.reading import open_unlit
from ptychopinn.files.record import Record
from ptychopinn.model.execution import device_of
from ptychopinn.scan.checks import check_scan
from ptychopinn.text import Report


def make_probe(source: Path, request: Request) -> Lit:
    """Write the probe of a scan as NPZ.

    Args:
        source: scan file; one with a probe gives it, unless ``probe_from`` says otherwise.
        request: settings and file to write.
    """
    out = request.out
    if out.suffix != ".npz":
        raise PtychoError(f"{out}: the name of the file to write must end in .npz.")
    check_new(out, request.overwrite)
    lit = probe_of(source, request.settings, request.report)
    edge = lit.scan.pixel_size_m
    pixel = None if edge is None else (edge, edge)
    npz.write(out, Record("npz", measurement=None, probe=lit.scan.probe, pixel_m=pixel))
    return lit


def probe_of(source: Path, settings: Settings, report: Report = lambda line: None) -> Lit:
    """The scan of a file with its probe made."""
    record, scan, given = open_unlit(source, unlit_settings(settings.data))
    for note in scan.notes:
        report(note)
    check_scan(scan)
    return lit_scan(record, scan, settings, device_of(settings), report, given)


def unlit_settings(data: DataConfig) -> DataConfig:
    """How a scan is read whose probe is made afterwards: frames as they are, and faults of the detector masked."""
    whole = {"centre": "keep", "crop": None, "defocus": data.defocus if data.semiangle is not None else None}
    return data.model_copy(update={**whole, "mask": data.mask or "auto"})
