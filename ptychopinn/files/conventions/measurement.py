"""Whether float frames hold counts or amplitudes, their roots, where the file does not say.

Counts are whole multiples of one value, that of a photon; the squares of amplitudes are, as long as nothing but noise
changed them. What was averaged over many, corrected or calculated is neither. Then the probe may tell: one in
sqrt(photons) holds about the photons of the brightest frames, and its far field looks like their mean.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.files.record import Record
from ptychopinn.scan.beam import misfit
from ptychopinn.scan.frames import BLOCK_BYTES, Frames, Source
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


class Told(NamedTuple):
    """What values say: counts or amplitudes, why, and what a photon, or its root, is."""

    kind: Literal["counts", "amplitude"]
    why: str
    unit: float = 1.0


def with_measurement(record: Record, growing: bool = False) -> Record:
    """A record that says what its float frames hold, where their values tell; a note says why.

    Args:
        record: of a file; its probe may help.
        growing: whether frames are still to come; then the first ones decide, in photons only.
    """
    counts = record.counts
    if counts is None or record.measurement is not None or counts.dtype.kind != "f":
        return record
    if counts.ndim != 3 or not np.prod(counts.shape):
        return record
    few = max(1, min(len(counts), SAMPLE, BLOCK_BYTES // (4 * int(np.prod(counts.shape[1:])))))
    rows = np.arange(few) if growing else np.linspace(0, len(counts) - 1, few).round().astype(np.int64)
    frames: Values = counts.stored(rows) if isinstance(counts, Frames) else counts[rows]
    good = np.all(np.isfinite(frames) & (frames >= 0), axis=0)
    if record.good_pixels is not None and record.good_pixels.shape == good.shape:
        good &= record.good_pixels
    light = np.where(good, frames, 0).astype(np.float64)
    told = _told(frames[:, good], growing) or _told_by_probe(light, good, record.probe)
    if told is None:
        return replace(record, doubted=(*record.doubted, "the frames may be counts (--measurement counts)"))
    turn = f" (--measurement {'amplitude' if told.kind == 'counts' else 'counts'} if not)"
    unsaid = f"{record.frames_key} is {counts.dtype} and nothing says what it holds"
    note = f"{unsaid}: {told.why}, so taken as {told.kind}{turn}."
    record = replace(record, measurement=told.kind, notes=(*record.notes, note))
    return record if told.unit == 1 else _in_photons(record, told, light, good)


def _told(values: Values, growing: bool) -> Told | None:
    """What values (k, pixels) of good pixels say; None where nothing is clear."""
    values = values[values > 0]
    for unit in (1.0,) if growing or not values.size else (1.0, float(values.min())):
        times = "" if unit == 1 else " times {}, which is taken for one photon"
        if _whole(values, unit, 1):
            return Told("counts", f"its values are whole numbers{times.format(readable(unit))}", unit)
        if _whole(values, unit, 2):
            why = f"the squares of its values are whole numbers{times.format(readable(unit**2))}"
            return Told("amplitude", why, unit)
    return None


def _whole(values: Values, unit: float, power: int) -> bool:
    """Whether ``(values / unit)^power`` are whole; 0 and 1 do not tell, they are their own squares."""
    exact = unit == 1 and power == 1
    rounding = float(np.finfo(values.dtype).eps)
    most = 1 / (8 * rounding) if exact else min(LARGEST, NEAR / (4 * rounding))
    multiples = (values.astype(np.float64) / unit) ** power
    told = multiples[(multiples > 1.5) & (multiples < most)]
    return told.size >= ENOUGH and float((abs(told - np.rint(told)) < NEAR).mean()) >= WHOLE


def _told_by_probe(light: Values, good: Values, probe: Values | None) -> Told | None:
    """Counts where a probe in sqrt(photons) made them, and could not have made their squares: light (k, N, N)."""
    if probe is None:
        return None
    ratios = [_ratio(photons, good, probe) for photons in (light, np.square(light))]
    if not LOWEST <= ratios[0] <= HIGHEST or LOWEST / FAR < ratios[1] < HIGHEST * FAR:
        return None
    far = far_intensity(probe.astype(np.complex128)).astype(np.float64)
    as_counts, as_roots = (misfit(photons.mean(axis=0), far, good) for photons in (light, np.square(light)))
    return Told("counts", "the probe holds as many photons") if as_counts < as_roots else None


def _ratio(photons: Values, good: Values, probe: Values) -> float:
    """Photons of a probe on good pixels over those of the brightest frames; 0 where there are none."""
    if probe.ndim != 3 or probe.shape[1:] != good.shape:
        return 0.0
    top = brightest(photons.sum(axis=(1, 2)))
    return float(far_intensity(probe.astype(np.complex128))[good].sum()) / top if top > 0 else 0.0


def _in_photons(record: Record, told: Told, light: Values, good: Values) -> Record:
    """A record whose frames are multiples of a photon, or of its root; a probe that was in their unit stays so."""
    counts, probe = record.counts, record.probe
    assert counts is not None
    as_stored = light if told.kind == "counts" else np.square(light)
    if probe is not None and LOWEST <= _ratio(as_stored, good, probe) <= HIGHEST:
        probe = probe / told.unit ** (0.5 if told.kind == "counts" else 1.0)
    if isinstance(counts, Frames):
        return replace(record, counts=replace(counts, source=Divided(counts.source, told.unit)), probe=probe)
    return replace(record, counts=np.divide(counts, told.unit, dtype=counts.dtype), probe=probe)


@dataclass(frozen=True, eq=False)
class Divided:
    """Frames of a file in another unit; see :class:`ptychopinn.scan.frames.Source`."""

    source: Source
    unit: float

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, N, N)."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.source.dtype

    def read(self, rows: NDArray[np.int64]) -> Values:
        """Frames by number, (k,) ascending without repeats: (k, N, N)."""
        return np.divide(self.source.read(rows), self.unit, dtype=self.dtype)

    def close(self) -> None:
        """Close the file."""
        self.source.close()
