"""An image that grows with its scan: frames are stitched as a detector appends them to a file."""

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.config import InferenceConfig
from ptychopinn.errors import WARNING, IncurableError, PtychoError, RunFailedError
from ptychopinn.files.growing.ledger import ChangedError
from ptychopinn.files.growing.reader import Look
from ptychopinn.files.signals import StopRequest
from ptychopinn.inference.growth import Growth
from ptychopinn.inference.infer import finished, infer
from ptychopinn.inference.prediction import Predictor, check_trim
from ptychopinn.model.bundle import Run, with_trained_probe
from ptychopinn.model.features import SCALE_FRAMES
from ptychopinn.reconstruction import Reconstruction
from ptychopinn.scan.fits import common_phase
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report, readable

POLL = 0.25
"""Seconds between two reads of a file that did not grow."""

Read = Callable[[], Look]
"""Looks at the file."""

Show = Callable[[Tensor, Tensor, int], None]
"""Receives image, coverage and number of frames so far."""

Over = Callable[[], bool]
"""Whether the user ended the scan."""

SAME_SCALE = 1e-4
"""Relative difference of the scales of two looks by which images are the same."""

SAME_PLACE = 1e-3
"""Pixels by which a position may differ between two looks."""

T = TypeVar("T")


class Ending(StopRequest):
    """Takes Ctrl-C and SIGTERM for the end of the scan while its block runs; a second Ctrl-C ends the program.

    Batch systems may send SIGTERM more than once, to a process and to its group.

    Args:
        report: receives the line.
    """

    def __init__(self, report: Report = lambda line: None) -> None:
        super().__init__(signal.SIGINT)
        self.report = report
        self._reported = False

    def __call__(self) -> bool:
        """Whether one came; reported here and not by the handler, which may interrupt a report."""
        if self.name is not None and not self._reported:
            self._reported = True
            self.report(f"{self.name}: the scan is over, its image is written; Ctrl-C now leaves at once.")
        return self.name is not None


def growing(
    read: Read,
    timeout: float,
    frames: int | None = None,
    report: Report = lambda line: None,
    over: Over = lambda: False,
    whole: Read | None = None,
) -> Iterator[Scan]:
    """Yield the scan in a file at every look; its frames stay where they were in the look before.

    Args:
        read: looks at the file. More frames may cure its errors, but not an ``IncurableError``.
        timeout: seconds without new frames after which the scan is over.
        frames: number of frames in the file after which the scan ends; later ones are ignored.
        report: receives what is waited for, each once, and at the end the frames that are left out.
        over: whether the scan has ended.
        whole: looks at a file whose scan has come to its end, once.

    Raises:
        PtychoError: the error of ``read``, when no frame came in time.
        IncurableError: from ``read``, at once.
    """
    before: Scan | None = None
    look: Look | None = None
    said: set[str] = set()
    complaint: PtychoError | None = None
    last = time.monotonic()
    while before is None or frames is None or before.numbers[-1] + 1 < frames:
        if before is not None and over():
            break
        found, refused = _now(read, frames)
        for line in [*([] if refused is None else [str(refused)]), *(() if found is None else found.left.values())]:
            if line not in said:
                report(f"waiting: {line}")
            said.add(line)
        complaint = refused or complaint
        grew = found is not None and (before is None or set_of(found.scan) != set_of(before))
        if found is not None:
            look, before = found, _placed(found.scan, before, report)
            yield before
        if grew:
            last = time.monotonic()
        elif time.monotonic() - last < timeout:
            time.sleep(POLL)
        else:
            break
    if look is None:
        raise complaint or PtychoError(f"follow_timeout: no frames within {timeout:g} s; is the detector running?")
    if before is not None and not over():
        yield from _at_the_end(whole, before, frames, report)
    _report_ending(look, report)


