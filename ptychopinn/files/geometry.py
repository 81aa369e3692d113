"""What a format needs and a file does not say, given or made up: pixel size, energy, distance, an object."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files.record import HC_EV_M, Record

DUMMY_PIXEL_M, DUMMY_ENERGY_EV, DUMMY_DISTANCE_M = 1e-8, 1e4, 1.0
"""Placeholders for what a file does not know and the user will not say."""


class Completion(NamedTuple):
    """What to write where the file does not know: metres and electronvolts; placeholders when ``dummy``."""

    pixel_size: float | None = None
    energy_eV: float | None = None  # noqa: N815 - eV is the unit
    distance_m: float | None = None
    dummy: bool = False


def with_pixel(record: Record, pixel: float | None) -> Record:
    """A record with the pixel size that the user gives, where the file has none; a line where it has another."""
    if pixel is None:
        return record
    if record.pixel_m is None:
        return replace(record, pixel_m=(pixel, pixel))
    if np.allclose(record.pixel_m, pixel, rtol=1e-6, atol=0):
        return record
    note = f"pixel_size {pixel:g} m is not used: the file has {record.pixel_m[0]:.6g} x {record.pixel_m[1]:.6g} m."
    return record if note in record.notes else replace(record, notes=(*record.notes, note))


def completed(record: Record, to: str, given: Completion) -> Record:
    """A record with what the user says where the file says nothing, and for metric formats all that they need.

    Raises:
        PtychoError: when the pixel size is not known.
    """
    record = with_pixel(record, given.pixel_size)
    energy, heard = _known("--energy", record.energy_eV, given.energy_eV, "eV")
    distance, more = _known("--distance", record.distance_m, given.distance_m, "m")
    record = replace(record, energy_eV=energy, distance_m=distance, notes=(*record.notes, *heard, *more))
    return record if to in ("npz", "tiff") else _with_object(_with_geometry(record, given), to)


def _known(flag: str, stored: float | None, given: float | None, unit: str) -> tuple[float | None, list[str]]:
    """What the file says or else the user, and a line where the user says something else."""
    if not stored or given is None:
        return stored or given, []
    same = np.isclose(stored, given, rtol=1e-6, atol=0)
    return stored, [] if same else [f"{flag} {given:g} {unit} is not used: the file has {stored:.6g} {unit}."]


def _with_geometry(record: Record, given: Completion) -> Record:
    """Pixel, energy and distance, and the detector pixel that belongs to them; ``comments`` say what was made up."""
    if record.pixel_m is None and not given.dummy:
        raise PtychoError(
            "pixel size: not known, and positions are written in metres; give --pixel-size M, or --dummy-geometry for "
            "placeholders."
        )
    pixel = record.pixel_m or (DUMMY_PIXEL_M, DUMMY_PIXEL_M)
    energy, distance = record.energy_eV, record.distance_m
    known = {"pixel": None if record.made_up else record.pixel_m, "energy": energy, "distance": distance}
    made = ", ".join(name for name, value in known.items() if value is None)
    energy, distance = energy or DUMMY_ENERGY_EV, distance or DUMMY_DISTANCE_M
    shape = (
        record.probe.shape if record.probe is not None else record.counts.shape if record.counts is not None else None
    )
    detector = record.detector_pixel_m
    if shape is not None:
        reach = HC_EV_M / energy * distance
        detector = reach / (shape[-2] * pixel[0]), reach / (shape[-1] * pixel[1])
    extra = dict(record.extra)
    if made:
        said = str(extra.get("comments", ""))
        remark = f"ptychopinn: placeholders, not measured: {made}."
        extra["comments"] = said if remark in said else f"{said} {remark}".strip()
        extra["made_up_geometry"] = made
    return replace(
        record,
        pixel_m=pixel,
        energy_eV=energy,
        distance_m=distance,
        detector_pixel_m=detector,
        made_up=known["pixel"] is None,
        extra=extra,
    )


def _with_object(record: Record, to: str) -> Record:
    """Vacuum under all patches, for a format that needs an object and a record without one."""
    if record.object is not None or to != "ptychodus-product" or record.positions is None or record.probe is None:
        return record
    shape = np.ceil(record.positions.max(axis=0)).astype(int) + record.probe.shape[-1] // 2 + 1
    extra: dict[str, Any] = dict(record.extra)
    extra["comments"] = f"{extra.get('comments', '')} ptychopinn: no object was given, it is vacuum.".strip()
    return replace(record, object=np.ones(np.maximum(shape, record.probe.shape[-2:]), np.complex64), extra=extra)


def metric(record: Record, places_m: NDArray[np.float64], pixel: tuple[float, float], size: int) -> Record:
    """With positions from metres (y, x), the first patch in the corner of the image."""
    if not np.isfinite(places_m).all():
        raise PtychoError("positions: hold NaN or infinity.")
    low = places_m.min(axis=0)
    origin = float(low[0] - pixel[0] * size / 2), float(low[1] - pixel[1] * size / 2)
    return replace(
        record, positions=(places_m - origin) / np.array(pixel), pixel_m=pixel, origin_m=origin, metric=size > 0
    )
