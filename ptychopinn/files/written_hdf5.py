"""HDF5 files written whole or not at all, on full disks too."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ptychopinn.files.atomic import writing


class _Sink(io.RawIOBase):
    """What HDF5 writes into; it never fails.

    The HDF5 library crashes the process when it cannot write while it closes a file or a dataset. After the first error
    this keeps in memory what HDF5 still hands over; whoever writes much asks for the error now and then.

    Args:
        stream: unbuffered file.

    Attributes:
        error: the first one.
    """

    def __init__(self, stream: io.FileIO) -> None:
        self.error: BaseException | None = None
        self._stream, self._at = stream, 0
        self._kept: list[tuple[int, bytes]] = []

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        ends = [os.fstat(self._stream.fileno()).st_size, *(at + len(data) for at, data in self._kept)]
        self._at = offset + (max(ends) if whence == os.SEEK_END else self._at if whence == os.SEEK_CUR else 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        content = bytes(data)
        if self.error is None:
            try:
                self._write(content)
            except BaseException as error:  # noqa: BLE001 - Ctrl-C too must not reach HDF5
                self.error = error
        if self.error is not None:
            self._kept.append((self._at, content))
        self._at += len(content)
        return len(content)

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        self._stream.seek(self._at)
        while left:
            left = left[self._stream.write(left) or 0 :]

    def readinto(self, buffer: Any) -> int:
        """Read what was written, with zeros where nothing was."""
        view = memoryview(buffer).cast("B")
        view[:] = bytes(len(view))
        self._stream.seek(self._at)
        self._stream.readinto(view)
        for at, data in self._kept:
            start, end = max(at, self._at), min(at + len(data), self._at + len(view))
            if start < end:
                view[start - self._at : end - self._at] = data[start - at : end - at]
        self._at += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length, which HDF5 does when it closes."""
        if self.error is None:
            try:
                self._stream.truncate(size)
            except OSError as error:
                self.error = error
        return self._at if size is None else size


class WrittenFile(h5py.File):
    """An HDF5 file that is written."""

    def __init__(self, sink: _Sink) -> None:
        super().__init__(sink, "w")
        self._sink = sink

    def check(self) -> None:
        """Raise the error that writing met so far."""
        if self._sink.error is not None:
            raise self._sink.error


@contextmanager
def writing_hdf5(path: Path) -> Iterator[WrittenFile]:
    """Yield an HDF5 file to fill; it gets its name when the block succeeds.

    Raises:
        RunFailedError: when the file system refuses.
    """
    with writing(path) as temporary, temporary.open("r+b", buffering=0) as stream:
        sink = _Sink(stream)
        with WrittenFile(sink) as file:
            yield file
        if sink.error is not None:
            raise sink.error