def _at_the_end(whole: Read | None, before: Scan, frames: int | None, report: Report) -> Iterator[Scan]:
    """The same frames as before, by a last look at the whole file; nothing where it gives others."""
    look, _ = (None, None) if whole is None else _now(whole, frames)
    if look is not None and set_of(look.scan) == set_of(before):
        yield _placed(look.scan, before, report)


def set_of(scan: Scan) -> tuple[int, int]:
    """Number of frames, and the last of them: they tell two looks at a growing scan apart."""
    return len(scan), int(scan.numbers[-1])


def _now(read: Read, frames: int | None) -> tuple[Look | None, PtychoError | None]:
    """What ``read`` returns, up to ``frames`` frames of the file; None and the error where it fails."""
    try:
        look = read()
    except IncurableError:
        raise
    except PtychoError as error:
        return None, error
    if frames is None:
        return look, None
    few = look.scan.numbers < frames
    if not few.any():
        return None, PtychoError(f"none of the first {frames} frames can be used.")
    left = {number: why for number, why in look.left.items() if number < frames}
    return Look(look.scan if few.all() else look.scan.subset(few), left, 0), None


def _placed(scan: Scan, before: Scan | None, report: Report) -> Scan:
    """A scan moved so that its frames stay where they were: readers put the corner of all frames so far at 0."""
    if before is None:
        return scan
    _, here, there = np.intersect1d(scan.numbers, before.numbers, return_indices=True)
    if not len(here):
        return scan
    way = before.positions[there] - scan.positions[here]
    common = np.median(way, axis=0)
    apart = abs(way - common).max(axis=1)
    if (moved := np.flatnonzero(apart > SAME_PLACE)).size:
        report(
            f"{WARNING}positions: {len(moved)} of {len(apart)} changed since they were read, the first that of frame "
            f"{scan.numbers[here[moved[0]]]}, by up to {readable(float(apart.max()))} px; they are taken as they are "
            "now."
        )
    return replace(scan, positions=scan.positions + common)


def _report_ending(look: Look, report: Report) -> None:
    """Say which frames of the file are not in the image."""
    for why in look.left.values():
        report(f"{WARNING}left out: {why}")
    if look.room:
        last = int(look.scan.numbers[-1])
        report(f"{look.room} frames after frame {last} hold one value everywhere, as room for frames does: left out.")


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


