"""``live.html`` of a run: written by a thread of its own, seldom enough to cost nothing."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ptychopinn.commands.shared.request import Request
from ptychopinn.commands.shared.serving import serving
from ptychopinn.errors import WARNING, PtychoError, RunFailedError
from ptychopinn.figures.page.live import Now, pictures, write_live
from ptychopinn.files.atomic import writing
from ptychopinn.files.output_folder import LIVE_PAGE, is_vacant
from ptychopinn.files.replacing import Place
from ptychopinn.text import LIVE, counted, readable

EVERY: Final = 1.0
"""Seconds between two pages, at least."""

COST: Final = 50.0
"""Times the CPU seconds of the last page that pass before the next one: at most 2 % of one core."""

Images = tuple[Any, Any]
"""An image (H, W) complex, and the light on its pixels."""


class Live:
    """What a run knows so far; its page is written while the block runs, and a last time at its end.

    Args:
        request: of the run; ``serve`` says where the page is offered.
        title: of the page.
        along: what the curves are drawn along.
        folder: of the page; that of the request when None.
    """

    def __init__(self, request: Request, title: str, along: str = "epoch", folder: Path | None = None) -> None:
        self.path = (request.out if folder is None else folder) / LIVE_PAGE
        self._request, self._title, self._along = request, title, along
        self._began = time.monotonic()
        self._lines: list[str] = []
        self._facts: dict[str, str] = {}
        self._curves: dict[str, list[tuple[float, float]]] = {}
        self._links: tuple[tuple[str, str], ...] = ()
        self._look: Callable[[], Images] | None = None
        self._share: float | None = None
        self._spent = 0.0
        self._images: list[dict[str, str]] = []
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._stack = ExitStack()
        self._failures, self._complaint = 0, ""
        self._place: Place | None = None
        self._before: bytes | None = None
        self._ask: Callable[[], None] = lambda: None
        self.every = EVERY

    def beside(self, place: Place) -> Self:
        """The same, in a folder that may hold older results: they are intact, this page too, if the run fails."""
        self._place = place
        with suppress(OSError):
            self._before = self.path.read_bytes() if place.waits else None
        return self

    def __enter__(self) -> Self:
        address = self._stack.enter_context(serving(self.path, self._request.serve))
        if address is not None:
            self._request.report(f"{LIVE}{address}")
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self.path.parent.is_dir() and (self.path.is_file() or error is None):
            self._write("ended" if error is None else "failed", "" if error is None else str(error) or repr(error))
        self._stack.close()
        if error is not None:
            self._clear()
        elif self._failures > 1:
            self._request.report(f"{WARNING}no live page: {self._complaint}")

    def _clear(self) -> None:
        """Leave a folder in which nothing was written as it was: empty, or with its older results."""
        with suppress(PtychoError, OSError):
            if self._place is not None and self._place.waits and self._before is not None:
                with writing(self.path) as temporary:
                    temporary.write_bytes(self._before)
            elif (self._place is not None and self._place.waits) or is_vacant(self.path.parent):
                self.path.unlink(missing_ok=True)

    def report(self, line: str) -> None:
        """Note a line and pass it on; what it says of how far the work is counts, too."""
        with self._lock:
            self._lines.append(line)
            if found := counted(line):
                self._progress(found[0] / max(1, found[1]))
        self._request.report(line)

    def know(self, facts: Mapping[str, str], share: float | None = None) -> None:
        """Show facts by name, and the share that is done."""
        with self._lock:
            self._facts.update(facts)
            if share is not None:
                self._progress(share)

    def note(self, name: str, x: float, y: float) -> None:
        """Add a point to a curve."""
        with self._lock:
            self._curves.setdefault(name, []).append((x, y))

    def picture(self, look: Callable[[], Images]) -> None:
        """Show an image; ``look`` gives it when a page is written, which is seldom."""
        self._look = look

    def ask(self, ask: Callable[[], None]) -> None:
        """Call a function before every page but the last; it may call :meth:`know` and :meth:`link`."""
        self._ask = ask

    def link(self, *links: tuple[str, str]) -> None:
        """Show links: text and address."""
        self._links = links

    def _progress(self, share: float) -> None:
        self._share, self._spent = min(1.0, share), time.monotonic() - self._began

    def _watch(self) -> None:
        """Write the page again and again."""
        while not self._over.wait(self.every):
            self._write("running")

    def _write(self, state: Any, reason: str = "") -> None:
        began = time.thread_time()
        try:
            if state == "running":
                self._ask()
            self._draw()
            write_live(self.path, self._now(state, reason))
        except (PtychoError, RunFailedError, OSError) as error:
            # One may be that the folder was exchanged for that of the results at this moment.
            self._failures, self._complaint = self._failures + 1, str(error)
        self.every = max(EVERY, COST * (time.thread_time() - began))

    def _draw(self) -> None:
        look, self._look = self._look, None
        if look is not None:
            self._images = pictures(*look())

    def _now(self, state: Any, reason: str) -> Now:
        seconds = time.monotonic() - self._began
        with self._lock:
            facts = dict(self._facts)
            if state == "running" and self._share:
                left = self._spent * (1 / self._share - 1) - (seconds - self._spent)
                facts["time left"] = f"about {_duration(max(0.0, left))}"
            return Now(
                self._title,
                state,
                seconds,
                time.time(),
                self.every,
                reason,
                self._share,
                facts,
                list(self._lines),
                list(dict.fromkeys(line.removeprefix(WARNING) for line in self._lines if line.startswith(WARNING))),
                self._images,
                {name: thinned(points) for name, points in self._curves.items()},
                self._along,
                self._links,
            )


def thinned(points: list[tuple[float, float]], most: int = 500) -> list[tuple[float, float]]:
    """At most about ``most`` points of a curve, the last one among them."""
    step = max(1, len(points) // most)
    return points[::-step][::-1]


def rate(frames: float, seconds: float) -> dict[str, str]:
    """Frames per second as a fact; none before the first."""
    return {"frames per second": readable(frames / seconds)} if frames and seconds > 0 else {}


def _duration(seconds: float) -> str:
    """A time left: ``40 s``, ``12 min``, ``3.2 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
