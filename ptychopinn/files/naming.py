"""Errors that name the file they are about, and what is no file at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptychopinn.errors import PtychoError, RunFailedError


@contextmanager
def naming(place: Path | str) -> Iterator[None]:
    """Begin the message of an error inside the block with the file, or other place, that it is about.

    A failure of the run, such as a full disk, is about another file, which it names.
    """
    try:
        yield
    except RunFailedError:
        raise
    except PtychoError as error:
        raise error.of(place) from None


def check_plain(path: Path) -> None:
    """Refuse a pipe, a device or a socket: it may keep its reader waiting, never end, and is not read twice."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise PtychoError(f"{path}: is a pipe or a device; a file is needed.")
