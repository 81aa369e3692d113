"""Errors that name the file they are about."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptychopinn.errors import PtychoError


@contextmanager
def naming(place: Path | str) -> Iterator[None]:
    """Begin the message of an error inside the block with the file, or other place, that it is about."""
    try:
        yield
    except PtychoError as error:
        raise error.of(place) from None
