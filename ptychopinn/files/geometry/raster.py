"""Frames of a raster scan (rows, columns, H, W), as of 4D-STEM, and the positions that belong to them."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files.geometry.microscope import ANGLES, FREQUENCIES, LENGTHS, PIXELS
from ptychopinn.files.geometry.pixels import in_pixels
from ptychopinn.files.record import Reading, Record
from ptychopinn.files.values import both
from ptychopinn.physics.wavelength import wavelength
from ptychopinn.text import readable, readable_length

UNKNOWN_STEP = (
    "the step of the raster is not known; give --set scan_step='0.4 nm', or in object pixels --set scan_step='4 px'."
)
NO_LENS = "the file holds no probe; give one by --probe FILE, or by --set semiangle=MRAD with --set voltage=KV."
FLOATS = "The frames are floats: taken as electrons, what is negative as 0."

UNKNOWN_PIXEL = (
    "the size of an object pixel is not known, and the step of the raster is a length; give --set q_pixel='0.02 A^-1', "
    "or '0.5 mrad' with --set voltage=KV, or --pixel-size METRES."
)


class Calibration(NamedTuple):
    """What a file says about its raster; None where it does not.

    Attributes:
        step: of the scan (y, x), and its unit, as in the file.
        q_step: size of a detector pixel (y, x) as angle or spatial frequency, and its unit.
        rotation_deg: from the scan's axes to the detector's, from +x towards +y.
        transpose: whether x and y of the scan are exchanged, after the rotation.
        voltage: of the microscope, kV.
    """

    step: tuple[tuple[float, float], str] | None = None
    q_step: tuple[tuple[float, float], str] | None = None
    rotation_deg: float = 0.0
    transpose: bool = False
    voltage: float | None = None


@dataclass(eq=False)
class Cube:
    """Frames of an array (rows, columns, H, W) or (n, H, W), opened anew by every process that reads it.

    Attributes:
        open: makes the array; it can be pickled.
        full: shape of the array.
        dtype: of the values.
        keep: rows of a frame that are light, of frames that carry more.
        axes: of an array (rows, columns, H, W) in another order, which of its axes they are; ``full`` is in ours.
        corner: whether the zero frequency is stored at [0, 0].
    """

    open: Callable[[], Any]
    full: tuple[int, ...]
    dtype: np.dtype[Any]
    keep: int | None = None
    axes: tuple[int, ...] = (0, 1, 2, 3)
    corner: bool = False
    _open: tuple[int, Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W), n row by row of the scan."""
        return (int(np.prod(self.full[:-2])), self.keep or self.full[-2], self.full[-1])

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Frames by number, ascending without repeats: (k, H, W); negative floats read as 0.

        They are the noise of the electronics around 0. A negative integer marks a bad pixel: it stays and is refused.
        """
        array, columns = self._array(), self.full[-3]
        parts = [np.empty((0, *self.shape[1:]), self.dtype)]
        for row in np.unique(rows // columns):
            inside = rows[rows // columns == row] - row * columns
            first, after = int(inside[0]), int(inside[-1]) + 1
            line = array[first:after] if len(self.full) == 3 else self._line(array, int(row), slice(first, after))
            parts.append(np.asarray(line)[inside - first, : self.keep])
        found = np.concatenate(parts)
        found = np.fft.fftshift(found, axes=(1, 2)) if self.corner else found
        return np.maximum(found, 0) if found.dtype.kind == "f" else found  # NaN stays and is refused

    def _line(self, array: Any, row: int, columns: slice) -> NDArray[Any]:
        """Frames of a row of the scan, (columns, H, W)."""
        index: list[int | slice] = [slice(None)] * 4
        index[self.axes[0]], index[self.axes[1]] = row, columns
        left = [axis for axis in range(4) if axis != self.axes[0]]
        return np.asarray(array[tuple(index)]).transpose([left.index(axis) for axis in self.axes[1:]])

    def _array(self) -> Any:
        process = os.getpid()  # a forked process must not share the file of its parent
        if self._open is None or self._open[0] != process:
            self._open = (process, self.open())
        return self._open[1]

    def close(self) -> None:
        """Close the array, which the next read opens again."""
        self._open = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None}


def check_cube(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an array that cannot be frames of a raster.

    Raises:
        PtychoError: naming it.
    """
    if len(shape) not in (3, 4) or dtype.kind not in "uif" or not all(shape):
        raise PtychoError(
            f"{name}: shape {shape}, dtype {dtype}; real frames (rows, columns, H, W) or (n, H, W) are needed."
        )


