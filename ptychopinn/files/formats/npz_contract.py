"""What an NPZ scan may hold: keys, shapes and types, as a model of pydantic; docs/formats.md prints its schema."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema

from ptychopinn.errors import PtychoError
from ptychopinn.files.naming import naming
from ptychopinn.files.values import Array, as_column, as_complex, as_good, as_stack
from ptychopinn.json_reader import parse_json, validated

Number = Annotated[float, Field(gt=-1e300, lt=1e300)]
Pair = Annotated[tuple[Number, Number], Field(strict=False)]


class Metadata(BaseModel):
    """The JSON object in ``_metadata``; unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    measurement: str | None = Field(None, description="what float frames hold: counts or amplitude")
    order: Any = Field(None, description="nyx: frames come first, (n, N, N)")
    pixel_size_m: float | None = Field(None, gt=1e-15, lt=1, description="edge of an object pixel, metres")
    photon_energy_eV: Number | None = Field(None, description="electronvolts")  # noqa: N815 - eV is the unit
    detector_object_distance_m: Number | None = Field(None, description="metres")
    detector_pixel_m: Pair | None = Field(None, description="height and width, metres")
    origin_m: Pair | None = Field(None, description="(y, x) of object pixel coordinate 0, metres")
    near_field: str | None = Field(None, description="why the data are no far-field data")
    extra: Any = Field(None, description="texts and numbers that only other formats know")
    provenance: Any = Field(None, description="how a simulated scan or a view was made, an object")


def _metadata(stored: Array) -> Metadata:
    """Metadata decide whether frames are counts: what cannot be read is refused."""
    what = 'metadata such as {"measurement": "counts"}'
    with naming("_metadata"):
        if stored.size != 1 or stored.dtype.kind not in "US":
            raise PtychoError(f"shape {stored.shape}, dtype {stored.dtype}; a text with an object of {what} is needed.")
        return validated(Metadata, parse_json(stored.item(), what, finite=False))


def _by(convert: Callable[[Array, str], Array]) -> AfterValidator:
    """A converter of ``(array, key)`` as a step of pydantic."""

    def step(value: Array, info: ValidationInfo) -> Array:
        return convert(value, str(info.field_name))

    return AfterValidator(step)


def _schema(shape: str, dtype: str) -> WithJsonSchema:
    return WithJsonSchema({"shape": shape, "dtype": dtype})


Frames = Annotated[
    Any,
    _by(as_stack),
    _schema("(n, N, N) or (rows, columns, N, N)", "whole numbers: counts; floats: counts or amplitudes"),
]
Column = Annotated[Any, _by(as_column), _schema("(n,) or (rows, columns)", "real")]
Field2D = Annotated[Any, _by(as_complex), _schema("(H, W)", "complex or real")]
Modes = Annotated[Any, _by(as_complex), _schema("(N, N) or (modes, N, N)", "complex or real")]
Mask = Annotated[Any, _by(as_good), _schema("(N, N)", "bool or whole numbers")]
Index = Annotated[Any, _schema("(n,)", "whole numbers")]
Text = Annotated[Any, BeforeValidator(_metadata), _schema("()", "text")]


class NpzScan(BaseModel):
    """The arrays of an NPZ scan, checked and converted; what is not there is None."""

    model_config = ConfigDict(frozen=True)

    xcoords: Column = Field(None, description="x of each frame on the object, pixels")
    ycoords: Column = Field(None, description="y of each frame on the object, pixels")
    metadata: Text = Field(Metadata(), alias="_metadata", description="JSON object, see below")
    diffraction: Frames = Field(None, description="frames, zero frequency at [N/2, N/2]; also (N, N, n)")
    diff3d: Frames = Field(None, description="the same, where diffraction is not there")
    probeGuess: Modes = Field(None, description="illumination, square roots of photons")  # noqa: N815
    objectGuess: Field2D = Field(None, description="transmission of the sample")  # noqa: N815
    bad_pixels: Mask = Field(None, description="detector pixels to ignore: True, or not 0; read as good pixels")
    scan_index: Index = Field(None, description="number of the scan, in a file of several")
    xcoords_start: Column = Field(None, description="checked, not used")
    ycoords_start: Column = Field(None, description="checked, not used")
    Y: Annotated[Any, _schema("(n, ...)", "any")] = Field(None, description="true patches; not read")
