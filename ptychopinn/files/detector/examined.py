"""Masks and bad frames of what a file holds, before it is made a scan."""

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import DataConfig
from ptychopinn.errors import PtychoError
from ptychopinn.files.detector.given_mask import Given, given_mask
from ptychopinn.files.detector.masks import read_frame_list
from ptychopinn.files.record import Record
from ptychopinn.files.values import check_placed
from ptychopinn.scan.detector import wording
from ptychopinn.scan.detector.faults import Faults, faults_in
from ptychopinn.scan.detector.health import Health, mask_doubts
from ptychopinn.scan.detector.markers import LOOKED_AT, cover, held, look, never_counting, usual_rule, weights
from ptychopinn.scan.detector.survey import Mask, Rule, Survey, spread, stored
from ptychopinn.scan.frames import Counts, Frames, select
from ptychopinn.text import Report

FULL_PASS: Final = 2**31
"""Bytes of frames in a file up to which all of them are looked at before the work begins."""

SAMPLE: Final = 256
"""Frames, spread over a larger scan, that are."""

MOST_PIXELS, MOST_FRAMES = 0.2, 0.5
"""Shares of the good pixels and of the frames that events may cost; more of them are no faults but how the file is."""


class Examined(NamedTuple):
    """A record without what its detector did not measure.

    Attributes:
        record: with the mask, without the frames that are left out.
        numbers: (n,) the frames that are left; None: all.
        health: what was found; None where there are no frames to look at.
        notes: what was done, a sentence each.
    """

    record: Record
    numbers: NDArray[np.int64] | None = None
    health: Health | None = None
    notes: tuple[str, ...] = ()


def examined(record: Record, data: DataConfig, once: bool = False, drop: bool = True) -> Examined:
    """Apply ``mask`` and ``drop_frames`` to what a file holds, and look for faults of its detector.

    Pixels that hold no count in every frame are masked, the few values that are none are masked or left out with their
    frame, whichever loses less; what is doubtful stays unless asked for.

    Args:
        record: of the file.
        data: settings.
        once: whether frames that stay in the file are read once only afterwards: then a sample of them is looked at.
        drop: whether frames may be left out.

    Raises:
        PtychoError: for a mask or list that does not fit, when no pixel or frame is left, or one has no position.
    """
    counts = record.counts
    if counts is None or counts.ndim != 3 or not np.prod(counts.shape) or record.near_field is not None:
        return Examined(record)
    given = given_mask(record, data)
    paired = record.positions is None or len(record.positions) == len(counts)
    listed = _listed(data, len(counts)) if drop and paired else np.empty(0, np.int64)
    rule = replace(rule_of(record, data), single=given.broken or data.drop_frames == "auto")
    never = never_counting(counts, rule, np.ones_like(given.good))
    masked = never & given.good if given.found else np.zeros_like(never)
    good = given.good & ~masked
    if not good.any():
        if given.name is None and counts.dtype.kind == "f":
            return Examined(record)  # a scan refuses such frames, and says why
        raise _nothing_left(counts, given, masked)
    rows = np.setdiff1d(np.arange(len(counts)), listed)
    seen = look(counts, rows[spread(len(rows), _most(counts, data, once))], rule, good)
    if given.name is not None and not seen.totals.any() and seen.mean[~given.good & ~never].any():
        raise _other_way_round(given, "no pixel that is not marked bad holds a photon")
    places = None if record.positions is None or not paired else record.positions[seen.numbers]
    faults = faults_in(counts, seen, None if record.probe is None else record.probe, places)
    story = _Story(record, data, given, seen, faults, listed, drop and paired)
    story.tell_masked(masked)
    story.resolve_events()
    story.judge_pixels()
    story.judge_frames()
    story.judge_mask(never)
    found = story.ending(masked)
    if drop and paired:
        numbers = np.arange(len(counts)) if found.numbers is None else found.numbers
        check_placed(found.record.positions, numbers, "--drop-frames FILE leaves frames out")
    return found


def rule_of(record: Record, data: DataConfig) -> Rule:
    """What is no count in the frames of a record."""
    assert record.counts is not None
    told = data.measurement or record.measurement
    return usual_rule(record.counts.dtype, record.counts.dtype.kind == "f" and told != "counts")


