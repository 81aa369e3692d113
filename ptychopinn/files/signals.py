"""Ctrl-C and SIGTERM as a request to stop that a job answers where nothing is half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Notes Ctrl-C and SIGTERM while its block runs; only in the main thread does Python take signals.

    Args:
        release: signals that have their earlier effect again after the first request.
        take: take the signals when the block begins; otherwise :meth:`take` does, to overrule what a library sets.

    Attributes:
        name: of the first signal; None before.
        event: is set when it comes.
    """

    def __init__(self, *release: signal.Signals, take: bool = True) -> None:
        self.name: str | None = None
        self.event = threading.Event()
        self._release, self._take = release, take
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in STOPPING}
        if self._take:
            self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self._restore(STOPPING)

    def take(self) -> None:
        """Handle the signals from now on to the end of the block."""
        for number in self._before:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = self.name or signal.Signals(number).name
        self.event.set()
        self._restore(self._release)

    def _restore(self, numbers: tuple[signal.Signals, ...]) -> None:
        for number in set(numbers) & self._before.keys():
            signal.signal(number, self._before[number])


class Stopped(Exception):  # noqa: N818 - it is no error
    """A signal asked to stop; its name."""


class Interruption(StopRequest):
    """Raises :class:`Stopped` at the first signal that comes inside a block of :meth:`allowed`; notes it elsewhere."""

    _armed = False

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A block that may be left anywhere; it is not entered after a signal."""
        if self.name is not None:
            raise Stopped(self.name)
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        super()._note(number, frame)
        if self._armed:
            self._armed = False
            raise Stopped(self.name)
