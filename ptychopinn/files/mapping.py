"""The map that names the datasets of any HDF5 file."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ptychopinn.errors import PtychoError, shortened


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FramesMap(_Part):
    """Where the frames are."""

    dataset: str
    order: Literal["nyx", "nxy", "yxn", "xyn"] = "nyx"
    zero_frequency: Literal["centre", "corner"] = "centre"
    measurement: Literal["counts", "amplitude"] | None = None


class PositionsMap(_Part):
    """Where the positions are: ``x`` and ``y``, or one ``dataset`` with its ``columns``."""

    x: str | None = None
    y: str | None = None
    dataset: str | None = None
    columns: Literal["yx", "xy", "yxz", "xyz", "zyx"] = "yx"
    order: Literal["nx", "xn"] = Field("nx", description="frames along the first axis, or along the second")
    unit: str = "px"
    sign: dict[Literal["x", "y"], Literal[1, -1]] = {}


class QuantityMap(_Part):
    """A number: where it is, or what it is."""

    dataset: str | None = None
    value: float | None = None
    unit: str | None = None


class MaskMap(_Part):
    """Where the mask of the detector is, and which of its values mean bad."""

    dataset: str
    bad: Literal["nonzero", "zero"] = "nonzero"


class FileMap(_Part):
    """All that a map may say."""

    frames: FramesMap
    positions: PositionsMap
    probe: str | None = None
    object: str | None = None
    bad_pixels: MaskMap | None = None
    energy: QuantityMap | None = None
    wavelength: QuantityMap | None = None
    distance: QuantityMap | None = None
    detector_pixel: QuantityMap | None = None
    pixel_size: QuantityMap | None = None


def read_file_map(path: Path) -> dict[str, Any]:
    """A map as plain values.

    Raises:
        PtychoError: when it is no JSON, or names what a map does not know.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        layout = FileMap.model_validate(values)
    except OSError as error:
        raise PtychoError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "map"
        given = shortened(repr(first["input"]))
        need = "An object with its keys is needed" if first["type"] == "model_type" else first["msg"].rstrip(".")
        raise PtychoError(f"{path}: {where}: {given} given. {need}.") from None
    except (ValueError, RecursionError) as error:
        raise PtychoError(f"{path}: is not JSON: {error}.") from None
    places = layout.positions
    if places.dataset is None and (places.x is None or places.y is None):
        raise PtychoError(f"{path}: positions: x and y, or dataset, are needed.")
    for name in ("energy", "wavelength", "distance", "detector_pixel", "pixel_size"):
        quantity = getattr(layout, name)
        if quantity is not None and (quantity.dataset is None) == (quantity.value is None):
            raise PtychoError(f"{path}: {name}: either dataset or value is needed.")
    return layout.model_dump(exclude_none=True)