def _listed(data: DataConfig, count: int) -> NDArray[np.int64]:
    if data.drop_frames in (None, "auto", "none"):
        return np.empty(0, np.int64)
    listed = read_frame_list(str(data.drop_frames), count)
    if len(listed) == count:
        raise PtychoError(f"--drop-frames {data.drop_frames}: lists all {count} frames; at least one must be left.")
    return listed


def _most(counts: Counts, data: DataConfig, once: bool) -> int:
    """Frames to look at: all in memory, or where they are asked for."""
    if not isinstance(counts, Frames) or "auto" in (data.drop_frames, (data.mask or "").partition(":")[0]):
        return len(counts)
    few = once or data.every > 1 or data.n_subsample is not None
    size = counts.source.dtype.itemsize * int(np.prod(counts.shape, dtype=float))
    return SAMPLE if few or size > FULL_PASS else len(counts)


def _nothing_left(counts: Counts, given: Given, masked: Mask) -> PtychoError:
    what = held(counts, masked, 0)
    if given.name is None:
        return PtychoError(f"diffraction: every pixel holds {what} in nearly every frame; counts are needed.")
    return _other_way_round(given, f"every pixel that is not marked bad holds {what} in nearly every frame")


def _other_way_round(given: Given, why: str) -> PtychoError:
    return PtychoError(
        f"{given.name}: {why}; is the mask the other way round? {given.turn} turns it, --mask none ignores it."
    )


