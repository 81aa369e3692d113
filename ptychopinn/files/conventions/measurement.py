"""Whether float frames hold counts or amplitudes, their roots, where the file does not say.

Counts are whole multiples of one value, that of a photon; the squares of amplitudes are, as long as nothing but noise
changed them. What was averaged over many, corrected or calculated is neither. Then the probe may tell: one in
sqrt(photons) holds about the photons of the brightest frames, and its far field looks like their mean.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ptychopinn.files.record import Record
from ptychopinn.scan.beam import misfit
from ptychopinn.scan.frames import BLOCK_BYTES, Frames
from ptychopinn.scan.probe.light import far_intensity
from ptychopinn.scan.probe_scale import HIGHEST, LOWEST, brightest
from ptychopinn.text import readable

Values = NDArray[Any]

SAMPLE: Final = 64
"""Frames, spread over the scan, that are looked at."""

WHOLE: Final = 0.99
"""Share of values that must be whole: a few pixels may be filled in. Of amplitudes above 1, at most a fifth are."""

ENOUGH: Final = 30
"""Values that tell."""

NEAR: Final = 0.01
"""Distance from a whole number that rounding may make."""

LARGEST: Final = 2048.0
"""Multiples of a photon beyond which values are not looked at, fewer where they are kept less exactly."""

FAR: Final = 4.0
"""Factor beyond its limits from which the power of a probe speaks against a reading."""


def with_measurement(record: Record, growing: bool = False) -> Record:
    """A record that says what its float frames hold, where their values tell; a note says why.

    Args:
        record: of a file; its probe may help.
        growing: whether frames are still to come; then the first ones decide.
    """
    counts = record.counts
    if counts is None or record.measurement is not None or counts.dtype.kind != "f":
        return record
    if counts.ndim != 3 or not np.prod(counts.shape):
        return record
    few = max(1, min(len(counts), SAMPLE, BLOCK_BYTES // (4 * int(np.prod(counts.shape[1:])))))
    rows = np.arange(few) if growing else np.linspace(0, len(counts) - 1, few).round().astype(np.int64)
    frames = counts.stored(rows) if isinstance(counts, Frames) else counts[rows]
    found, why = _told(frames, record)
    if found is None:
        return record
    turn = f" (--measurement {'amplitude' if found == 'counts' else 'counts'} if not)"
    note = f"{record.frames_key} is {counts.dtype} and nothing says what it holds: {why}, so taken as {found}{turn}."
    return replace(record, measurement=found, notes=(*record.notes, note))


def _told(frames: Values, record: Record) -> tuple[Literal["counts", "amplitude"] | None, str]:
    """What frames (k, H, W) hold, and why; None where nothing is clear."""
    good = np.all(np.isfinite(frames) & (frames >= 0), axis=0)
    if record.good_pixels is not None and record.good_pixels.shape == good.shape:
        good &= record.good_pixels
    values = frames[:, good]
    values = values[values > 0]
    for unit in _units(values):
        if _whole(values, unit, 1):
            scale = "" if unit == 1 else f" times {readable(unit)}, which is one photon (divide by it)"
            return "counts", f"its values are whole numbers{scale}"
        if _whole(values, unit, 2):
            photons = np.square(values, dtype=np.float64).sum() / unit**2 / len(frames)
            scale = "" if unit == 1 else f" times {readable(unit**2)} (as of --nphotons {readable(photons)})"
            return "amplitude", f"the squares of its values are whole numbers{scale}"
    probe = record.probe
    if probe is not None and probe.ndim == 3 and probe.shape[1:] == good.shape and _looks_counted(frames, good, probe):
        return "counts", "the probe holds as many photons"
    return None, ""


def _units(values: Values) -> Iterator[float]:
    """What a photon may be: 1, or the least value there is."""
    yield 1.0
    if values.size:
        yield float(values.min())


def _whole(values: Values, unit: float, power: int) -> bool:
    """Whether ``(values / unit)^power`` are whole; 0 and 1 do not tell, they are their own squares."""
    exact = unit == 1 and power == 1
    rounding = float(np.finfo(values.dtype).eps)
    most = 1 / (8 * rounding) if exact else min(LARGEST, NEAR / (4 * rounding))
    multiples = (values.astype(np.float64) / unit) ** power
    told = multiples[(multiples > 1.5) & (multiples < most)]
    return told.size >= ENOUGH and float((abs(told - np.rint(told)) < NEAR).mean()) >= WHOLE


def _looks_counted(frames: Values, good: Values, probe: NDArray[np.complexfloating[Any]]) -> bool:
    """Whether a probe in sqrt(photons) made frames of counts, and could not have made their squares."""
    far = far_intensity(probe.astype(np.complex128)).astype(np.float64)
    seen = float(far[good].sum())
    light = np.where(good, frames, 0).astype(np.float64)
    light = np.where(good, frames, 0).astype(np.float64)
    tops = [brightest(photons.sum(axis=(1, 2))) for photons in (light, np.square(light))]
    if not (seen > 0 and min(tops) > 0 and LOWEST <= seen / tops[0] <= HIGHEST):
        return False
    if LOWEST / FAR < seen / tops[1] < HIGHEST * FAR:
        return False
    return misfit(light.mean(axis=0), far, good) < misfit(np.square(light).mean(axis=0), far, good)
