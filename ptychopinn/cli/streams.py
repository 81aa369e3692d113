"""Standard output and standard error that never end a command: what they refuse is left out.

The work goes on when a reader has gone (``| head -1``), the disk behind ``>`` is full, a terminal was closed, or with
``>&-``.
"""

import io
import os
import sys
from typing import Final

STREAMS: Final = {"stdout": 1, "stderr": 2}


class _Patient(io.FileIO):
    """An open descriptor; what it refuses counts as written.

    Attributes:
        error: the first refusal of what somebody still wanted to have; a reader that has gone wants nothing.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.error: OSError | None = None

    def write(self, data: object) -> int:
        try:
            return super().write(data) or len(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            pass
        except OSError as error:
            self.error = self.error or error
        return len(data)  # type: ignore[arg-type]


def keep_streams() -> _Patient:
    """Have everything that Python prints go through patient streams; returns that of standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened gets this number, and what libraries print goes into it.
            os.open(os.devnull, os.O_RDWR)
    patient = {}
    for name, number in STREAMS.items():
        before = getattr(sys, name)
        patient[name] = _Patient(number)
        stream = io.TextIOWrapper(
            io.BufferedWriter(patient[name]),
            encoding=getattr(before, "encoding", "utf-8"),
            errors="backslashreplace" if name == "stderr" else getattr(before, "errors", "replace"),
            line_buffering=name == "stderr" or os.isatty(number),
        )
        setattr(sys, name, stream)
    return patient["stdout"]
