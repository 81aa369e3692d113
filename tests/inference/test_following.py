"""A scan that grows: it goes on while frames come, keeps its place, and ends as the image of the whole."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from ptychopinn.config import InferenceConfig
from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.evaluation.metrics import score
from ptychopinn.files.growing.reader import Look
from ptychopinn.inference.following import Ending, begun, follow, growing
from ptychopinn.inference.infer import infer
from ptychopinn.scan.frames import Frames
from ptychopinn.scan.scan import Scan

SAME = 1e-3
"""Difference of the images of a scan that was followed and of the whole."""


def beginnings(scan: Scan, *counts: int):
    """Reads ever more of a scan, its corner put at 0 by what is there; the last again and again."""
    left = list(counts)

    def read() -> Look:
        part = scan.subset(slice(0, left.pop(0) if len(left) > 1 else left[0]))
        return Look(replace(part, positions=part.positions - part.positions.min(axis=0)))

    return read


def lengths(scans: Iterator[Scan]) -> list[int]:
    """Numbers of frames, each once."""
    return [count for count, _ in groupby(len(scan) for scan in scans)]


def test_positions_stay_while_the_corner_moves(tiny_scan):
    backwards = tiny_scan.subset(np.arange(64)[::-1])
    found = list(growing(beginnings(backwards, 3, 3, 20, 64), timeout=0.1))
    assert lengths(iter(found)) == [3, 20, 64]
    for scan in found:
        moves = scan.positions - backwards.positions[: len(scan)]
        np.testing.assert_allclose(moves, np.broadcast_to(moves[0], moves.shape), atol=1e-9)
        np.testing.assert_allclose(scan.positions[0], found[0].positions[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_scan(tiny_scan, number):
    before, said = signal.getsignal(number), []
    with Ending(said.append) as over:
        assert signal.getsignal(number) != before
        scans = growing(beginnings(tiny_scan, 3, 20), timeout=60, over=over)
        assert [len(next(scans)) for _ in range(2)] == [3, 20]
        kill = threading.Timer(0.5, os.kill, [os.getpid(), number])
        kill.start()
        assert lengths(scans) == [20]
        kill.join()
    assert signal.getsignal(number) == before
    assert len(said) == 1
    assert said[0].startswith(f"{signal.Signals(number).name}: the scan is over")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_only_ctrl_c_leaves_at_once_after_a_signal(number):
    with Ending() as over:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)  # a batch system sends it to the process and to its group
        assert over()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_thread_takes_no_signals():
    before, found = signal.getsignal(signal.SIGTERM), []

    def enter() -> None:
        with Ending() as over:
            found.append((over(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [(False, before)]


def test_it_ends_with_the_frames_that_were_asked_for(tiny_scan):
    assert lengths(growing(beginnings(tiny_scan, 3, 20, 64), timeout=60, frames=18)) == [3, 18]


def test_what_is_refused_until_the_end_is_said():
    def read() -> Look:
        raise PtychoError("growing.cxi: no frames yet.")

    said: list[str] = []
    with pytest.raises(PtychoError, match="no frames yet"):
        list(growing(read, timeout=0.05, report=said.append))
    assert said == ["waiting: growing.cxi: no frames yet."]


def test_what_no_frame_can_cure_is_refused_at_once():
    def read() -> Look:
        raise IncurableError("crop: 48 given.")

    began = time.monotonic()
    with pytest.raises(IncurableError):
        list(growing(read, timeout=60))
    assert time.monotonic() - began < 30


def test_frames_without_a_position_are_left_out_when_nobody_mends_them(tiny_scan):
    said: list[str] = []
    left = {20: "frame 20: it has no position."}
    look = Look(tiny_scan.subset(np.delete(np.arange(64), 20)), left, 9)
    assert lengths(growing(lambda: look, 0.1, report=said.append)) == [63]
    assert said == [
        "waiting: frame 20: it has no position.",
        "Warning: left out: frame 20: it has no position.",
        "9 frames after frame 63 hold one value everywhere, as room for frames does: left out.",
    ]


def test_frames_that_are_mended_in_time_are_used(tiny_scan):
    states = [Look(tiny_scan.subset(np.delete(np.arange(64), 20)), {20: "frame 20"}), Look(tiny_scan)]
    said: list[str] = []
    found = list(growing(lambda: states.pop(0) if len(states) > 1 else states[0], timeout=0.1, report=said.append))
    assert lengths(iter(found)) == [63, 64]
    np.testing.assert_allclose(found[-1].positions[0], found[0].positions[0])
    assert said == ["waiting: frame 20"]


def test_frames_that_were_not_asked_for_may_be_bad(tiny_scan):
    look, said = Look(tiny_scan.subset(slice(20)), {20: "frame 20"}, 9), []
    assert lengths(growing(lambda: look, 60, frames=20, report=said.append)) == [20]
    assert said == []


def test_positions_that_change_are_said_and_taken(tiny_scan):
    places = tiny_scan.positions.copy()
    places[7] += 4
    states, said = [Look(tiny_scan), Look(replace(tiny_scan, positions=places + 9))], []
    found = list(growing(lambda: states.pop(0) if len(states) > 1 else states[0], timeout=0.1, report=said.append))
    np.testing.assert_allclose(found[-1].positions, places)
    assert len(said) == 1
    assert "positions: 1 of 64 changed since they were read, the first that of frame 7, by up to 4.00 px" in said[0]


def test_a_file_that_goes_away_ends_the_scan(tiny_scan):
    def read() -> Look:
        if said:
            raise PtychoError("growing.cxi: no such file.")
        said.append("read once")
        return Look(tiny_scan)

    said: list[str] = []
    assert lengths(growing(read, timeout=0.1, report=said.append)) == [64]
    assert said == ["read once", "waiting: growing.cxi: no such file."]


def test_a_scan_that_fits_ends_as_the_image_of_the_whole(tiny_run, tiny_scan):
    parts = [tiny_scan.subset(slice(0, count)) for count in (1, 5, 30, 64)]
    seen = []
    chosen = InferenceConfig(follow_interval=0)
    found, scan, _ = follow(tiny_run, iter(parts), chosen, "cpu", lambda image, coverage, frames: seen.append(frames))
    expected = infer(tiny_run, tiny_scan)
    assert (seen, len(scan), found.origin) == ([1, 5, 30, 64], 64, expected.origin)
    np.testing.assert_allclose(found.object, expected.object, atol=SAME)
    np.testing.assert_allclose(found.coverage, expected.coverage, rtol=1e-3, atol=1e-3)


def test_the_scale_of_the_first_frame_stays_when_a_user_ends_the_scan(tiny_run, tiny_scan):
    parts = [tiny_scan.subset(slice(0, count)) for count in (1, 64)]
    ended: list[int] = []
    follow_all = InferenceConfig(follow_interval=0)
    found, scan, _ = follow(
        tiny_run, iter(parts), follow_all, "cpu", lambda *now: ended.append(now[-1]), over=lambda: 64 in ended
    )
    assert len(scan) == 64
    np.testing.assert_allclose(found.object, infer(tiny_run, tiny_scan).object, atol=0.03)


def test_a_file_that_is_over_is_looked_at_as_a_whole(tiny_scan):
    whole = replace(tiny_scan, probe_factor=2.0, positions=tiny_scan.positions + 3)
    scans = list(growing(beginnings(tiny_scan, 3, 64), 0.1, whole=lambda: Look(whole)))
    assert [scan.probe_factor for scan in scans[-2:]] == [1.0, 2.0]
    np.testing.assert_allclose(scans[-1].positions, scans[-2].positions)


def test_a_scan_that_does_not_fit_is_nearly_as_good(tiny_run, tiny_scan):
    # 128 frames fit: those before become one image, twice.
    scan = replace(tiny_scan.subset(np.tile(np.arange(64), 5)), frame_numbers=np.arange(320))
    parts = (scan.subset(slice(0, count)) for count in (50, 200, 320))
    found, _, _ = follow(tiny_run, parts, InferenceConfig(patch_memory=1), "cpu")
    expected = infer(tiny_run, scan)
    truth, box = scan.object[scan.scan_box], scan.scan_box
    errors = [score(image.window(scan.object.shape)[box], truth).phase_mae for image in (found, expected)]
    assert errors[0] < 1.05 * errors[1]
    np.testing.assert_allclose(found.coverage, expected.coverage, rtol=1e-3, atol=1e-3)


class Kept:
    """Frames of a scan as if in a file; one of them may be spoiled, all may be gone."""

    def __init__(self, counts: np.ndarray, spoiled: int | None = None) -> None:
        self.counts, self.spoiled, self.gone = counts.astype(np.float32), spoiled, False

    shape = property(lambda self: self.counts.shape)
    dtype = np.dtype(np.float32)

    def read(self, rows: np.ndarray) -> np.ndarray:
        if self.gone:
            raise PtychoError("growing.cxi: cannot be read.")
        block = self.counts[rows].copy()
        block[rows == self.spoiled] = np.nan
        return block

    def close(self) -> None:
        pass


@pytest.mark.parametrize("spoiled", [0, 30, 63])
def test_a_bad_frame_is_left_out(tiny_run, tiny_scan, spoiled):
    scan = replace(tiny_scan, counts=Frames.of(Kept(tiny_scan.counts, spoiled)))
    said: list[str] = []
    chosen = InferenceConfig(follow_timeout=0.1)
    found, used, refused = follow(tiny_run, begun(tiny_run, iter([scan]), chosen), chosen, "cpu", report=said.append)
    expected = infer(tiny_run, tiny_scan.subset(np.delete(np.arange(64), spoiled)))
    assert (len(used), refused) == (63, None)
    assert spoiled not in used.numbers
    why = f"diffraction: NaN or infinity in frame {spoiled}; "
    assert [line.partition(why)[0] for line in said] == ["waiting: ", f"Warning: left out, frame {spoiled}: "]
    np.testing.assert_allclose(found.object, expected.object, atol=SAME)
    assert found.deviance == pytest.approx(expected.deviance, rel=SAME)


def test_without_a_good_frame_there_is_no_image(tiny_run, tiny_scan):
    chosen = InferenceConfig(follow_timeout=0.1)
    scan = replace(tiny_scan, counts=Frames.of(Kept(np.nan * tiny_scan.counts)))
    with pytest.raises(PtychoError, match="NaN or infinity in frame 0"):
        begun(tiny_run, iter([scan]), chosen)
    with pytest.raises(PtychoError, match="NaN or infinity in frame 0"):
        follow(tiny_run, iter([scan]), chosen, "cpu")


def test_a_frame_that_is_mended_in_time_is_used(tiny_run, tiny_scan):
    source = Kept(tiny_scan.counts, 30)
    scan = replace(tiny_scan, counts=Frames.of(source))

    def mend(line: str) -> None:
        assert line.startswith("waiting: diffraction: NaN or infinity in frame 30; ")
        source.spoiled = None

    found, used, refused = follow(tiny_run, iter([scan]), InferenceConfig(), "cpu", report=mend)
    assert (len(used), refused, source.spoiled) == (64, None, None)
    np.testing.assert_allclose(found.window((80, 80)), infer(tiny_run, tiny_scan).window((80, 80)), atol=SAME)


def test_a_frame_that_cannot_be_read_is_told_from_a_file_that_is_gone(tiny_run, tiny_scan):
    class Torn(Kept):
        def read(self, rows: np.ndarray) -> np.ndarray:
            if 30 in rows:
                raise PtychoError("growing.cxi: data: cannot be read: the filter failed.")
            return super().read(rows)

    scan = replace(tiny_scan, counts=Frames.of(Torn(tiny_scan.counts)))
    parts = (scan.subset(slice(count)) for count in (20, 64))
    _, used, refused = follow(tiny_run, parts, InferenceConfig(follow_timeout=0.1), "cpu")
    assert (len(used), refused) == (63, None)


def test_the_image_does_not_need_frames_that_are_gone(tiny_run, tiny_scan):
    source = Kept(tiny_scan.counts)
    scan = replace(tiny_scan, counts=Frames.of(source))
    said: list[str] = []

    def go(image, coverage, frames: int) -> None:
        source.gone = True

    found, used, refused = follow(tiny_run, iter([scan]), InferenceConfig(), "cpu", go, said.append)
    assert (len(used), refused) == (64, None)
    assert np.isnan(found.deviance)
    assert len(said) == 1
    assert "deviance stays unknown: growing.cxi: cannot be read." in said[0]
    np.testing.assert_allclose(found.object, infer(tiny_run, tiny_scan).object, atol=SAME)


def test_frames_that_are_left_when_the_scan_is_over_are_left(tiny_run, tiny_scan):
    scan = replace(tiny_scan.subset(np.tile(np.arange(64), 5)), frame_numbers=np.arange(320))  # 128 frames at a time
    shown: list[int] = []
    chosen = InferenceConfig(patch_memory=1, follow_interval=0)
    found, used, refused = follow(
        tiny_run, iter([scan]), chosen, "cpu", lambda *now: shown.append(now[-1]), over=lambda: bool(shown)
    )
    assert refused is None
    assert len(used) == len(found.positions) == shown[0] < 320
    assert shown == shown[:1]
