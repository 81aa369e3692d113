"""The table of all formats: how each is recognised, read and written."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import h5py

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files import hdf5
from ptychopinn.files.formats import cxi, fold_slice, npz, nsls2, ptychodus, ptypy, tike
from ptychopinn.files.geometry import Completion, completed
from ptychopinn.files.record import Record, counts_of
from ptychopinn.files.results import cdtools, own, phaser, ptyrad
from ptychopinn.files.results import ptychodus as ptychodus_results
from ptychopinn.files.results import ptypy as ptypy_results

MAGIC, ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"


class Reading(NamedTuple):
    """How a file is to be read.

    Attributes:
        format: name of a format; recognised when None.
        map: JSON file that names the datasets of an HDF5 file.
        frames: file with the frames, when they are in another one.
        probe: file whose probe to take.
        pixel_size: edge of an object pixel in metres, where the file does not say.
        in_memory: bytes up to which frames are read at once.
        growing: whether a detector still appends, so that frames and positions may differ in number.
    """

    format: str | None = None
    map: Path | None = None
    frames: Path | None = None
    probe: Path | None = None
    pixel_size: float | None = None
    in_memory: int = hdf5.IN_MEMORY
    growing: bool = False


@dataclass(frozen=True)
class Format:
    """A format: how it is known by the names at the top of the file, read and written."""

    name: str
    text: str
    kind: str
    holds: Callable[[set[str]], bool]
    read: Callable[[Path, Reading], Record]
    write: Callable[[Path, Record], None] | None = None
    suffixes: tuple[str, ...] = (".h5", ".hdf5")


def _inside(read: Callable[[h5py.File, Reading], Record]) -> Callable[[Path, Reading], Record]:
    """A reader of an open file, as one of a path whose complaints name the file."""

    def whole(path: Path, how: Reading) -> Record:
        with hdf5.opened(path) as file:
            try:
                return read(file, how)
            except PtychoError as error:
                raise PtychoError(f"{path}: {error}") from None

    return whole


FORMATS: Final = (
    Format(
        "ptychodus-product",
        "product of ptychodus",
        "hdf5",
        lambda names: {"object", "probe"} <= names and bool(names & {"probe_position_x_m", "probe_position_y_m"}),
        lambda path, how: ptychodus.read_product(path, how.in_memory),
        ptychodus.write_product,
    ),
    Format(
        "ptychodus-training",
        "training export of ptychodus",
        "hdf5",
        lambda names: "patterns" in names and bool(names & {"probe_position_x_px", "probe_position_y_px"}),
        lambda path, how: ptychodus.read_training(path, how.in_memory),
    ),
    Format(
        "ptychodus-frames",
        "assembled frames of ptychodus",
        "hdf5",
        lambda names: {"patterns", "indexes"} <= names,
        _inside(lambda file, how: ptychodus.read_frames(file, how.in_memory)),
    ),
    Format(
        "cxi",
        "CXI",
        "hdf5",
        lambda names: "cxi_version" in names or "entry_1" in names,
        lambda path, how: cxi.read_cxi(path, how.pixel_size, how.in_memory, how.growing),
        cxi.write_cxi,
        (".cxi", ".h5", ".hdf5"),
    ),
    Format(
        "ptyd",
        "PtyPy",
        "hdf5",
        lambda names: {"chunks", "meta"} <= names,
        _inside(lambda file, how: ptypy.read_ptyd(file, how.in_memory)),
    ),
    Format(
        "nsls2",
        "NSLS-II",
        "hdf5",
        lambda names: "points" in names and bool(names & {"dp", "diffamp"}),
        _inside(lambda file, how: nsls2.read_nsls2(file, how.in_memory)),
    ),
    Format(
        "fold_slice",
        "positions of fold_slice",
        "hdf5",
        lambda names: {"ppX", "ppY"} <= names,
        _inside(lambda file, how: fold_slice.read_fold_slice(file, how.pixel_size)),
    ),
    Format(
        "dp",
        "frames of pty-chi or fold_slice",
        "hdf5",
        lambda names: "dp" in names,
        _inside(lambda file, how: fold_slice.read_frames_only(file, how.in_memory)),
    ),
    Format(
        "reconstruction",
        "reconstruction of ptychopinn",
        "hdf5",
        lambda names: {"object", "origin", "coverage"} <= names,
        lambda path, how: own.read_own(path),
    ),
    Format(
        "reconstruction-npz",
        "reconstruction of ptychopinn",
        "npz",
        lambda names: {"object", "origin", "coverage"} <= names,
        lambda path, how: own.read_own(path),
    ),
    Format(
        "ptyr",
        "reconstruction of PtyPy",
        "hdf5",
        lambda names: {"header", "content"} <= names,
        _inside(lambda file, how: ptypy_results.read_ptyr(file)),
    ),
    Format(
        "cdtools",
        "result of cdtools",
        "hdf5",
        lambda names: {"obj_basis", "probe", "obj"} <= names,
        _inside(lambda file, how: cdtools.read_results(file)),
    ),
    Format(
        "ptyrad",
        "model of PtyRAD",
        "hdf5",
        lambda names: "optimizable_tensors" in names,
        _inside(lambda file, how: ptyrad.read_model(file)),
    ),
    Format(
        "phaser",
        "state of phaser",
        "hdf5",
        lambda names: {"type", "version", "wavelength"} <= names,
        _inside(lambda file, how: phaser.read_state(file)),
    ),
    Format(
        "ptychodus-product-npz",
        "product of ptychodus as NPZ",
        "npz",
        lambda names: {"object", "probe"} <= names and bool(names & {"probe_position_x_m", "probe_position_y_m"}),
        lambda path, how: ptychodus_results.read_npz_product(path),
    ),
    Format("tike", "tike", "npz", lambda names: {"data", "scan"} <= names, lambda path, how: tike.read_tike(path)),
    Format(
        "npz",
        "NPZ scan",
        "npz",
        lambda names: True,
        lambda path, how: npz.read_record(path),
        npz.write_record,
        (".npz",),
    ),
)


def names() -> list[str]:
    """Of all formats."""
    return [format_.name for format_ in FORMATS]


def writable() -> list[str]:
    """Names of the formats that are written."""
    return [format_.name for format_ in FORMATS if format_.write is not None]


def named(name: str, flag: str) -> Format:
    """A format by its name.

    Raises:
        PtychoError: listing the names.
    """
    for format_ in FORMATS:
        if format_.name == name:
            return format_
    raise PtychoError(f"{flag} {name}: no such format; one of {', '.join(names())} is needed.")


def recognise(path: Path) -> Format:
    """The format of a file, by the names at its top.

    Raises:
        PtychoError: when it cannot be read, or no format has these names.
    """
    if path.is_dir():
        raise PtychoError(f"{path}: is a folder; a scan file is needed.")
    kind = _kind(path)
    found = _top(path) if kind == "hdf5" else npz.keys_of(path)
    for format_ in FORMATS:
        if format_.kind == kind and format_.holds(found):
            return format_
    with hdf5.opened(path) as file:
        shown = ", ".join(hdf5.contents(file)) or "no datasets"
    raise PtychoError(
        f"{path}: HDF5 of no known layout; name its datasets by --map map.json (docs/formats.md). It holds "
        f"{shortened(shown, 250)}."
    )


def _kind(path: Path) -> str:
    """``hdf5`` or ``npz`` by the first bytes; by the name where they are neither: the reader says what is wrong."""
    try:
        with path.open("rb") as stream:
            start = stream.read(len(MAGIC))
    except OSError:
        return "npz"
    by_name = path.suffix in (".h5", ".hdf5", ".cxi", ".ptyd", ".ptyr") and not start.startswith(ZIP)
    return "hdf5" if start == MAGIC or by_name else "npz"


def _top(path: Path) -> set[str]:
    with hdf5.opened(path) as file:
        return set(file)


def write(path: Path, to: str, record: Record) -> None:
    """Write a record, whole or not at all; see :func:`prepared`.

    Raises:
        PtychoError: for a format that is not written, or a name that does not suit it.
    """
    check_target(path, to)(path, record)


def check_target(path: Path, to: str) -> Callable[[Path, Record], None]:
    """The writer of a format.

    Raises:
        PtychoError: when it is not written, or the name does not suit it.
    """
    target = named(to, "--to")
    if target.write is None:
        raise PtychoError(f"--to {to}: is read, not written; one of {', '.join(writable())} is needed.")
    if path.suffix not in target.suffixes:
        raise PtychoError(f"{path}: the name of a {to} file must end in {' or '.join(target.suffixes)}.")
    return target.write


def prepared(
    record: Record,
    to: str,
    given: Completion,
    measurement: str | None = None,
    nphotons: float | None = None,
    with_frames: bool = True,
) -> Record:
    """A record as a format needs it: frames as counts, and for metric formats a pixel size, energy, distance, object.

    Raises:
        PtychoError: when the pixel size is not known.
    """
    record = replace(record, counts=None) if not with_frames else record
    if record.counts is not None:
        counts, notes = counts_of(record, measurement, nphotons)
        record = replace(record, counts=counts, measurement="counts", notes=(*record.notes, *notes))
    return completed(record, to, given)
