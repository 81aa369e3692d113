"""Frames that are odd or not square, cropped to an even square before a scan is made of them."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.files.record import Record
from ptychopinn.files.values import Array
from ptychopinn.scan.arrays import even_square
from ptychopinn.scan.frames import Frames, window
from ptychopinn.scan.probe.light import cropped as cropped_probe
from ptychopinn.scan.scan import resample

SAMPLE = 64
"""Frames, spread over the scan, that are looked at."""


def as_square(record: Record, size: int | None) -> Record:
    """A record whose odd or non-square frames (n, H, W) are cropped to an even square around [H // 2, W // 2].

    Its edge N is the largest, or ``size`` where that is the size of the probe; :meth:`Scan.crop` goes on from there.
    An object pixel grows by H / N and W / N. A probe (m, H, W) is cropped in Fourier space, positions shrink. A probe
    (m, N, N) belongs to the cropped detector already, and so do positions in pixels; so does a probe that was padded
    with zeros like the frames. Other frames, and all frames without a size, stay as they are.

    Raises:
        PtychoError: for a size that does not fit, or a probe or mask of another shape.
    """
    if record.counts is None or record.counts.ndim != 3 or size is None or even_square(record.counts.shape):
        return record
    full, most = (int(record.counts.shape[1]), int(record.counts.shape[2])), min(record.counts.shape[1:]) // 2 * 2
    if size > most or size % 2 or size < 8:
        raise IncurableError(
            f"crop: {size} given; the frames are {full[0]} x {full[1]}, an even number from 8 to {most} is needed."
        )
    if record.good_pixels is not None and record.good_pixels.shape != full:
        raise PtychoError(f"bad_pixels: shape {record.good_pixels.shape}; the frames are {full}.")
    if record.probe is not None and record.probe.shape[-2:] == (size, size):
        return _cut(record, full, size)
    padded = [edge for edge in (most, size) if _is_padded(record, *_middle(full, edge))]
    if not padded:
        return _cut(record, full, most)
    assert record.probe is not None
    note = f"Frames and probe were padded with zeros to {full[0]} x {full[1]}: the padding is cut off."
    rows, columns = _middle(full, padded[0])
    return _cut(replace(record, probe=record.probe[..., rows, columns], notes=(*record.notes, note)), full, padded[0])


def _middle(full: tuple[int, int], size: int) -> tuple[slice, slice]:
    """Rows and columns around the zero frequency."""
    low = [edge // 2 - size // 2 for edge in full]
    return slice(low[0], low[0] + size), slice(low[1], low[1] + size)


def _cut(record: Record, full: tuple[int, int], size: int) -> Record:
    """Frames, mask and what depends on the object pixel, of the cropped detector."""
    assert record.counts is not None
    rows, columns = _middle(full, size)
    good = None if record.good_pixels is None else record.good_pixels[rows, columns]
    record = replace(record, counts=window(record.counts, rows, columns), good_pixels=good)
    return _coarser(record, full, size) if _on_frames(record, full, size) else _as_cropped(record, full, size)


def _is_padded(record: Record, rows: slice, columns: slice) -> bool:
    """Whether somebody padded frames and probe: what is cut off is zero in both, and its neighbours are not.

    A detector, or the tail of a probe, does not end in zeros so sharply.
    """
    counts = record.counts
    if counts is None or record.probe is None or record.probe.shape[-2:] != counts.shape[1:] or not len(counts):
        return False
    if isinstance(counts, Frames) and record.good_pixels is not None:
        counts = counts.masked(record.good_pixels)  # markers of bad pixels are no counts
    some = np.unique(np.linspace(0, len(counts) - 1, min(len(counts), SAMPLE)).astype(np.int64))
    light = np.asarray(counts[some]).astype(np.float64).sum(axis=0)
    return all(_ends_at(part, rows, columns) for part in (light, abs(record.probe).sum(axis=0)))


def _ends_at(light: NDArray[np.floating[Any]], rows: slice, columns: slice) -> bool:
    """Whether an image (H, W) is zero outside of some rows and columns, and not on the edge that it is cut along."""
    inside, outside = light[rows, columns], light.copy()
    outside[rows, columns] = 0
    edges = inside[0], inside[-1], inside[:, 0], inside[:, -1]
    cut = rows.start, light.shape[0] - rows.stop, columns.start, light.shape[1] - columns.stop
    return not outside.any() and all(edge.any() for edge, many in zip(edges, cut, strict=True) if many)


def _on_frames(record: Record, full: tuple[int, int], size: int) -> bool:
    """Whether the object pixel of probe and positions is that of the whole frames, not of the cropped ones."""
    shape = full if record.probe is None else record.probe.shape[-2:]
    if shape not in (full, (size, size)):
        raise IncurableError(
            f"probe: shape {None if record.probe is None else record.probe.shape}; {full[0]} x {full[1]} pixels, as "
            f"the frames, or {size} x {size}, as the cropped frames, are needed."
        )
    measured = record.pixel_m is not None and (full[0] == full[1] or not np.isclose(*record.pixel_m, rtol=1e-6))
    return shape == full or (record.metric and measured)


def _as_cropped(record: Record, full: tuple[int, int], size: int) -> Record:
    note = (
        f"Detector cropped from {full[0]} x {full[1]} to {size}: probe and positions are taken for those of the "
        f"cropped detector, as the probe has {size} x {size} pixels."
    )
    return replace(record, notes=(*record.notes, note))


def _coarser(record: Record, full: tuple[int, int], size: int) -> Record:
    """Positions, probe and object with the object pixel of the cropped detector."""
    growth = np.array(full) / size
    notes = [
        f"Detector cropped from {full[0]} x {full[1]} to {size}: object pixels are {growth[0]:.4g}x, {growth[1]:.4g}x "
        "larger along y, x."
    ]
    image = record.object
    if image is not None and full[0] != full[1]:
        image = None
        notes.append("objectGuess dropped: its pixels are not square.")
    pixel = record.pixel_m
    return replace(
        record,
        positions=None if record.positions is None else record.positions / growth,
        probe=None if record.probe is None else _probe(record.probe, size),
        object=None if image is None else resample(image.astype(np.complex64), size, full[0]),
        pixel_m=None if pixel is None else (float(pixel[0] * growth[0]), float(pixel[1] * growth[1])),
        notes=(*record.notes, *notes),
    )


def _probe(probe: Array, size: int) -> NDArray[np.complex64]:
    """(m, size, size) of (m, H, W)."""
    with np.errstate(over="ignore", invalid="ignore"):  # Scan refuses values that are not finite
        cropped = probe if probe.shape[-2:] == (size, size) else cropped_probe(probe, size)
        return cropped.astype(np.complex64)
