"""``convert``: a file in another format."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from ptychopinn.commands.request import Request
from ptychopinn.errors import PtychoError, naming
from ptychopinn.files.detector import examined
from ptychopinn.files.formats import registry
from ptychopinn.files.geometry import Geometry
from ptychopinn.files.output_folder import check_new
from ptychopinn.files.reading import open_record
from ptychopinn.files.record import Record

ENDINGS: Final = {".npz": "npz", ".cxi": "cxi", ".h5": "ptychodus-product", ".hdf5": "ptychodus-product"}


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
        raise PtychoError(f"{out}: give --to; one of {', '.join(registry.writable())} is needed.")
    registry.check_target(out, name)
    if given.dummy and name == "npz":
        raise PtychoError("--dummy-geometry: has no effect, npz needs no geometry; omit it.")
    check_new(out, request.overwrite)
    if out.exists() and out.samefile(source):
        raise PtychoError(f"{out}: is the file to convert; give another name.")
    record = open_record(source, data)
    if record.is_empty:
        raise PtychoError(f"{source}: holds nothing to convert.")
    if name != "npz" and record.scan_index is not None and len(np.unique(record.scan_index)) > 1:
        raise PtychoError(
            f"{source}: scan_index: frames of several scans, which {name} cannot hold; take one by subset."
        )
    with naming(source):
        if with_frames:
            found = examined(record, data, once=True, drop=False)
            record = replace(found.record, notes=(*found.record.notes, *found.notes))
        record = registry.prepared(record, name, given, data.measurement, data.nphotons, with_frames)
        registry.write(out, name, record)
    return record
