"""The arrays of an NPZ file, each unpacked when it is asked for, if it fits in memory."""

import errno
import math
import struct
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO

import numpy as np

from ptychopinn.errors import PtychoError
from ptychopinn.files.naming import check_plain
from ptychopinn.files.values import Array, as_numbers
from ptychopinn.memory import check_memory, in_gib

UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, struct.error)
"""Exceptions of zipfile and numpy for a damaged archive."""

HEADERS = MappingProxyType(
    {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0},
)
"""Readers of the header of a member, by its version."""

COPIES = 2
"""Arrays of a member's size while it is read and converted."""


class NpzArrays(Mapping[str, Array]):
    """Arrays of an NPZ file by name; pickled objects are refused.

    Args:
        path: file.
        without: names that are left out.

    Raises:
        PtychoError: when it is no NPZ file; for an array, when it is asked for.
    """

    def __init__(self, path: Path, without: Collection[str] = ()) -> None:
        check_plain(path)
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        except FileNotFoundError:
            raise PtychoError(f"{path}: no such file.") from None
        except IsADirectoryError:
            raise PtychoError(f"{path}: is a folder; an NPZ file is needed.") from None
        except (*UNREADABLE, NotImplementedError) as error:
            raise PtychoError(_why_not(path, error)) from None
        self._entries = {name: info for name, info in entries.items() if name not in without}

    def __len__(self) -> int:
        """Number of arrays."""
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        """Whether there is one of this name; it is not unpacked."""
        return name in self._entries

    def __getitem__(self, name: str) -> Array:
        """One array.

        Raises:
            PtychoError: when it is damaged, or does not fit in memory.
        """
        info = self._entries[name]
        try:
            with zipfile.ZipFile(self.path) as archive, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # numpy warns of files of old Pythons
                return as_numbers(self._unpacked(archive, info, name))
        except PtychoError:
            raise
        except MemoryError as error:
            raise PtychoError(f"{self.path}: {name}: does not fit in memory: {error}.") from None
        except Exception as error:  # noqa: BLE001 - a damaged member can fail inside zipfile, zlib or numpy
            reason = "pickled objects are not read" if "pickle" in str(error).lower() else _first_line(error)
            raise PtychoError(f"{self.path}: {name}: cannot be read: {reason}.") from None

    def _unpacked(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Array:
        with archive.open(info) as stream:
            start = stream.read(len(np.lib.format.MAGIC_PREFIX))
        check_memory(COPIES * info.file_size, f"{self.path}: {name}")
        if start != np.lib.format.MAGIC_PREFIX:
            return np.asarray(archive.read(info))
        with archive.open(info) as stream:
            self._check_header(stream, info, name)
        with archive.open(info) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))

    def _check_header(self, stream: IO[bytes], info: zipfile.ZipInfo, name: str) -> None:
        """Refuse an array of which the archive has fewer bytes: numpy makes room for all before it reads."""
        reader = HEADERS.get(np.lib.format.read_magic(stream))
        if reader is None:
            return
        shape, _, dtype = reader(stream)
        needed, there = math.prod(shape) * dtype.itemsize, info.file_size - stream.tell()
        if needed > there and not dtype.hasobject:
            raise PtychoError(
                f"{self.path}: {name}: cannot be read: shape {shape}, dtype {dtype} needs {in_gib(needed)}, and the "
                f"archive has {there} bytes of it."
            )


def keys_of(path: Path) -> set[str]:
    """Names of the arrays in an NPZ file; empty where it cannot be read."""
    try:
        return set(NpzArrays(path))
    except PtychoError:
        return set()


def _why_not(path: Path, error: Exception) -> str:
    start = b""
    with suppress(OSError), path.open("rb") as stream:
        start = stream.read(len(np.lib.format.MAGIC_PREFIX))
    if start == np.lib.format.MAGIC_PREFIX:
        return f"{path}: holds one bare array; an NPZ file with named arrays is needed."
    foreign = isinstance(error, zipfile.BadZipFile) and not start.startswith(b"PK")
    return f"{path}: is no readable NPZ file ({'it is no ZIP archive of arrays' if foreign else _first_line(error)})."


def _first_line(error: Exception) -> str:
    if isinstance(error, zipfile.BadZipFile) and "CRC" not in str(error):
        return "the archive is damaged or cut short"
    if isinstance(error, OSError) and error.strerror:
        return "the archive is damaged" if error.errno == errno.EINVAL else error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
