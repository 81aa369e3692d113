"""An image that grows with its scan: frames are stitched as a detector appends them to a file."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from torch import Tensor

from ptychopinn.bundle import Run
from ptychopinn.config import InferenceConfig
from ptychopinn.dataset import GroupDataset
from ptychopinn.errors import PtychoError
from ptychopinn.inference import Reconstruction, common_phase, finished, with_trained_probe
from ptychopinn.prediction import Predictor, groups_at_once
from ptychopinn.scan import Scan, check_canvas
from ptychopinn.stitching import Stitcher

POLL = 0.25
"""Seconds between two looks at a file to which nothing was appended."""

Show = Callable[[Tensor, Tensor, int], None]
"""Receives image, coverage and number of frames so far."""


def growing(read: Callable[[], Scan], timeout: float, frames: int | None = None) -> Iterator[Scan]:
    """The scan in a file, again whenever frames were appended; each one begins with the one before.

    Args:
        read: the scan as it is now. What it refuses, it may be able to read when more is there.
        timeout: seconds without new frames after which the scan is over.
        frames: that the scan will have: over as soon as they are there.

    Raises:
        PtychoError: what ``read`` refused, when no frame came in time.
    """
    seen, first, last, complaint = 0, None, time.monotonic(), None
    while frames is None or seen < frames:
        try:
            scan = read()
        except PtychoError as error:
            scan, complaint = None, error
        if scan is not None and len(scan) > seen:
            # Readers put the corner of what they see at 0; the first frame stays where it was at first.
            first = scan.positions[0] if first is None else first
            seen = len(scan)
            yield replace(scan, positions=scan.positions + (first - scan.positions[0]))
            last = time.monotonic()
        elif time.monotonic() - last < timeout:
            time.sleep(POLL)
        elif seen:
            return
        else:
            raise complaint or PtychoError(f"follow_timeout: no frames within {timeout:g} s; is the detector running?")


def follow(
    run: Run, scans: Iterator[Scan], chosen: InferenceConfig, device: str, show: Show = lambda *now: None
) -> tuple[Reconstruction, Scan]:
    """Reconstruct a scan while it grows.

    New frames agree on their phases among themselves; then they are turned, as a whole, to agree with the image
    so far, and added to it. Every frame is predicted once.

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
    if run.settings.model.gridsize > 1:
        raise PtychoError(
            f"--follow: the run was trained with gridsize {run.settings.model.gridsize}, whose groups need frames that "
            "are not there yet; one with gridsize 1 is needed."
        )
    predictor: Predictor | None = None
    canvas: Stitcher | None = None
    done, shown = 0, -np.inf
    for scan in (with_trained_probe(run, scan) for scan in scans):
        check_canvas(scan)
        predictor = predictor or Predictor(run, scan, chosen, device)
        dataset = GroupDataset(scan, np.arange(len(scan))[:, None])
        most = max(1, groups_at_once(scan, 1, chosen.patch_memory) // 8)
        for start in range(done, len(scan), most):
            part = predictor.part(dataset, np.arange(start, min(start + most, len(scan))))
            canvas = part if canvas is None else predictor.join(canvas, part)
            done = min(start + most, len(scan))
            if time.monotonic() - shown >= chosen.follow_interval:
                show(common_phase(canvas.image(), canvas.coverage), canvas.coverage, done)
                shown = time.monotonic()
    assert canvas is not None
    assert predictor is not None
    sampled = len(scan) > groups_at_once(scan, 1, chosen.patch_memory)
    return finished(canvas, predictor, scan, sampled), scan