class _Story:
    """What is found and done, step by step."""

    def __init__(
        self,
        record: Record,
        data: DataConfig,
        given: Given,
        seen: Survey,
        faults: Faults,
        listed: NDArray[np.int64],
        drop: bool,
    ) -> None:
        assert record.counts is not None
        self.record, self.data, self.given, self.seen, self.faults = record, data, given, seen, faults
        self.counts = record.counts
        self.may_drop = drop and data.drop_frames != "none"
        self.masked = np.zeros_like(seen.good)
        self.doubtful = np.zeros_like(seen.good)
        self.dropped, self.odd = listed, np.empty(0, np.int64)
        self.notes: list[str] = []
        self.doubts: list[str] = []
        self.counted: list[str] = []
        if len(listed):
            self.notes.append(f"Left out by --drop-frames {data.drop_frames}: {wording.frames(listed)}.")

    def tell_masked(self, masked: Mask) -> None:
        """Pixels that hold no count in every frame."""
        if masked.any():
            self.masked |= masked
            what, count = held(self.counts, masked, 0), wording.number(int(masked.sum()), "pixel")
            self.notes.append(f"Masked: {count} that hold {what} in every frame: {wording.pixels(masked)}.")
            self.counted.append(f"{count} without counts masked")

    def resolve_events(self) -> None:
        """Frames that are bad as a whole, and single values that are no counts."""
        seen, count = self.seen, len(self.counts)
        whole = np.union1d(seen.numbers[seen.whole], self.given.whole)
        whole = np.setdiff1d(whole, self.dropped)
        events = np.concatenate([seen.events, self.given.events, self.faults.zingers[: self._zingers()]])
        events = events[~np.isin(events[:, 0], np.union1d(whole, self.dropped))]
        events = events[seen.good.ravel()[events[:, 1]]]
        if self.may_drop and self.given.found:
            frames, pixels = cover(events, weights(seen), count)
        elif self.given.found:
            frames, pixels = np.empty(0, np.int64), np.unique(events[:, 1])
        else:
            frames, pixels = np.unique(events[:, 0]) if self.may_drop else np.empty(0, np.int64), np.empty(0, np.int64)
        many = len(pixels) > MOST_PIXELS * seen.good.sum() or len(frames) + len(whole) > MOST_FRAMES * count
        if many:
            self.doubts.append(
                f"{wording.number(len(np.unique(events[:, 1])), 'pixel')} in {wording.frames(np.unique(events[:, 0]))} "
                "hold no counts, too many to leave them out; what do these values mean?"
            )
            return
        self._leave_out_whole(whole)
        self._leave_out(events, frames, pixels)

    def _zingers(self) -> int:
        return len(self.faults.zingers) if self.given.broken else 0

    def _leave_out_whole(self, whole: NDArray[np.int64]) -> None:
        if not len(whole):
            return
        few = f"{wording.frames(whole)}, of which most pixels hold no count"
        if self.may_drop:
            self.dropped = np.union1d(self.dropped, whole)
            self.notes.append(f"Left out: {few}{self._values(whole[0])}.")
            self.counted.append(f"{wording.number(len(whole), 'saturated frame')} left out")
        else:
            self.odd = np.union1d(self.odd, whole)
            self.doubts.append(f"{few}{self._values(whole[0])}, is kept by --drop-frames none.")

    def _values(self, frame: int) -> str:
        marks = self._marks(frame)
        return f": {held(self.counts, marks, frame)}" if marks is not None and marks.any() else ""

    def _marks(self, frame: int) -> Mask | None:
        marks = self.seen.rule.marks(stored(self.counts, np.array([frame]))[0])
        return None if marks is None else marks & self.seen.good

    def _leave_out(self, events: NDArray[np.int64], frames: NDArray[np.int64], pixels: NDArray[np.int64]) -> None:
        """Frames and pixels that are left out for single values."""
        shape = self.seen.good.shape
        for numbers, here in ((frames, np.isin(events[:, 0], frames)), (pixels, ~np.isin(events[:, 0], frames))):
            if not len(numbers):
                continue
            where = np.zeros(shape, bool)
            where.ravel()[events[here, 1]] = True
            inside = np.unique(events[here, 0])
            first = np.zeros(shape, bool)
            first.ravel()[events[here & (events[:, 0] == inside[0]), 1]] = True
            place = wording.number(int(where.sum()), "pixel")
            value = held(self.counts, first, int(inside[0]))
            why = f"{wording.events(events[here], shape[1])}: {value}"
            if numbers is frames:
                self.notes.append(f"Left out: {wording.frames(inside)}, for {place}, bad in {why}.")
                self.dropped = np.union1d(self.dropped, frames)
                self.counted.append(f"{wording.number(len(frames), 'frame')} with bad pixels left out")
            else:
                self.notes.append(f"Masked: {place}, bad in {why}.")
                self.masked |= where
                self.counted.append(f"{wording.number(len(pixels), 'pixel')} bad in some frames masked")

    def judge_pixels(self) -> None:
        """Pixels that are probably broken: masked on request, else named."""
        zingers = np.zeros_like(self.seen.good)
        zingers.ravel()[self.faults.zingers[:, 1]] = True
        kinds = (
            (self.faults.hot, "hot", "far brighter than the pixels around in every frame, as no light can be"),
            (self.faults.dead, "dead", "without a count in any frame amid light, as of a gap or a beam stop"),
            (self.faults.stuck, "stuck", "with the same count in every frame"),
            (
                self.faults.gains.lines,
                "border",
                f"in lines that read {self.faults.gains.gain:.2g} times their light, as of double size",
            ),
            (zingers, "struck", "far too bright in one frame, as by a cosmic ray"),
        )
        for where, word, why in kinds:
            where = where & ~self.masked
            if not where.any():
                continue
            count = wording.number(int(where.sum()), "pixel")
            if not self.given.broken:
                self.doubtful |= where
                place = self._struck() if word == "struck" else wording.pixels(where)
                self.doubts.append(f"{count} {why}: {place}; --mask {self._also_auto()} masks them.")
                self.counted.append(f"{wording.number(int(where.sum()), f'{word} pixel')}")
            elif word != "struck":
                self.masked |= where
                self.notes.append(f"Masked: {count} {why}: {wording.pixels(where)}.")
                self.counted.append(f"{wording.number(int(where.sum()), f'{word} pixel')} masked")

        for axis, first, gain in self.faults.gains.steps:
            line = ("row", "column")[axis]
            self.doubts.append(
                f"the pixels from {line} {first} on read {gain:.2f} times those before, as of modules of another gain; "
                "correct the flat field in the file."
            )

    def _struck(self) -> str:
        return wording.events(self.faults.zingers, self.seen.good.shape[1])

    def _also_auto(self) -> str:
        path = self.data.mask
        return f"auto:{path}" if path not in (None, "auto", "none") and not str(path).startswith("inverted") else "auto"

    def judge_frames(self) -> None:
        """Frames far from the others: left out on request, else named."""
        kinds = (
            (self.faults.bright, "far brighter than the frames around", "brightest"),
            (self.faults.dim, "nearly without light, as with a closed shutter", "dim"),
            (self.faults.dark, "without a photon", "dark"),
        )
        for numbers, why, word in kinds:
            numbers = np.setdiff1d(numbers, self.dropped)
            if not len(numbers):
                continue
            first = self.seen.totals[np.searchsorted(self.seen.numbers, numbers[0])]
            usual = float(np.median(self.seen.totals))
            times = f" ({first / usual:.3g} times the usual light)" if usual > 0 and word != "dark" else ""
            if self.data.drop_frames == "auto" and len(numbers) + len(self.dropped) < len(self.counts):
                self.dropped = np.union1d(self.dropped, numbers)
                self.notes.append(f"Left out: {wording.frames(numbers)}, {why}{times}.")
                self.counted.append(f"{wording.number(len(numbers), 'odd frame')} left out")
            elif word != "dark":
                self.odd = np.union1d(self.odd, numbers)
                verb = "is" if len(numbers) == 1 else "are"
                self.doubts.append(
                    f"{wording.frames(numbers)} {verb} {why}{times}; --drop-frames auto leaves such frames out."
                )
                self.counted.append(f"{wording.number(len(numbers), 'odd frame')}")

    def judge_mask(self, never: Mask) -> None:
        """Whether the mask is that of these frames."""
        if self.given.name is not None:
            broken = never | self.faults.dead
            mean = np.where(never, 0.0, self.seen.mean)
            self.doubts += mask_doubts(~self.given.good, mean, broken, self.given.name, self.given.turn)

    def ending(self, never: Mask) -> Examined:
        """The record that is left."""
        good = self.given.good & ~never & ~self.masked
        if not good.any():
            raise PtychoError("mask: no good pixel is left; --mask none takes all as they are.")
        kept = np.setdiff1d(np.arange(len(self.counts)), self.dropped)
        record = replace(self.record, good_pixels=None if good.all() and self.given.name is None else good)
        if len(kept) < len(self.counts):
            record = selected(record, kept)
        looked, count = len(self.seen.numbers), len(self.counts)
        few = f"{looked} frames" if looked >= count - len(self.dropped) else f"{looked} of {count} frames"
        found = ", ".join(self.counted) or "no fault found"
        health = Health(
            f"{found} ({few} looked at)",
            tuple(self.doubts),
            self.masked,
            self.doubtful,
            self.seen.numbers,
            self.seen.totals,
            self.dropped,
            self.odd,
        )
        return Examined(record, None if len(kept) == count else kept, health, tuple(self.notes))


