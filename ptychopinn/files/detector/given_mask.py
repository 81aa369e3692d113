"""The mask that a file and the setting ``mask`` give together."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import DataConfig
from ptychopinn.errors import IncurableError
from ptychopinn.files.detector.masks import read_mask
from ptychopinn.files.record import Record
from ptychopinn.scan.detector.markers import NEARLY_ALL
from ptychopinn.scan.detector.survey import WHOLE_FRAME, Mask

WORDS = ("auto", "inverted", "none")
"""What ``mask`` may be beside a file; the first two also stand before one, with a colon."""


@dataclass(frozen=True, eq=False)
class Given:
    """The mask that the user or the file gives.

    Attributes:
        good: (N, N).
        name: of the mask, for complaints; None where there is none.
        turn: what to type to turn it round.
        events: (e, 2) frame and flat pixel of a mask for each frame, beside ``good``.
        whole: frames that it marks as a whole.
        broken: whether pixels that are probably broken are to be masked too.
        found: whether pixels may be masked that no mask marks.
    """

    good: Mask
    name: str | None
    turn: str
    events: NDArray[np.int64]
    whole: NDArray[np.int64]
    broken: bool
    found: bool


class _Part(NamedTuple):
    """One of the masks: (N, N) or (n, N, N) good pixels, its name, and what to type to turn it round."""

    good: Mask
    name: str
    turn: str


def given_mask(record: Record, data: DataConfig) -> Given:
    """The masks of the file and of ``mask`` together.

    A mask for each frame is one for all where it is the same in nearly all of them, and single events elsewhere.

    Raises:
        PtychoError: when one is there that does not fit the frames, or none is there to be turned round.
    """
    assert record.counts is not None
    shape = record.counts.shape
    word, path = understood(data.mask or "")
    nothing = np.empty((0, 2), np.int64)
    if word == "none":
        return Given(np.ones(shape[1:], bool), None, "", nothing, nothing[:, 0], False, False)
    good, events, whole = np.ones(shape[1:], bool), [nothing], [nothing[:, 0]]
    parts = _parts(record, word, path, data.allow_external)
    for values, name, _ in parts:
        if values.shape not in (shape[1:], shape):
            raise IncurableError(f"{name}: shape {values.shape}; the frames are {shape[1:]}.")
        if values.ndim == 3:
            values, some, all_of = _split(values)
            events.append(some)
            whole.append(all_of)
        if not values.any():
            raise IncurableError(
                f"{name}: all {shape[1]} x {shape[2]} pixels are marked bad (True, or a number other than 0); is the "
                "mask the other way round?"
            )
        good &= values
    if not good.any():
        raise IncurableError(
            f"{parts[-1].name}: marks all pixels bad that the mask of the file does not; another one is needed."
        )
    last = parts[-1] if parts else None
    return Given(
        good,
        None if last is None else last.name,
        "" if last is None else last.turn,
        np.concatenate(events),
        np.concatenate(whole),
        word == "auto",
        True,
    )


def understood(text: str) -> tuple[str, str]:
    """The word and the file of ``mask``, empty where there is none."""
    word, _, path = text.partition(":")
    return (word, path) if word in WORDS and not (word == "none" and path) else ("", text)


def _parts(record: Record, word: str, path: str, allow_external: bool) -> list[_Part]:
    parts = []
    if record.good_pixels is not None:
        good = ~record.good_pixels if word == "inverted" and not path else record.good_pixels
        parts.append(_Part(good, "bad_pixels", "--mask inverted"))
    elif word == "inverted" and not path:
        raise IncurableError("--mask inverted: the file has no mask; --mask inverted:FILE turns that of another file.")
    if path:
        good = read_mask(path, allow_external=allow_external)
        parts.append(_Part(~good if word == "inverted" else good, f"--mask {path}", f"--mask inverted:{path}"))
    return parts


def _split(good: Mask) -> tuple[Mask, NDArray[np.int64], NDArray[np.int64]]:
    """Good pixels of nearly all frames, the other bad ones as (frame, pixel), and frames that are bad as a whole."""
    never = (~good).mean(axis=0) >= NEARLY_ALL
    some = ~good & ~never
    whole = some.mean(axis=(1, 2)) > WHOLE_FRAME
    some[whole] = False
    frame, pixel = np.nonzero(some.reshape(len(some), -1))
    return ~never, np.stack([frame, pixel], axis=-1), np.flatnonzero(whole)
