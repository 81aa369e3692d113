"""The image of a growing scan: the patches of its last frames, and one image of those before."""

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.config import InferenceConfig
from ptychopinn.errors import WARNING, IncurableError, PtychoError, UnusableError
from ptychopinn.files.growing.ledger import Watched
from ptychopinn.inference.prediction import Predictor, groups_at_once
from ptychopinn.inference.stitching import Stitcher
from ptychopinn.model.batches import GroupDataset
from ptychopinn.scan.frames import Frames
from ptychopinn.scan.scan import Scan
from ptychopinn.text import Report, readable

MOVED = 1e-2
"""Pixels by which a frame of the older image may lie beside its place."""

Numbers = NDArray[np.int64]


class Growth:
    """State of a growing scan; frames are known by their numbers in the file.

    Args:
        predictor: that makes patches.
        scan: its beginning.
        chosen: settings of inference.
        report: receives the frames that are left out, or taken again.

    Attributes:
        older: image of the frames before the kept patches; None where there are none.
        bad: error of each frame that cannot be used.
    """

    def __init__(self, predictor: Predictor, scan: Scan, chosen: InferenceConfig, report: Report) -> None:
        self.predictor, self.report = predictor, report
        shape = groups_at_once(scan, 1, chosen.patch_memory), 1, scan.N, scan.N
        self.patches = torch.empty(shape, dtype=torch.complex64, device=predictor.device)
        self.kept: Numbers = np.empty(0, np.int64)
        self.older: Stitcher | None = None
        self.done: Numbers = np.empty(0, np.int64)
        self.places = np.empty((0, 2))
        self.bad: dict[int, PtychoError] = {}
        self.update(scan)

    def update(self, scan: Scan) -> None:
        """Take the scan as it is now; frames that were written again since wait to be predicted again.

        Raises:
            IncurableError: when positions in the older image are others now.
        """
        self.whole = scan
        self.dataset = GroupDataset(scan, np.arange(len(scan))[:, None])
        _, here, there = np.intersect1d(scan.numbers, self.done, return_indices=True)
        apart = abs(scan.positions[here] - self.places[there]).max(axis=1, initial=0)
        if (moved := np.flatnonzero(apart > MOVED)).size:
            number, way = scan.numbers[here[moved[0]]], readable(float(apart[moved[0]]))
            raise IncurableError(f"positions: frame {number} lies {way} px from where it was when it was read.")
        self._take_changed()

    @property
    def count(self) -> int:
        """Number of frames that were predicted."""
        return len(self.done) + len(self.kept)

    @property
    def folded(self) -> bool:
        """Whether some of them are in the older image."""
        return self.older is not None

    @property
    def waiting(self) -> Numbers:
        """Frames to predict. The last frame of a file is tried again and again: its writer may not be done with it."""
        passed = [number for number in self.bad if number < self.whole.numbers[-1]]
        return np.setdiff1d(self.whole.numbers, np.concatenate([self.done, self.kept, np.array(passed, np.int64)]))

    @property
    def scan(self) -> Scan:
        """The frames that were predicted."""
        return self.whole.subset(np.flatnonzero(np.isin(self.whole.numbers, np.append(self.done, self.kept))))

    def add(self) -> bool:
        """Predict frames that wait, as many as have room; whether there were any that can be used.

        Raises:
            PtychoError: when the file cannot be read.
        """
        if len(self.kept) == len(self.patches):
            self._fold()
        wanted = self.waiting[: len(self.patches) - len(self.kept)]
        before = self.count
        self._predict(wanted)
        return self.count > before

    def try_again(self) -> None:
        """Predict the frames that could not be used before."""
        for number in sorted(self.bad):
            if number in self.whole.numbers:
                if len(self.kept) == len(self.patches):
                    self._fold()
                self._predict(np.array([number]))

    def complaint(self) -> PtychoError | None:
        """Error of the first frame that cannot be used."""
        return self.bad[min(self.bad)] if self.bad else None

    def report_left(self) -> None:
        """Say which frames could not be used."""
        for number in sorted(self.bad):
            self.report(f"{WARNING}left out, frame {number}: {self.bad[number]}")

    def canvas(self) -> Stitcher:
        """The image of all frames so far."""
        inside = np.isin(self.kept, self.whole.numbers)
        positions = self.whole.positions[self._rows(self.kept[inside])][:, None]
        last = self.predictor.placed(self.patches[: len(self.kept)][torch.from_numpy(inside)], positions)
        return last if self.older is None else self.predictor.join(last, self.older)

    def _rows(self, numbers: Numbers) -> Numbers:
        return np.searchsorted(self.whole.numbers, numbers)

    def _fold(self) -> None:
        """Make the kept patches part of the older image."""
        self.older = self.canvas()
        inside = self.kept[np.isin(self.kept, self.whole.numbers)]
        self.done = np.append(self.done, inside)
        self.places = np.concatenate([self.places, self.whole.positions[self._rows(inside)]])
        self.kept = self.kept[:0]

    def _predict(self, numbers: Numbers) -> None:
        """Predict frames; those that cannot be used go to ``bad``, found by halving.

        Raises:
            PtychoError: when the file cannot be read.
        """
        try:
            found = self.predictor.patches(self.dataset, self._rows(numbers))
        except IncurableError:
            raise
        except PtychoError as error:
            if not (isinstance(error, UnusableError) or self._others_can_be_read()):
                raise
            if len(numbers) == 1:
                self._refuse(int(numbers[0]), error)
                return
            half = len(numbers) // 2
            self._predict(numbers[:half])
            self._predict(numbers[half:])
            return
        self.patches[len(self.kept) : len(self.kept) + len(numbers)] = found
        self.kept = np.append(self.kept, numbers)
        for number in numbers.tolist():
            self.bad.pop(number, None)
        if (watched := self._watched()) is not None:
            watched[1].ledger.use(watched[0].rows[self._rows(numbers)])

    def _others_can_be_read(self) -> bool:
        """Whether the file still gives a frame that was used."""
        used = np.intersect1d(self.whole.numbers, np.append(self.done, self.kept))
        try:
            self.whole.frames(self._rows(used[:1]))
        except PtychoError:
            return False
        return len(used) > 0

    def _refuse(self, number: int, error: PtychoError) -> None:
        if str(error) != str(self.bad.get(number)):
            self.report(f"waiting: {error}")
        self.bad[number] = error

    def _watched(self) -> tuple[Frames, Watched] | None:
        counts = self.whole.counts
        if isinstance(counts, Frames) and isinstance(counts.source, Watched):
            return counts, counts.source
        return None

    def _take_changed(self) -> None:
        """Let frames that were written again wait once more; those in the older image stay as they were."""
        if (watched := self._watched()) is None or not watched[1].ledger.changed:
            return
        counts, ledger = watched[0], watched[1].ledger
        changed = self.whole.numbers[np.isin(counts.rows, list(ledger.changed))]
        again = np.isin(self.kept, changed)
        for number in changed.tolist():
            how = "it is taken as it is now" if number in self.kept else "the image has it as it was"
            self.report(f"{WARNING}frame {number} was written again after it was read; {how}.")
        ledger.forget()
        self.patches[: int((~again).sum())] = self.patches[: len(again)][torch.from_numpy(~again)]
        self.kept = self.kept[~again]