class FirstMask:
    """The mask of a growing scan: what its first frames never count, and what is given, stays.

    Args:
        report: receives what was masked.
    """

    def __init__(self, report: Report = lambda line: None) -> None:
        self.report = report
        self.good: Mask | None = None

    def applied(self, record: Record, data: DataConfig) -> Examined:
        """A record as it is now, with the mask of the first one that had frames, without frames of a list.

        Raises:
            PtychoError: for a mask or a list that does not fit, or when no pixel is left.
        """
        counts = record.counts
        if counts is None or counts.ndim != 3 or not np.prod(counts.shape):
            return Examined(record)
        if self.good is None:
            self._begin(record, counts, data)
        assert self.good is not None
        record = replace(record, good_pixels=None if self.good.all() else self.good)
        if data.drop_frames in (None, "none"):
            return Examined(record)
        listed = read_frame_list(str(data.drop_frames), None)
        kept = np.setdiff1d(np.arange(len(counts)), listed)
        return Examined(selected(record, kept), kept)

    def _begin(self, record: Record, counts: Counts, data: DataConfig) -> None:
        given = given_mask(record, data)
        few = select(counts, slice(0, LOOKED_AT))
        masked = given.good & never_counting(few, rule_of(record, data), np.ones_like(given.good)) & given.found
        if not (given.good & ~masked).any():
            raise _nothing_left(counts, given, masked)
        if masked.any():
            self.report(f"Masked: {masked.sum()} pixels that hold {held(counts, masked, 0)} in the first frames.")
        self.good = given.good & ~masked


def selected(record: Record, kept: NDArray[np.int64]) -> Record:
    """Some frames of a record, with what belongs to them."""
    assert record.counts is not None
    return replace(
        record,
        counts=select(record.counts, kept),
        positions=None if record.positions is None else record.positions[kept],
        scan_index=None if record.scan_index is None else record.scan_index[kept],
    )
