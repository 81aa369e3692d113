"""Geometry of the experiment: pixel size, energy and distance that a file lacks, given or made up; metres to pixels."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import PtychoError
from ptychopinn.files.record import Record
from ptychopinn.files.values import check_finite, object_pixel

DUMMY_PIXEL_M, DUMMY_ENERGY_EV, DUMMY_DISTANCE_M = 1e-8, 1e4, 1.0
"""Placeholders for values that neither the file nor the user gives."""


Length = TypeVar("Length", float, tuple[float, float])


class Geometry(NamedTuple):
    """Values of the user for a file that lacks them, in metres and electronvolts; placeholders when ``dummy``."""

    pixel_size: float | None = None
    energy_eV: float | None = None  # noqa: N815 - eV is the unit
    distance_m: float | None = None
    dummy: bool = False


def with_pixel(record: Record, pixel: float | None) -> Record:
    """A record with the pixel size of the user where the file has none; a note where the file has another."""
    edges, notes = _known("pixel_size", record.pixel_m, None if pixel is None else (pixel, pixel), "m")
    doubted = ["the file and --pixel-size disagree"] if notes else []
    return replace(
        record,
        pixel_m=edges,
        notes=tuple(dict.fromkeys((*record.notes, *notes))),
        doubted=tuple(dict.fromkeys((*record.doubted, *doubted))),
    )


def with_given(record: Record, to: str, given: Geometry) -> Record:
    """A record with the values of the user where the file has none, and all that a metric format ``to`` needs.

    Raises:
        PtychoError: when the pixel size is not known.
    """
    record = with_pixel(record, given.pixel_size)
    energy, heard = _known("--energy", record.energy_eV, given.energy_eV, "eV")
    distance, more = _known("--distance", record.distance_m, given.distance_m, "m")
    record = replace(record, energy_eV=energy, distance_m=distance, notes=(*record.notes, *heard, *more))
    return record if to in ("npz", "tiff") else _with_object(_with_geometry(record, given), to)


def _known(name: str, stored: Length | None, given: Length | None, unit: str) -> tuple[Length | None, list[str]]:
    """The value of the file, or else that of the user; a note where the two differ."""
    if not stored or given is None:
        return stored or given, []
    if np.allclose(stored, given, rtol=1e-6, atol=0):
        return stored, []
    here = " x ".join(f"{value:.6g}" for value in np.ravel(stored))
    return stored, [f"{name} {np.ravel(given)[0]:g} {unit} is not used: the file has {here} {unit}."]


def _with_geometry(record: Record, given: Geometry) -> Record:
    """A record with pixel, energy, distance and the detector pixel that fits them; ``comments`` name placeholders."""
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
    frames = record.counts if record.probe is None else record.probe
    # The relation of object and detector pixels is symmetric.
    detector = (
        record.detector_pixel_m
        if frames is None
        else (object_pixel(energy, distance, pixel, frames.shape, record.particle))
    )
    extra = dict(record.extra)
    if made:
        extra = _with_comment(extra, f"placeholders, not measured: {made}.") | {"made_up_geometry": made}
    return replace(
        record,
        pixel_m=pixel,
        energy_eV=energy,
        distance_m=distance,
        detector_pixel_m=detector,
        made_up=known["pixel"] is None,
        extra=extra,
    )


def _with_comment(extra: Mapping[str, Any], remark: str) -> dict[str, Any]:
    said, remark = str(extra.get("comments", "")), f"ptychopinn: {remark}"
    return {**extra, "comments": said if remark in said else f"{said} {remark}".strip()}


def _with_object(record: Record, to: str) -> Record:
    """A record with vacuum under all patches where the format needs an object and the record has none."""
    if record.object is not None or to != "ptychodus-product" or record.positions is None or record.probe is None:
        return record
    shape = np.ceil(record.positions.max(axis=0)).astype(int) + record.probe.shape[-1] // 2 + 1
    extra = _with_comment(record.extra, "no object was given, it is vacuum.")
    return replace(record, object=np.ones(np.maximum(shape, record.probe.shape[-2:]), np.complex64), extra=extra)


def without_placeholders(record: Record, made_up: str) -> Record:
    """A record without the placeholders that its file marks: ``made_up`` names pixel, energy or distance."""
    if not made_up:
        return record
    return replace(
        record,
        energy_eV=None if "energy" in made_up else record.energy_eV,
        distance_m=None if "distance" in made_up else record.distance_m,
        detector_pixel_m=None,
        made_up="pixel" in made_up,
        metric=record.metric and "pixel" not in made_up,
        notes=(*record.notes, f"Placeholders, not measured: {made_up}."),
    )


def in_pixels(
    record: Record,
    places_m: NDArray[np.float64],
    pixel: tuple[float, float] | None = None,
    origin: tuple[float, float] | None = None,
    gaps: bool = False,
) -> Record:
    """A record with positions converted from metres to pixels.

    Args:
        record: without positions.
        places_m: (n, 2), (y, x) in metres.
        pixel: of the object, metres; the one that the geometry of the record gives when None.
        origin: metres of pixel coordinate 0; when None the first patch touches the corner of the image.
        gaps: whether some positions may be NaN.
    """
    if not gaps:
        check_finite(places_m, "positions")
    pixel = pixel or record.far_field_pixel
    assert pixel is not None
    size = 0 if record.counts is None else record.counts.shape[-1]
    places_m = np.where(np.isfinite(places_m), places_m, np.nan)  # a wrong one does not move the others
    low = np.nanmin(places_m, axis=0)
    origin = origin or (float(low[0] - pixel[0] * size / 2), float(low[1] - pixel[1] * size / 2))
    return replace(record, positions=(places_m - origin) / pixel, pixel_m=pixel, origin_m=origin, metric=size > 0)
