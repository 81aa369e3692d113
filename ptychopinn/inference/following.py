"""An image that grows with its scan: frames are stitched as a detector appends them to a file."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.config import InferenceConfig
from ptychopinn.errors import IncurableError, PtychoError, RunFailedError
from ptychopinn.files.signals import STOPPING, StopRequest
from ptychopinn.inference.infer import finished
from ptychopinn.inference.prediction import Predictor, groups_at_once
from ptychopinn.inference.stitching import Stitcher
from ptychopinn.model.batches import GroupDataset
from ptychopinn.model.bundle import Run, with_trained_probe
from ptychopinn.model.model import SCALE_FRAMES
from ptychopinn.reconstruction import Reconstruction, common_phase, with_deviance
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report

POLL = 0.25
"""Seconds between two looks at a file to which nothing was appended."""

Show = Callable[[Tensor, Tensor, int], None]
"""Receives image, coverage and number of frames so far."""

Over = Callable[[], bool]
"""Whether the user said that the scan is over."""

Read = Callable[[], tuple[Scan, PtychoError | None]]
"""The scan as it is now, as far as it can be used, and what is wrong with the frame after that."""

T = TypeVar("T")


def _silent(line: str) -> None:
    """Report nothing."""


def _never() -> bool:
    return False


class Ending(StopRequest):
    """Takes Ctrl-C and SIGTERM for the end of the scan while its block runs; the second of them ends the program.

    Args:
        report: receives the line.
    """

    def __init__(self, report: Report = _silent) -> None:
        super().__init__(*STOPPING)
        self.report = report
        self._reported = False

    def __call__(self) -> bool:
        """Whether one came; reported here and not by the handler, which may interrupt a report."""
        if self.name is not None and not self._reported:
            self._reported = True
            self.report(f"{self.name}: the scan is over, its image is written; a second one leaves at once.")
        return self.name is not None


def growing(
    read: Read, timeout: float, frames: int | None = None, report: Report = _silent, over: Over = _never
) -> Iterator[Scan]:
    """The scan in a file, again whenever frames were appended; each one begins with the one before.

    Args:
        read: the scan. What it refuses, it may be able to read when more is there, but for an ``IncurableError``.
        timeout: seconds without new frames after which the scan is over.
        frames: that the scan will have: over as soon as they are there; what comes after them is left.
        report: receives what ``read`` refuses while it waits, each complaint once.
        over: whether the scan is over now.

    Raises:
        PtychoError: what ``read`` refused, when no frame came in time; at the end, when there are frames after the
            last one that cannot be used, what is wrong with the first of them.
    """
    seen, last = 0, time.monotonic()
    first: NDArray[np.float64] | None = None
    complaint: PtychoError | None = None
    wrong: PtychoError | None = None
    while frames is None or seen < frames:
        if seen and over():
            break
        scan, refused = _now(read, frames)
        if refused is not None and str(refused) != str(complaint):
            report(f"waiting: {refused}")
        complaint = refused or complaint
        wrong = wrong if scan is None else refused
        if scan is not None and len(scan) > seen:
            # Readers put the corner of what they see at 0; the first frame stays where it was at first.
            first = scan.positions[0] if first is None else first
            seen = len(scan)
            yield replace(scan, positions=scan.positions + (first - scan.positions[0]))
            last = time.monotonic()
        elif time.monotonic() - last < timeout:
            time.sleep(POLL)
        else:
            break
    if not seen:
        raise complaint or PtychoError(f"follow_timeout: no frames within {timeout:g} s; is the detector running?")
    if wrong is not None:
        raise wrong


def _now(read: Read, frames: int | None) -> tuple[Scan | None, PtychoError | None]:
    """What ``read`` returns, up to so many frames; None and why where it cannot read."""
    try:
        scan, wrong = read()
    except IncurableError:
        raise
    except PtychoError as error:
        return None, error
    return (scan, wrong) if frames is None or len(scan) < frames else (scan.subset(slice(frames)), None)


def _in_time(do: Callable[[], T], timeout: float, report: Report, over: Over) -> T:
    """What a function that reads frames returns, once these can be used.

    Raises:
        PtychoError: why they cannot, when they could not within ``timeout`` seconds or the scan is over.
    """
    began, complaint = time.monotonic(), ""
    while True:
        try:
            return do()
        except PtychoError as error:
            if over() or time.monotonic() - began >= timeout:
                raise
            if str(error) != complaint:
                complaint = str(error)
                report(f"waiting: {complaint}")
        time.sleep(POLL)


def begun(run: Run, scans: Iterator[Scan], timeout: float = 0.0, report: Report = _silent) -> Iterator[Scan]:
    """The same scans, once there is a first one and it suits the run; no handle of it outlives its turn.

    Args:
        run: that will reconstruct it.
        scans: from :func:`growing`.
        timeout: seconds within which the first frame must be one of counts.
        report: receives what is wrong with it while it waits.

    Raises:
        PtychoError: when the run works on groups of frames, or the scan is none for it.
    """
    check_run(run)
    first = next(scans)
    with_trained_probe(run, first)
    _in_time(lambda: _check(first, 0), timeout, report, _never)
    return chain(iter([first]), scans)


def check_run(run: Run) -> None:
    """Refuse a run that works on groups of frames.

    Raises:
        PtychoError: naming its gridsize.
    """
    if run.settings.model.gridsize > 1:
        raise PtychoError(
            f"--follow: the run was trained with gridsize {run.settings.model.gridsize}, whose groups need frames that "
            "are not there yet; one with gridsize 1 is needed."
        )


class Followed(NamedTuple):
    """A scan that was followed to its end.

    Attributes:
        result: image of all its frames.
        scan: these frames.
        refused: why the frames after them could not be used; None where there are none.
    """

    result: Reconstruction
    scan: Scan
    refused: PtychoError | None


def follow(
    run: Run,
    scans: Iterator[Scan],
    chosen: InferenceConfig,
    device: str,
    show: Show = lambda *now: None,
    report: Report = _silent,
    over: Over = _never,
) -> Followed:
    """Reconstruct a scan while it grows.

    Every frame is predicted once. The patches of the last frames, as many as fit in ``patch_memory``, are kept: so
    long, all of them agree on their phases anew for every picture, and the end of a scan that fits is what
    :func:`ptychopinn.inference.infer` makes of it. Older frames are part of one image that turns as a whole.

    The scan ends before the first frame that cannot be used within ``follow_timeout``. Its deviance is NaN when its
    frames cannot be read at the end.

    Args:
        run: trained with gridsize 1.
        scans: from :func:`growing`, at least one.
        chosen: settings of inference.
        device: torch device.
        show: is called every ``follow_interval`` seconds.
        report: receives what keeps it from going on, and from telling the deviance.
        over: whether the scan is over now: what was not predicted yet is left.

    Raises:
        PtychoError: when the run works on groups of frames, the scan is none for it, or its first frame cannot be used.
        RunFailedError: from ``show``.
    """
    check_run(run)
    growth: _Growth | None = None
    refused: PtychoError | None = None
    shown = -np.inf
    try:
        for scan in (with_trained_probe(run, scan) for scan in scans):
            growth = growth or _Growth(_predictor(run, scan, chosen, device), scan, chosen)
            growth.dataset = GroupDataset(scan, np.arange(len(scan))[:, None])
            while growth.done < len(scan) and not (growth.done and over()):
                _in_time(growth.add, chosen.follow_timeout, report, over)
                if time.monotonic() - shown >= chosen.follow_interval:
                    canvas = growth.canvas()
                    show(common_phase(canvas.image(), canvas.coverage), canvas.coverage, growth.done)
                    shown = time.monotonic()
    except RunFailedError:
        raise
    except PtychoError as error:
        if growth is None or not growth.done:
            raise
        refused = error
    assert growth is not None
    return Followed(_image(growth, report), growth.scan, refused)


def _check(scan: Scan, row: int) -> None:
    """Refuse a frame that cannot be used."""
    scan.frames(slice(row, row + 1))


def _usable(scan: Scan, start: int, stop: int) -> int:
    """The first of these frames that cannot be used; ``stop`` when all can."""
    for row in range(start, stop):
        try:
            _check(scan, row)
        except PtychoError:
            return row
    return stop


def _predictor(run: Run, scan: Scan, chosen: InferenceConfig, device: str) -> Predictor:
    """For a scan that may have frames that cannot be used, also among those that tell its brightness."""
    try:
        return Predictor(run, scan, chosen, device)
    except PtychoError:
        usable = _usable(scan, 0, min(len(scan), SCALE_FRAMES))
        return Predictor(run, scan.subset(slice(0, max(1, usable))), chosen, device)


def _image(growth: "_Growth", report: Report) -> Reconstruction:
    """Of all frames so far, with its deviance where these can still be read."""
    result = finished(growth.canvas(), growth.predictor, growth.scan)
    try:
        sampled = growth.done > len(growth.patches)
        return with_deviance(result, growth.predictor.light, growth.scan, sampled)
    except PtychoError as error:
        report(f"The frames cannot be read again, and the deviance stays unknown: {error}")
        return result


class _Growth:
    """What is known of a growing scan: the image of its older frames, and the patches of its last ones.

    Args:
        predictor: that makes patches.
        scan: its beginning.
        chosen: settings of inference.
    """

    def __init__(self, predictor: Predictor, scan: Scan, chosen: InferenceConfig) -> None:
        self.predictor = predictor
        shape = groups_at_once(scan, 1, chosen.patch_memory), 1, scan.N, scan.N
        self.patches = torch.empty(shape, dtype=torch.complex64, device=predictor.device)
        self.older: Stitcher | None = None
        self.first = self.done = 0
        self.stuck = False
        self.dataset = GroupDataset(scan, np.arange(len(scan))[:, None])

    @property
    def scan(self) -> Scan:
        """The frames that were predicted."""
        return self.dataset.scan.subset(slice(0, self.done))

    def add(self) -> None:
        """Predict new frames, as many as have room and come before one that cannot be used.

        Raises:
            PtychoError: when that is the first of them.
        """
        if self.done == self.first + len(self.patches):
            self.older, self.first = self.canvas(), self.done
        stop = min(len(self.dataset), self.first + len(self.patches))
        if self.stuck:
            _check(self.dataset.scan, self.done)
            self.stuck = False
        try:
            new = self.predictor.patches(self.dataset, np.arange(self.done, stop))
        except PtychoError:
            self.stuck = True
            _check(self.dataset.scan, self.done)
            stop = _usable(self.dataset.scan, self.done, stop)
            new = self.predictor.patches(self.dataset, np.arange(self.done, stop))
        self.patches[self.done - self.first : stop - self.first] = new
        self.done = stop

    def canvas(self) -> Stitcher:
        """The image of all frames so far."""
        positions = self.dataset.scan.positions[self.first : self.done, None]
        last = self.predictor.placed(self.patches[: len(positions)], positions)
        return last if self.older is None else self.predictor.join(last, self.older)
