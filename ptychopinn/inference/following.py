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
from ptychopinn.model.features import SCALE_FRAMES
from ptychopinn.reconstruction import Reconstruction, common_phase
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report

POLL = 0.25
"""Seconds between two reads of a file that did not grow."""

Show = Callable[[Tensor, Tensor, int], None]
"""Receives image, coverage and number of frames so far."""

Over = Callable[[], bool]
"""Whether the user ended the scan."""

Read = Callable[[], tuple[Scan, PtychoError | None]]
"""The usable part of the scan so far, and the error of the frame after it."""

T = TypeVar("T")


class Ending(StopRequest):
    """Takes Ctrl-C and SIGTERM for the end of the scan while its block runs; the second of them ends the program.

    Args:
        report: receives the line.
    """

    def __init__(self, report: Report = lambda line: None) -> None:
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
    read: Read,
    timeout: float,
    frames: int | None = None,
    report: Report = lambda line: None,
    over: Over = lambda: False,
) -> Iterator[Scan]:
    """Yield the scan in a file, again whenever frames were appended; each one begins with the one before.

    Args:
        read: returns the scan. More frames may cure its errors, but not an ``IncurableError``.
        timeout: seconds without new frames after which the scan is over.
        frames: number of frames after which the scan ends; later ones are ignored.
        report: receives the errors of ``read`` while it waits, each once.
        over: whether the scan has ended.

    Raises:
        PtychoError: the error of ``read``, when no frame came in time; at the end, the error of the first unusable
            frame after the last one, if there is any.
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
            # Readers put the corner of all frames so far at 0: move them so that the first frame stays in its place.
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
    """What ``read`` returns, up to ``frames`` frames; None and the error where it fails."""
    try:
        scan, wrong = read()
    except IncurableError:
        raise
    except PtychoError as error:
        return None, error
    return (scan, wrong) if frames is None or len(scan) < frames else (scan.subset(slice(frames)), None)


def _in_time(do: Callable[[], T], timeout: float, report: Report, over: Over) -> T:
    """Call a function that reads frames until these can be used; return its result.

    Raises:
        PtychoError: its last error, after ``timeout`` seconds or when the scan has ended.
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


def begun(run: Run, scans: Iterator[Scan], timeout: float = 0.0, report: Report = lambda line: None) -> Iterator[Scan]:
    """The same scans, once the first one is there and fits the run; keeps no reference to a scan.

    Args:
        run: that will reconstruct it.
        scans: from :func:`growing`.
        timeout: seconds within which the first frame must be valid.
        report: receives its errors while it waits.

    Raises:
        PtychoError: when the run works on groups of frames, or does not fit the scan.
    """
    check_run(run)
    first = next(scans)
    with_trained_probe(run, first)
    _in_time(lambda: _check(first, 0), timeout, report, lambda: False)
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
    report: Report = lambda line: None,
    over: Over = lambda: False,
) -> Followed:
    """Reconstruct a scan while it grows.

    Every frame is predicted once. The patches of the last frames, as many as fit in ``patch_memory``, are kept, and
    their phases are matched again for every picture: a scan that fits as a whole ends with the image of
    :func:`ptychopinn.inference.infer`. Older frames form one image with one free phase.

    The scan ends before the first frame that cannot be used within ``follow_timeout``. Its deviance is NaN when its
    frames cannot be read at the end.

    Args:
        run: trained with gridsize 1.
        scans: from :func:`growing`, at least one.
        chosen: settings of inference.
        device: torch device.
        show: is called every ``follow_interval`` seconds.
        report: receives the errors for which it waits, and why the deviance is unknown.
        over: whether the scan has ended; frames not yet predicted are ignored.

    Raises:
        PtychoError: when the run works on groups of frames, does not fit the scan, or its first frame is unusable.
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
    """Of a scan that may have unusable frames, also among those that decide the input scale."""
    try:
        return Predictor(run, scan, chosen, device)
    except PtychoError:
        usable = _usable(scan, 0, min(len(scan), SCALE_FRAMES))
        return Predictor(run, scan.subset(slice(0, max(1, usable))), chosen, device)


def _image(growth: "_Growth", report: Report) -> Reconstruction:
    """Of all frames so far, with its deviance where these can still be read."""
    result = finished(growth.canvas(), growth.predictor, growth.scan)
    try:
        # The image was made with the probe of the first frames.
        scan = replace(growth.scan, probe=growth.predictor.illumination.probe.cpu().numpy())
        return result.with_deviance(scan, growth.predictor.device, sampled=growth.done > len(growth.patches))
    except PtychoError as error:
        report(f"The frames cannot be read again, and the deviance stays unknown: {error}")
        return result


class _Growth:
    """State of a growing scan: the image of its older frames, and the patches of its last ones.

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
        """Predict new frames, as many as have room, up to the first unusable one.

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
