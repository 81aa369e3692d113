"""Frames that are odd or not square, cropped to an even square before a scan is made of them."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.files.record import Record
from ptychopinn.files.values import Array
from ptychopinn.physics.fourier import fourier_crop
from ptychopinn.scan.arrays import even_square
from ptychopinn.scan.frames import window
from ptychopinn.scan.scan import resample


def as_square(record: Record, size: int | None) -> Record:
    """A record whose odd or non-square frames (n, H, W) are cropped to ``size``, the zero frequency at [H//2, W//2].

    An object pixel grows by H / size and W / size. A probe (m, H, W) is cropped in Fourier space, positions shrink. A
    probe (m, size, size) belongs to the cropped detector already, and so do positions in pixels. Other frames, and
    all frames without a size, stay as they are.

    Raises:
        PtychoError: for a size that does not fit, or a probe or mask of another shape.
    """
    if record.counts is None or record.counts.ndim != 3 or size is None or even_square(record.counts.shape):
        return record
    full = int(record.counts.shape[1]), int(record.counts.shape[2])
    if size > min(full) or size % 2 or size < 8:
        most = min(full) // 2 * 2
        raise IncurableError(
            f"crop: {size} given; the frames are {full[0]} x {full[1]}, an even number from 8 to {most} is needed."
        )
    rows, columns = (slice(edge // 2 - size // 2, edge // 2 - size // 2 + size) for edge in full)
    if record.good_pixels is not None and record.good_pixels.shape != full:
        raise PtychoError(f"bad_pixels: shape {record.good_pixels.shape}; the frames are {full}.")
    record = replace(
        record,
        counts=window(record.counts, rows, columns),
        good_pixels=None if record.good_pixels is None else record.good_pixels[rows, columns],
    )
    return _coarser(record, full, size) if _on_frames(record, full, size) else _as_cropped(record, full, size)


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
        cropped = probe if probe.shape[-2:] == (size, size) else fourier_crop(torch.from_numpy(probe), size).numpy()
        return cropped.astype(np.complex64)