def raster_shape(name: str, full: tuple[int, ...], told: tuple[int, int] | None) -> tuple[tuple[int, int], list[str]]:
    """Rows and columns of the scan whose frames have the shape ``full``, and what was assumed.

    Args:
        name: of the frames.
        full: (rows, columns, H, W) or (n, H, W).
        told: rows and columns that somebody says.

    Raises:
        PtychoError: when they are not known, or others than there are.
    """
    count = int(np.prod(full[:-2]))
    if told is not None:
        if told[0] * told[1] != count or (len(full) == 4 and told != full[:2]):
            there = f"{full[0]} x {full[1]}" if len(full) == 4 else f"{count}"
            raise PtychoError(f"{name}: {there} frames, but scan_shape says {told[0]} x {told[1]}.")
        return told, []
    if len(full) == 4:
        return (full[0], full[1]), []
    side = round(count**0.5)
    if side * side != count:
        raise PtychoError(f"{name}: {count} frames in one row; give --set scan_shape=ROWSxCOLUMNS.")
    return (side, side), [f"{count} frames are taken as a raster of {side} x {side}; else give --set scan_shape."]


def on_raster(record: Record, shape: tuple[int, int], said: Calibration, how: Reading) -> Record:
    """A record with the positions of a raster, and the geometry of its microscope.

    Frame (i, j) is at ``i * step_y, j * step_x``, turned about the middle of the scan by the rotation a::

        y' = y cos a + x sin a,   x' = x cos a - y sin a

    and transposed where the file says so, as py4DSTEM does. An object pixel is ``1 / (N q)`` for detector pixels of the
    spatial frequency q, which is ``angle / wavelength``.

    Args:
        record: with frames.
        shape: rows and columns.
        said: what the file says.
        how: what the user says; it wins.

    Raises:
        PtychoError: for a step or pixel that is not known.
    """
    given = how.microscope
    voltage = given.voltage or said.voltage
    if voltage is not None:
        record = replace(record, particle="electron", energy_eV=1e3 * voltage)
    assert record.counts is not None
    frame = record.counts.shape[-2:]
    found = given.steps() or said.step
    if found is None or (given.scan_step is None and found[1] in PIXELS):
        raise PtychoError(UNKNOWN_STEP)
    step, unit = found
    rotation = said.rotation_deg if given.scan_rotation is None else given.scan_rotation
    places = raster_places(shape, step, rotation, said.transpose)
    pixel = _object_pixel(record, frame, said, how)
    note = f"Raster of {shape[0]} x {shape[1]} frames, steps of {_shown(step, unit)}" + _how_turned(
        rotation, said.transpose
    )
    floats = (FLOATS,) if record.counts.dtype.kind == "f" else ()
    record = replace(record, notes=(*record.notes, note, *floats))
    if unit in PIXELS:
        return replace(record, positions=places - places.min(axis=0) + np.array(frame) / 2, pixel_m=pixel)
    if unit not in LENGTHS:
        raise PtychoError(f"step of the raster: unit {unit!r}; a length or px is needed: --set scan_step='0.4 nm'.")
    if pixel is None:
        raise PtychoError(UNKNOWN_PIXEL)
    return in_pixels(record, places * LENGTHS[unit], pixel)


def raster_places(
    shape: tuple[int, int], step: tuple[float, float], degrees: float, transpose: bool
) -> NDArray[np.float64]:
    """Positions (n, 2), (y, x), of a raster in the unit of its steps (y, x); see :func:`on_raster`."""
    rows, columns = np.indices(shape, dtype=np.float64)
    places = np.stack([rows.ravel() * step[0], columns.ravel() * step[1]], axis=-1)
    angle, middle = np.deg2rad(degrees), places.mean(axis=0)
    y, x = (places - middle).T
    turned = np.stack([y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)], axis=-1) + middle
    return turned[:, ::-1].copy() if transpose else turned


def _shown(step: tuple[float, float], unit: str) -> str:
    scale = LENGTHS.get(unit)
    texts = [f"{readable(value)} px" if scale is None else readable_length(value * scale) for value in step]
    return texts[0] if step[0] == step[1] else " x ".join(texts)


def _how_turned(degrees: float, transpose: bool) -> str:
    turned = f", turned by {degrees:g} degrees" if degrees else ""
    return turned + (", x and y exchanged." if transpose else ".")


def _object_pixel(
    record: Record, frame: tuple[int, ...], said: Calibration, how: Reading
) -> tuple[float, float] | None:
    """Height and width of an object pixel in metres; None where nobody knows them."""
    found = how.microscope.q_steps() or said.q_step
    if found is None or found[1] in PIXELS:
        return record.pixel_m or both(how.pixel_size, how.pixel_size)
    frequencies = [spatial_frequency(value, found[1], record) for value in found[0]]
    return 1 / (frame[0] * frequencies[0]), 1 / (frame[1] * frequencies[1])


def spatial_frequency(value: float, unit: str, record: Record) -> float:
    """Size of a detector pixel in 1 / m, from its angle or spatial frequency.

    Raises:
        PtychoError: for another unit, or an angle without a wavelength.
    """
    if unit in FREQUENCIES:
        return value * FREQUENCIES[unit]
    if unit not in ANGLES:
        raise PtychoError(f"detector pixel: unit {unit!r}; an angle (mrad) or spatial frequency (A^-1) is needed.")
    if record.energy_eV is None:
        raise PtychoError(f"detector pixel in {unit}: the wavelength is needed; give --set voltage=KV.")
    return value * ANGLES[unit] / wavelength(record.energy_eV, record.particle)
