"""The scan in a file to which a detector still appends, read again and again."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import DataConfig
from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.files.detector.examined import FirstMask, selected
from ptychopinn.files.detector.given_mask import understood
from ptychopinn.files.detector.masks import read_frame_list, read_mask
from ptychopinn.files.formats.hdf5_map import read_map
from ptychopinn.files.growing.ledger import Ledger, Watched
from ptychopinn.files.naming import naming
from ptychopinn.files.reading import Spare, format_of, how_to_read, lit, probe_of, read, scan_of_examined
from ptychopinn.files.record import Record
from ptychopinn.scan.arrays import NO_LIGHT
from ptychopinn.scan.checks import beyond_canvas
from ptychopinn.scan.frames import Frames
from ptychopinn.scan.outliers import wild
from ptychopinn.scan.probe_scale import light_of
from ptychopinn.scan.scan import Scan
from ptychopinn.text import readable


class Reader(Protocol):
    """Looks at a growing scan."""

    def __call__(self, whole: bool = False) -> "Look":
        """The scan as it is now; with ``whole`` all its frames decide the scale of the probe."""


class Look(NamedTuple):
    """A growing scan as it is now.

    Attributes:
        scan: the frames that have a usable position; ``scan.numbers`` are their numbers in the file.
        left: frames among these whose position cannot be used, by number, and why.
        room: frames for which a writer only made room.
    """

    scan: Scan
    left: Mapping[int, str] = {}
    room: int = 0


def check_growing(path: Path, data: DataConfig) -> None:
    """Refuse to follow a file of a format that does not grow, and settings that need all frames.

    Raises:
        PtychoError: naming the file or the setting.
    """
    _check_settings(data)
    if path.is_dir():
        raise PtychoError(f"{path}: is a folder; the HDF5 file to which the detector appends is needed.")
    if not path.is_file():
        raise PtychoError(f"{path}: no such file; start after the detector has made it.")
    how = how_to_read(data)
    if how.map is not None:
        read_map(how.map)
    elif (found := format_of(path, how)).name != "cxi":
        raise PtychoError(f"{path}: {found.text}; only a CXI file, or any HDF5 file with --map, is followed.")
    if how.probe is not None:
        probe_of(how.probe, how.allow_external)


def _check_settings(data: DataConfig) -> None:
    """Refuse settings that need a complete scan, and files they name that cannot be read."""
    flags = {"n_subsample": "--n-subsample", "nphotons": "--nphotons", "frames": "--frames", "drop_dark": "drop_dark"}
    for name, flag in flags.items():
        if getattr(data, name) not in (None, False):
            raise PtychoError(f"--follow: {flag} needs a complete scan; omit it.")
    if data.drop_frames == "auto":
        raise PtychoError("--follow: --drop-frames auto needs a complete scan; omit it.")
    if data.centre == "auto":
        raise PtychoError("--follow: --centre auto needs a complete scan; give the pixel, --centre y,x.")
    if mask := understood(data.mask or "")[1]:
        read_mask(mask, allow_external=data.allow_external)
    if data.drop_frames not in (None, "none"):
        read_frame_list(str(data.drop_frames), None)


def growing_reader(path: Path, data: DataConfig, mask: FirstMask | None = None, spare: Spare | None = None) -> Reader:
    """:func:`open_growing` to be called again and again.

    The first frames with light decide the scale of the probe, until the scan is over and all of them do. All calls
    share a ledger: they raise an IncurableError when the file holds another scan than before.
    """
    first: Scan | None = None
    mask, ledger = FirstMask() if mask is None else mask, Ledger()

    def look(whole: bool = False) -> Look:
        nonlocal first
        if first is not None and not whole:
            known = data.model_copy(update={"probe_scale": first.probe_factor})
            found = open_growing(path, known, mask, spare, ledger)
            return found._replace(scan=replace(found.scan, notes=first.notes, brightest=first.brightest))
        found = open_growing(path, data, mask, spare, ledger)
        if data.probe_scale in ("auto", "counts") and light_of(found.scan) is None:
            found.scan.frames(slice(0, 1))  # an unusable frame says itself what is wrong
            raise PtychoError(NO_LIGHT)
        first = found.scan.subset(slice(0, 1))
        return found

    return look


def open_growing(
    path: Path,
    data: DataConfig,
    mask: FirstMask | None = None,
    spare: Spare | None = None,
    ledger: Ledger | None = None,
) -> Look:
    """:func:`ptychopinn.files.reading.open_scan` for a file to which a detector still appends.

    Args:
        path: file.
        data: settings.
        mask: that of the first frames, which stays.
        spare: see :func:`ptychopinn.files.reading.open_scan`.
        ledger: of the frames that were used before.

    Raises:
        PtychoError: naming what is missing yet, or the error of the first frame.
        IncurableError: for an error that no further frame can cure, amplitudes to be scaled to a mean of all, and
            another scan than before.
    """
    ledger = Ledger() if ledger is None else ledger
    record = read(path, how_to_read(data)._replace(in_memory=0, growing=True))
    record, room = _arrived(path, record, ledger)
    record, data = lit(path, record, data, spare)
    with naming(path):
        found = (FirstMask() if mask is None else mask).applied(record, data)
        numbers = np.arange(0 if record.counts is None else len(record.counts))
        numbers = numbers if found.numbers is None else found.numbers
        left = _unusable(found.record)
        rows = np.setdiff1d(np.flatnonzero(numbers % data.every == 0), list(left))
        if left and not len(rows):
            raise PtychoError(left[min(left)])
    if found.record.counts is not None and found.record.positions is not None:
        found = found._replace(record=selected(found.record, rows), numbers=numbers[rows])
    scan = scan_of_examined(path, found, data.model_copy(update={"every": 1}))
    if data.nphotons is not None and isinstance(scan.counts, Frames) and scan.counts.scale is not None:
        raise IncurableError(
            f"{path}: holds amplitudes, and the run scales those to {data.nphotons:g} photons per frame (nphotons), "
            "which needs a complete scan; infer it without --follow when it is over."
        )
    return Look(scan, {int(numbers[row]): f"frame {numbers[row]}: {why}" for row, why in left.items()}, room)


def _arrived(path: Path, record: Record, ledger: Ledger) -> tuple[Record, int]:
    """A record whose frames pass the ledger, up to the last that arrived; and for how many more there is room."""
    counts = record.counts
    if not isinstance(counts, Frames) or counts.ndim != 3 or record.positions is None or not len(counts):
        return record, 0
    watched = Watched(counts.source, ledger)
    ledger.check(path, watched)
    count = min(ledger.count(watched), len(counts))
    if not count:
        raise PtychoError(f"{path}: its {len(counts)} frames hold one value everywhere, as room for frames does.")
    return selected(replace(record, counts=replace(counts, source=watched)), np.arange(count)), len(counts) - count


def _unusable(record: Record) -> dict[int, str]:
    """Rows whose position cannot be used, and why."""
    if record.positions is None or record.counts is None:
        return {}
    places, size = record.positions, record.counts.shape[-1]
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    left = dict.fromkeys(
        np.setdiff1d(np.arange(len(places)), known).tolist(),
        "positions: NaN, not written yet, or too large a number; a position in object pixels is needed.",
    )
    if len(known):
        middle = np.median(places[known], axis=0)
        for row in _far(places[known], size):
            away = readable(float(abs(places[known[row]] - middle).max()))
            left[int(known[row])] = f"positions: {away} px away from the middle of the other frames; is it right?"
    return left


def _far(places: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Positions that lie far from all others, or would make the image too large for memory."""
    return np.union1d(wild(places, size), beyond_canvas(places, size))