def begun(run: Run, scans: Iterator[Scan], chosen: InferenceConfig) -> Iterator[Scan]:
    """The same scans, from the first on that has a frame that can be used; keeps no reference to a scan.

    Args:
        run: that will reconstruct it.
        scans: from :func:`growing`.
        chosen: settings of inference.

    Raises:
        PtychoError: when the run works on groups of frames, or does not fit the scan; the error of the first frame
            when no frame can be used in time.
    """
    check_run(run)
    wrong: PtychoError | None = None
    for scan in scans:
        with_trained_probe(run, scan)
        check_trim(chosen.middle_trim, scan.N)
        if len(_usable(scan, most=1)):
            return chain(iter([scan]), scans)
        wrong = _complaint(scan, 0)
    raise wrong or PtychoError("diffraction: no frames; at least one is needed.")


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
        refused: why it ended before its time; None where it did not.
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

    Every frame is predicted once, and again at the end where all frames give another scale than the first ones did.
    As many patches as fit in ``patch_memory`` are kept, and their phases matched for every picture; older frames form
    one image with one free phase. What fits, or has a network for whole scans, ends with the image of ``infer``.

    A frame that cannot be used is left out, and looked at again when the scan is over, which ends early when its file
    cannot be read within ``follow_timeout``, or holds another scan. The deviance is NaN when no frame can be read then.

    Args:
        run: trained with gridsize 1.
        scans: from :func:`growing`, at least one.
        chosen: settings of inference.
        device: torch device.
        show: is called every ``follow_interval`` seconds.
        report: receives the errors for which it waits, the frames that are left out, and why the deviance is unknown.
        over: whether the scan has ended; frames not yet predicted are ignored.

    Raises:
        PtychoError: when the run works on groups of frames, does not fit the scan, or no frame is usable.
        RunFailedError: from ``show``.
    """
    check_run(run)
    scans = (with_trained_probe(run, scan) for scan in scans)
    first = next(scans)
    growth = Growth(_predictor(run, first, chosen, device), first, chosen, report)
    refused: PtychoError | None = None
    shown = -np.inf
    try:
        for scan in chain([first], scans):
            growth.update(scan)
            while len(growth.waiting) and not (growth.count and over()):
                if not _in_time(growth.add, chosen.follow_timeout, report, over):
                    break
                if time.monotonic() - shown >= chosen.follow_interval:
                    canvas = growth.canvas()
                    show(common_phase(canvas.image(), canvas.coverage), canvas.coverage, growth.count)
                    shown = time.monotonic()
        if not over():
            growth.try_again()
    except RunFailedError:
        raise
    except PtychoError as error:
        if not growth.count:
            raise
        refused = error
    if not growth.count:
        raise growth.complaint() or PtychoError("diffraction: no frames; at least one is needed.")
    growth.report_left()
    result, changed = _image(growth := _settled(run, growth, chosen, device, over), run, chosen, report)
    return Followed(result, growth.scan, refused or changed)


def _complaint(scan: Scan, row: int) -> PtychoError | None:
    """Why a frame cannot be used; None where it can."""
    try:
        scan.frames(slice(row, row + 1))
    except PtychoError as error:
        return error
    return None


def _usable(scan: Scan, most: int) -> NDArray[np.int64]:
    """The first frames that can be used, up to ``most``."""
    rows = (row for row in range(len(scan)) if _complaint(scan, row) is None)
    return np.array(list(islice(rows, most)), np.int64)


def _predictor(run: Run, scan: Scan, chosen: InferenceConfig, device: str) -> Predictor:
    """Of a scan that may have unusable frames, also among those that decide the input scale."""
    try:
        return Predictor(run, scan, chosen, device)
    except IncurableError:
        raise
    except PtychoError:
        usable = _usable(scan.subset(slice(0, SCALE_FRAMES)), SCALE_FRAMES)
        if not len(usable):
            raise
        return Predictor(run, scan.subset(usable), chosen, device)


def _settled(run: Run, growth: Growth, chosen: InferenceConfig, device: str, over: Over) -> Growth:
    """The frames as a network sees them by the scale of all; as they are where that is the same, or they are gone.

    Who ends a scan by a signal may not wait for a second pass; a network for whole scans makes one anyway.
    """
    if over() or run.model.config.whole:
        return growth
    try:
        predictor = Predictor(run, growth.scan, chosen, device)
        if np.allclose(predictor.scales, growth.predictor.scales, rtol=SAME_SCALE, atol=0):
            return growth
        anew = Growth(predictor, growth.scan, chosen, growth.report)
        while len(anew.waiting) and anew.add():
            pass
    except PtychoError:
        return growth
    for step, seconds in growth.predictor.seconds.items():
        predictor.seconds[step] += seconds
    return anew if anew.count == growth.count else growth


def _image(
    growth: Growth, run: Run, chosen: InferenceConfig, report: Report
) -> tuple[Reconstruction, ChangedError | None]:
    """Of all frames so far, with its deviance where these can still be read; and the error of changed ones.

    A network for the canvas of a whole scan sees all frames together now, while the pictures so far were stitched from
    single ones.
    """
    result = finished(growth.canvas(), growth.predictor, growth.scan)
    try:
        if run.model.config.whole:
            return infer(run, growth.scan, chosen, growth.predictor.device), None
        # The image was made with the probe of the first frames.
        scan = replace(growth.scan, probe=growth.predictor.illumination.probe.cpu().numpy())
        return result.with_deviance(scan, growth.predictor.device, sampled=growth.folded), None
    except PtychoError as error:
        report(f"The frames cannot be read again, and the deviance stays unknown: {error}")
        return result, error if isinstance(error, ChangedError) else None
