"""A scan that grows: it goes on while frames come, keeps its place, and ends as the image of the whole."""

import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.config import InferenceConfig
from ptychopinn.errors import PtychoError
from ptychopinn.following import follow, growing
from ptychopinn.inference import infer
from ptychopinn.metrics import score
from ptychopinn.scan import Scan


def beginnings(scan: Scan, *counts: int):
    """Reads ever more of a scan, its corner put at 0 by what is there; the last again and again."""
    left = list(counts)

    def read() -> Scan:
        part = scan.subset(slice(0, left.pop(0) if len(left) > 1 else left[0]))
        return replace(part, positions=part.positions - part.positions.min(axis=0))

    return read


def test_positions_stay_while_the_corner_moves(tiny_scan):
    backwards = tiny_scan.subset(np.arange(64)[::-1])
    found = list(growing(beginnings(backwards, 3, 3, 20, 64), timeout=0.1))
    assert [len(scan) for scan in found] == [3, 20, 64]
    for scan in found:
        moves = scan.positions - backwards.positions[: len(scan)]
        np.testing.assert_allclose(moves, np.broadcast_to(moves[0], moves.shape), atol=1e-9)
        np.testing.assert_allclose(scan.positions[0], found[0].positions[0])


def test_an_interrupt_while_it_waits_ends_the_scan(tiny_scan):
    scans = growing(beginnings(tiny_scan, 3, 20), timeout=60)
    assert [len(next(scans)) for _ in range(2)] == [3, 20]
    interrupt = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
    interrupt.start()
    assert list(scans) == []
    interrupt.join()


def test_an_interrupt_while_it_looks_ends_the_scan(tiny_scan):
    def read() -> Scan:
        if found:
            raise KeyboardInterrupt
        return tiny_scan

    found: list[Scan] = []
    for scan in growing(read, timeout=60):
        found.append(scan)
    assert [len(scan) for scan in found] == [len(tiny_scan)]


def test_it_ends_with_the_frames_that_were_asked_for(tiny_scan):
    found = list(growing(beginnings(tiny_scan, 3, 20, 64), timeout=60, frames=18))
    assert [len(scan) for scan in found] == [3, 18]


def test_what_is_refused_until_the_end_is_said():
    def read() -> Scan:
        raise PtychoError("growing.cxi: no frames yet.")

    said: list[str] = []
    with pytest.raises(PtychoError, match="no frames yet"):
        list(growing(read, timeout=0.05, report=said.append))
    assert said == ["waiting: growing.cxi: no frames yet."]


def test_a_scan_that_fits_ends_as_the_image_of_the_whole(tiny_run, tiny_scan):
    parts = [tiny_scan.subset(slice(0, count)) for count in (1, 5, 30, 64)]
    seen = []
    chosen = InferenceConfig(follow_interval=0)
    found, scan = follow(tiny_run, iter(parts), chosen, "cpu", lambda image, coverage, frames: seen.append(frames))
    expected = infer(tiny_run, tiny_scan)
    assert (seen, len(scan), found.origin) == ([1, 5, 30, 64], 64, expected.origin)
    np.testing.assert_allclose(found.object, expected.object, atol=1e-4)
    np.testing.assert_allclose(found.coverage, expected.coverage, rtol=1e-3, atol=1e-3)


def test_a_scan_that_does_not_fit_is_nearly_as_good(tiny_run, tiny_scan):
    # 128 frames fit: those before become one image, twice.
    scan = tiny_scan.subset(np.tile(np.arange(64), 5))
    parts = (scan.subset(slice(0, count)) for count in (50, 200, 320))
    found, _ = follow(tiny_run, parts, InferenceConfig(patch_memory=1), "cpu")
    expected = infer(tiny_run, scan)
    truth, box = scan.object[scan.scan_box], scan.scan_box
    errors = [score(image.window(scan.object.shape)[box], truth).phase_mae for image in (found, expected)]
    assert errors[0] < 1.05 * errors[1]
    np.testing.assert_allclose(found.coverage, expected.coverage, rtol=1e-3, atol=1e-3)
