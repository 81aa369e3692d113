"""What was used of a growing file: frames that change later, and another scan in its place, are noticed."""

from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.scan.frames import Source


class ChangedError(PtychoError):
    """Frames that were used read otherwise now."""


class Ledger:
    """Hashes of the frames that were used, by their number in the file, 8 bytes each."""

    def __init__(self) -> None:
        self._used = np.zeros(0, np.uint64)
        self._read: dict[int, int] = {}
        self._identity: tuple[int, int] | None = None
        self._turn = 0
        self.arrived = 0
        self.changed: set[int] = set()

    def see(self, rows: NDArray[np.int64], frames: NDArray[Any]) -> None:
        """Compare frames that were just read with what they were when they were used.

        Raises:
            ChangedError: naming the first that differs.
        """
        if len(frames) < len(rows):
            raise ChangedError(f"diffraction: frame {rows[len(frames)]} is not there any more.")
        odd = []
        for row, frame in zip(rows.tolist(), frames, strict=True):
            digest = 1 + int.from_bytes(blake2b(np.ascontiguousarray(frame).data, digest_size=7).digest(), "big")
            if self._known(row) not in (0, digest):
                odd.append(row)
            self._read[row] = digest
        if odd:
            raise ChangedError(f"diffraction: frame {odd[0]} is not what it was when it was first read.")

    def use(self, rows: NDArray[np.int64]) -> None:
        """Frames, read just now, that are used from now on as they are."""
        if rows.max(initial=-1) >= len(self._used):
            self._used = np.append(self._used, np.zeros(int(rows.max()) + 1, np.uint64))
        for row in rows.tolist():
            self._used[row] = self._read.get(row, 0)
        self._read.clear()

    def forget(self) -> None:
        """Take the frames that changed as they are now."""
        self._used[list(self.changed)] = 0
        self.changed.clear()

    def _known(self, row: int) -> int:
        return int(self._used[row]) if row < len(self._used) else 0

    def check(self, path: Path, source: Source) -> None:
        """Compare the first, the last and one more of the frames that were used, each time another one.

        A frame or two may be written again: they are noted in ``changed``. A file that was exchanged or written anew
        has none of the frames.

        Raises:
            IncurableError: when the file holds another scan.
        """
        used = np.flatnonzero(self._used)
        with suppress(OSError):
            stat, before = path.stat(), self._identity
            self._identity = stat.st_dev, stat.st_ino
            exchanged = before not in (None, self._identity)
        if not len(used):
            return
        if source.shape[0] <= used[-1]:
            raise IncurableError(
                f"{path}: holds {source.shape[0]} frames now, and frame {used[-1]} was read: it holds another scan."
            )
        self._turn += 1
        rows = np.unique(used[[0, self._turn % len(used), -1]])
        odd = [row for row in rows if self._differs(source, row)]
        if odd and (exchanged or len(odd) == len(rows) > 1):
            raise IncurableError(f"{path}: holds another scan now: frame {odd[0]} is not the one that was read.")
        self.changed.update(odd)

    def _differs(self, source: Source, row: int) -> bool:
        try:
            source.read(np.array([row]))
        except ChangedError:
            return True
        return False

    def count(self, source: Source) -> int:
        """Number of frames up to the last that arrived: room that was made for frames holds one value everywhere.

        A dark frame counts when a later one has light. Frames are looked at 1, 2, 4, 8 ... behind the last that
        arrived: a writer that goes on fills the next one, and after dark frames one of the others.
        """
        total = source.shape[0]
        self.arrived = min(self.arrived, total)
        while self.arrived < total:
            steps = self.arrived - 1 + 2 ** np.arange(48)
            rows = [total - 1, *steps[steps < total - 1][::-1].tolist()]
            lit = next((row for row in rows if not _empty(source.read(np.array([row])))), None)
            if lit is None:
                break
            self.arrived = lit + 1
        return self.arrived


def _empty(frames: NDArray[Any]) -> bool:
    """Whether frames hold one value everywhere."""
    if frames.dtype.kind == "f" and np.isnan(frames).all():
        return True
    return bool((frames == frames.ravel()[:1]).all())


@dataclass(eq=False)
class Watched:
    """A stack of frames of a growing file; whatever is read of it passes the ledger, and its file is closed again.

    An open file would lock out a writer that opens it anew for each frame.

    Attributes:
        source: the stack.
        ledger: of its file.
    """

    source: Source
    ledger: Ledger

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W)."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.source.dtype

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Frames by number, ascending without repeats: (k, H, W).

        Raises:
            ChangedError: when one that was used reads otherwise.
        """
        try:
            frames = self.source.read(rows)
        finally:
            self.close()
        self.ledger.see(rows, frames)
        return frames

    def close(self) -> None:
        """Close its file."""
        self.source.close()
