"""``convert``: a file in another format."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from ptychopinn.commands.shared.request import Request
from ptychopinn.errors import PtychoError
from ptychopinn.files import tiff
from ptychopinn.files.detector.examined import examined
from ptychopinn.files.formats import registry
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.files.naming import naming
from ptychopinn.files.output_folder import check_apart, check_new
from ptychopinn.files.reading import open_record
from ptychopinn.files.record import Record
from ptychopinn.files.values import check_placed

ENDINGS: Final = {
    **{".npz": "npz", ".cxi": "cxi", ".h5": "ptychodus-product", ".hdf5": "ptychodus-product"},
    **{".tif": "tiff", ".tiff": "tiff"},
}
"""Format of a file by its name."""

NO_PIXEL = "The size of a pixel is not known; the images have none: give it by --pixel-size M."


def targets(out: Path, to: str | None) -> tuple[Path, ...]:
    """The files that a conversion writes: one, or amplitude and phase as TIFF."""
    return tiff.files_of(out) if (to or ENDINGS.get(out.suffix)) == "tiff" else (out,)


def convert_file(
    source: Path,
    to: str | None,
    request: Request,
    given: Geometry,
    with_frames: bool = True,
) -> Record:
    """Write a file in another format; large frames are never all in memory.

    Args:
        source: file of any format.
        to: format; by the ending of the file to write when None.
        request: how to read ``source``, but for what concerns its frames one by one, and where to write.
        given: what to write where ``source`` does not know.
        with_frames: write the frames too.

    Returns:
        What was written.
    """
    out, data = request.out, request.settings.data
    name = to or ENDINGS.get(out.suffix)
    if name is None:
        raise PtychoError(f"{out}: give --to; one of {', '.join((*registry.writable(), 'tiff'))} is needed.")
    write = _writer(out, name)
    _check_given(name, given)
    for target in targets(out, to):
        check_new(target, request.overwrite)
    check_apart(targets(out, to), request.reads(source))
    record = open_record(source, data)
    if record.is_empty:
        raise PtychoError(f"{source}: holds nothing to convert.")
    if name not in ("npz", "tiff") and record.scan_index is not None and len(np.unique(record.scan_index)) > 1:
        raise PtychoError(
            f"{source}: scan_index: frames of several scans, which {name} cannot hold; take one by subset."
        )
    with naming(source):
        if with_frames and name != "tiff":
            found = examined(record, data, once=True, drop=False)
            record = replace(found.record, notes=(*found.record.notes, *found.notes))
        if record.positions is not None:
            numbers = range(len(record.positions))
            check_placed(record.positions, numbers, "subset --drop-frames FILE makes a file without these frames")
        record = registry.prepared(record, name, given, data.measurement, data.nphotons, with_frames and name != "tiff")
        if name == "tiff" and (record.pixel_m is None or record.made_up):
            record = replace(record, notes=(*record.notes, NO_PIXEL))
        write(out, record)
    return record


def _writer(out: Path, name: str) -> Callable[[Path, Record], None]:
    """What writes a format.

    Raises:
        PtychoError: when it is not written, or the name of the file does not suit it.
    """
    if name != "tiff":
        return registry.check_target(out, name)
    if ENDINGS.get(out.suffix) != "tiff":
        raise PtychoError(f"{out}: the name of a tiff file must end in .tif or .tiff.")
    return tiff.write_tiff


def _check_given(name: str, given: Geometry) -> None:
    """Refuse a geometry that the format does not hold."""
    if given.dummy and name in ("npz", "tiff"):
        raise PtychoError(f"--dummy-geometry: has no effect, {name} needs no geometry; omit it.")
    for flag, value in (("--energy", given.energy_eV), ("--distance", given.distance_m)):
        if name == "tiff" and value is not None:
            raise PtychoError(f"{flag}: has no effect, tiff holds the size of a pixel only; omit it.")
