"""Errors that a user can act on, and the prefix of warnings."""

from pathlib import Path
from typing import Self

WARNING = "Warning: "
"""Prefix of reported lines that ``--quiet`` keeps."""


def shortened(text: str, length: int = 120) -> str:
    """Text for an error message, cut to ``length`` characters."""
    return text if len(text) <= length else f"{text[:length]} ..."


class PtychoError(Exception):
    """Wrong input or a wrong call: what is wrong, what was given, what is needed.

    The command line prints the message as one line and exits with ``exit_code``.
    """

    exit_code = 2

    def of(self, place: Path | str) -> Self:
        """The same error with the file, or other place, that it is about at its beginning."""
        return self if str(self).startswith(f"{place}: ") else type(self)(f"{place}: {self}")


class UnusableError(PtychoError):
    """Frames that hold no counts; others of the same file may."""


class IncurableError(PtychoError):
    """Wrong input that further frames of a growing scan cannot repair."""


class RunFailedError(PtychoError):
    """A correct call that failed while it ran (a full disk, a diverged fit)."""

    exit_code = 1
