"""An image that grows with its scan: frames are stitched as a detector appends them to a file."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.bundle import Run
from ptychopinn.config import InferenceConfig
from ptychopinn.dataset import GroupDataset
from ptychopinn.errors import PtychoError
from ptychopinn.execution import Report
from ptychopinn.inference import Reconstruction, common_phase, finished, with_trained_probe
from ptychopinn.prediction import Predictor, groups_at_once
from ptychopinn.scan import Scan, check_canvas
from ptychopinn.stitching import Stitcher

POLL = 0.25
"""Seconds between two looks at a file to which nothing was appended."""

Show = Callable[[Tensor, Tensor, int], None]
"""Receives image, coverage and number of frames so far."""


def growing(
    read: Callable[[], Scan], timeout: float, frames: int | None = None, report: Report = lambda line: None
) -> Iterator[Scan]:
    """The scan in a file, again whenever frames were appended; each one begins with the one before.

    Ctrl-C while it looks or waits for more frames says that the scan is over.

    Args:
        read: the scan as it is now. What it refuses, it may be able to read when more is there.
        timeout: seconds without new frames after which the scan is over.
        frames: that the scan will have: over as soon as they are there; what comes after them is left.
        report: receives what ``read`` refuses while it waits, each complaint once.

    Raises:
        PtychoError: what ``read`` refused, when no frame came in time.
    """
    seen, last = 0, time.monotonic()
    first: NDArray[np.float64] | None = None
    complaint: PtychoError | None = None
    while frames is None or seen < frames:
        try:
            scan, refused = _more(read, seen)
            waited = time.monotonic() - last
            if refused is not None and str(refused) != str(complaint):
                report(f"waiting: {refused}")
            complaint = refused or complaint
            if scan is None and waited < timeout:
                time.sleep(POLL)
        except KeyboardInterrupt:
            if not seen:
                raise
            return
        if scan is not None:
            scan = scan if frames is None else scan.subset(slice(frames))
            # Readers put the corner of what they see at 0; the first frame stays where it was at first.
            first = scan.positions[0] if first is None else first
            seen = len(scan)
            yield replace(scan, positions=scan.positions + (first - scan.positions[0]))
            last = time.monotonic()
        elif waited >= timeout and seen:
            return
        elif waited >= timeout:
            raise complaint or PtychoError(f"follow_timeout: no frames within {timeout:g} s; is the detector running?")


def _more(read: Callable[[], Scan], seen: int) -> tuple[Scan | None, PtychoError | None]:
    """The scan as it is now if it has more frames than were seen, or why it cannot be read."""
    try:
        scan = read()
    except PtychoError as error:
        return None, error
    return (scan if len(scan) > seen else None), None


def begun(run: Run, scans: Iterator[Scan]) -> Iterator[Scan]:
    """The same scans, once there is a first one and it suits the run; no handle of it outlives its turn.

    Raises:
        PtychoError: when the run works on groups of frames, or the scan is none for it.
    """
    check_run(run)
    first = next(scans)
    check_canvas(with_trained_probe(run, first))
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


def follow(
    run: Run, scans: Iterator[Scan], chosen: InferenceConfig, device: str, show: Show = lambda *now: None
) -> tuple[Reconstruction, Scan]:
    """Reconstruct a scan while it grows.

    Every frame is predicted once. The patches of the last frames, as many as fit in ``patch_memory``, are kept: so
    long, all of them agree on their phases anew for every picture, and the end of a scan that fits is what
    :func:`ptychopinn.inference.infer` makes of it. Older frames are part of one image that turns as a whole.

    Args:
        run: trained with gridsize 1.
        scans: from :func:`growing`, at least one.
        chosen: settings of inference.
        device: torch device.
        show: is called every ``follow_interval`` seconds.

    Returns:
        The image of all frames and the scan at its end.

    Raises:
        PtychoError: when the run works on groups of frames, or the scan is none for it.
    """
    check_run(run)
    growth: _Growth | None = None
    shown = -np.inf
    for scan in (with_trained_probe(run, scan) for scan in scans):
        check_canvas(scan)
        growth = growth or _Growth(Predictor(run, scan, chosen, device), scan, chosen)
        dataset = GroupDataset(scan, np.arange(len(scan))[:, None])
        while growth.done < len(scan):
            growth.add(dataset)
            if time.monotonic() - shown >= chosen.follow_interval:
                canvas = growth.canvas(scan)
                show(common_phase(canvas.image(), canvas.coverage), canvas.coverage, growth.done)
                shown = time.monotonic()
    assert growth is not None
    return finished(growth.canvas(scan), growth.predictor, scan, sampled=len(scan) > len(growth.patches)), scan


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

    def add(self, dataset: GroupDataset) -> None:
        """Predict new frames, as many as have room."""
        if self.done == self.first + len(self.patches):
            self.older, self.first = self.canvas(dataset.scan), self.done
        stop = min(len(dataset), self.first + len(self.patches))
        new = self.predictor.patches(dataset, np.arange(self.done, stop))
        self.patches[self.done - self.first : stop - self.first] = new
        self.done = stop

    def canvas(self, scan: Scan) -> Stitcher:
        """The image of all frames so far."""
        positions = scan.positions[self.first : self.done, None]
        last = self.predictor.placed(self.patches[: len(positions)], positions)
        return last if self.older is None else self.predictor.join(last, self.older)
