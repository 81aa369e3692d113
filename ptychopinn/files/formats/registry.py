"""All formats: how each is recognised, read and written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from ptychopinn.errors import PtychoError, shortened
from ptychopinn.files import hdf5
from ptychopinn.files.conventions import links
from ptychopinn.files.formats import (
    bare_arrays,
    cxi,
    fold_slice,
    npz,
    nsls2,
    ptychodus,
    ptychodus_npz,
    ptypy,
    ptyrad,
    py4dstem,
    quantem,
    tike,
)
from ptychopinn.files.geometry.electrons import as_written
from ptychopinn.files.geometry.pixels import Geometry, with_given
from ptychopinn.files.naming import check_plain, naming
from ptychopinn.files.npz_arrays import NpzArrays, keys_of
from ptychopinn.files.record import Reading, Record, counts_of
from ptychopinn.files.results import cdtools, own, phaser
from ptychopinn.files.results import ptypy as ptypy_results
from ptychopinn.files.results import ptyrad as ptyrad_results

ZIP, NPY = b"PK\x03\x04", b"\x93NUMPY"


class Format(NamedTuple):
    """A format: recognised by the names at the top of a file, read and written.

    Attributes:
        name: for ``--format`` and ``--to``.
        text: its name for people.
        read: gets an open HDF5 file, the arrays of an NPZ file, or the path of another one.
        all_of: names that are all there.
        any_of: names of which at least one is there; a format without names takes any file.
        write: None for a format that is only read.
        kind: of the file, ``hdf5``, ``npz`` or what :func:`_kind` says; ``emd`` is HDF5 with a DataCube.
        suffixes: of files that are written.
    """

    name: str
    text: str
    read: Callable[[Any, Reading], Record]
    all_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    write: Callable[[Path, Record], None] | None = None
    kind: str = "hdf5"
    suffixes: tuple[str, ...] = (".h5", ".hdf5")

    def suits(self, found: set[str]) -> bool:
        """Whether a file with these names has this format."""
        return found.issuperset(self.all_of) and (not self.any_of or not found.isdisjoint(self.any_of))

    def open(self, path: Path, how: Reading) -> Record:
        """Read a file.

        Raises:
            PtychoError: naming the file, what it holds and what is needed.
        """
        if self.kind in ("hdf5", "emd"):
            with hdf5.opened(path, how.allow_external) as file:
                return self.read(file, how)
        content = NpzArrays(path) if self.kind == "npz" else path
        with naming(path):
            return self.read(content, how)


IMAGE = ("object", "origin", "coverage")

METRES, PIXELS = (tuple(f"probe_position_{axis}_{unit}" for axis in "xy") for unit in ("m", "px"))

FORMATS: Final = (
    Format(
        name="ptychodus-product",
        text="product of ptychodus",
        read=ptychodus.read_product,
        all_of=("object", "probe"),
        any_of=METRES,
        write=ptychodus.write_product,
    ),
    Format("ptychodus-training", "training export of ptychodus", ptychodus.read_training, ("patterns",), PIXELS),
    Format("ptychodus-frames", "assembled frames of ptychodus", ptychodus.read_frames, ("patterns", "indexes")),
    Format("cxi", "CXI", cxi.read, (), ("cxi_version", "entry_1"), cxi.write, suffixes=(".cxi", ".h5", ".hdf5")),
    Format("ptyd", "PtyPy", ptypy.read, ("chunks", "meta")),
    Format("nsls2", "NSLS-II", nsls2.read, ("points",), ("dp", "diffamp")),
    Format("fold_slice", "positions of fold_slice", fold_slice.read_positions, ("ppX", "ppY")),
    Format("dp", "frames of pty-chi or fold_slice", fold_slice.read_frames, ("dp",)),
    Format("reconstruction", "reconstruction of ptychopinn", own.read, IMAGE),
    Format("reconstruction-npz", "reconstruction of ptychopinn", own.read, IMAGE, kind="npz"),
    Format("ptyr", "reconstruction of PtyPy", ptypy_results.read, ("header", "content")),
    Format("cdtools", "result of cdtools", cdtools.read, ("obj_basis", "probe", "obj")),
    Format("ptyrad-model", "model of PtyRAD", ptyrad_results.read, ("optimizable_tensors",)),
    Format("phaser", "state of phaser", phaser.read, ("type", "version", "wavelength")),
    Format("ptyrad", "measurements of PtyRAD", ptyrad.read, ("meas",)),
    Format("py4dstem", "DataCube of py4DSTEM", py4dstem.read, kind="emd"),
    Format("quantem", "4D-STEM dataset of quantem", quantem.read, kind="zarr"),
    Format("npy", "bare NumPy array", bare_arrays.read_npy, kind="npy"),
    Format("empad", "raw frames of the EMPAD", bare_arrays.read_empad, kind="raw"),
    Format(
        "ptychodus-npz", "product of ptychodus", ptychodus_npz.read_product, ("object", "probe"), METRES, kind="npz"
    ),
    Format(
        "ptychodus-frames-npz", "frames of ptychodus", ptychodus_npz.read_frames, ("patterns", "indexes"), kind="npz"
    ),
    Format("tike", "tike", tike.read, ("data", "scan"), kind="npz"),
    Format("npz", "NPZ scan", npz.read, write=npz.write, kind="npz", suffixes=(".npz",)),
)
"""In the order in which they are tried."""


def names() -> list[str]:
    """Names of all formats."""
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
    found: set[str] = keys_of(path) if kind == "npz" else set()
    if kind == "hdf5":
        with hdf5.opened(path) as file:
            found, kind = set(file), "emd" if py4dstem.is_py4dstem(file) else kind
    for format_ in FORMATS:
        if format_.kind == kind and format_.suits(found):
            return format_
    with hdf5.opened(path) as file:
        shown = ", ".join(links.contents(file)) or "no datasets"
    raise PtychoError(
        f"{path}: HDF5 of no known layout; name its datasets by --map map.json (docs/formats.md). It holds "
        f"{shortened(shown, 250)}."
    )


def _kind(path: Path) -> str:
    """The kind of a file by its first bytes, else by its name; the reader then says what is wrong."""
    check_plain(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(len(NPY))
    except OSError:
        return "npz"
    if start.startswith(ZIP):
        return "zarr" if quantem.is_quantem(path) else "npz"
    if path.suffix in (".h5", ".hdf5", ".nxs", ".cxi", ".ptyd", ".ptyr") or hdf5.has_signature(path):
        return "hdf5"
    if start.startswith(NPY) and path.suffix != ".npz":
        return "npy"
    return "raw" if path.suffix == ".raw" else "npz"


def write(path: Path, to: str, record: Record) -> None:
    """Write a record, whole or not at all; see :func:`prepared`.

    Raises:
        PtychoError: for a format that is only read, or a file name with another ending.
    """
    check_target(path, to)(path, record)


def check_target(path: Path, to: str) -> Callable[[Path, Record], None]:
    """The writer of a format.

    Raises:
        PtychoError: when it is only read, or the file name has another ending.
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
    given: Geometry,
    measurement: str | None = None,
    nphotons: float | None = None,
    with_frames: bool = True,
) -> Record:
    """A record as a format needs it: frames as counts; metric formats also need pixel size, energy, distance, object.

    Raises:
        PtychoError: when the pixel size is not known.
    """
    record = record if with_frames else replace(record, counts=None)
    if record.counts is not None:
        counts, notes = counts_of(record, measurement, nphotons)
        record = replace(record, counts=counts, measurement="counts", notes=(*record.notes, *notes))
    return as_written(with_given(record, to, given), to)
