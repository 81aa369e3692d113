"""What watches a training: the clock, the history, and signals that ask it to stop."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from ptychopinn.errors import RunFailedError

Report = Callable[[str], None]
"""Receives one line of progress."""

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Clock:
    """Fraction of a training that is over: by steps or by seconds, whichever is further.

    Args:
        max_seconds: wall-clock budget, or None.
    """

    def __init__(self, max_seconds: float | None) -> None:
        self.start = time.monotonic()
        self.max_seconds = max_seconds
        self.trainer: lightning.Trainer | None = None

    def seconds(self) -> float:
        """Seconds of training, those before a resume included."""
        return time.monotonic() - self.start

    def go_on_from(self, seconds: float) -> None:
        """Count ``seconds`` that an earlier process spent."""
        self.start -= seconds

    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return self.max_seconds is not None and self.seconds() >= self.max_seconds

    def progress(self) -> float:
        """From 0 to 1."""
        by_time = self.seconds() / self.max_seconds if self.max_seconds else 0.0
        if self.trainer is None:
            return by_time
        return max(by_time, self.trainer.global_step / max(1, self.trainer.estimated_stepping_batches))


class Watch(Callback):
    """Stops at the time budget or at a signal, keeps the history, and refuses to go on with NaN.

    Its state travels with the checkpoints, so a resumed training continues history and clock.

    Args:
        clock: of this training.
        report: receives a line per epoch.
    """

    def __init__(self, clock: Clock, report: Report) -> None:
        self.clock, self.report = clock, report
        self.history: list[dict[str, float]] = []
        self.asked_to_stop: str | None = None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Take Ctrl-C and SIGTERM over from Lightning, which would leave without a checkpoint."""
        if _in_main_thread():
            for number in STOPPING:
                signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """End after this step; a second Ctrl-C interrupts at once."""
        self.asked_to_stop = signal.Signals(number).name
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Stop between two steps, never inside one."""
        if self.asked_to_stop or self.clock.is_over():
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Note and report the epoch."""
        if self.asked_to_stop:
            return
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {"epoch": trainer.current_epoch + 1, "seconds": round(self.clock.seconds(), 1), **row}
        if not all(math.isfinite(value) for value in row.values()):
            raise RunFailedError(
                f"training: the loss is not finite after epoch {row['epoch']}; try a smaller --learning-rate."
            )
        self.history.append(row)
        shown = [f"{name} {row[name]:.4f}" for name in ("train_loss", "val_loss", "val_nll") if name in row]
        self.report(f"epoch {row['epoch']}/{trainer.max_epochs}  {row['seconds']:.0f} s  " + "  ".join(shown))

    def state_dict(self) -> dict[str, Any]:
        """History and seconds spent."""
        return {"history": list(self.history), "seconds": self.clock.seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue them."""
        self.history = list(state_dict["history"])
        self.clock.go_on_from(float(state_dict["seconds"]))


@contextmanager
def signals_restored() -> Iterator[None]:
    """Give signals back the handlers they had before the block."""
    if not _in_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_main_thread() -> bool:
    """Only there may Python handle signals."""
    return threading.current_thread() is threading.main_thread()
