"""The one reader of JSON: objects without repeated keys, and the first complaint of pydantic as a sentence."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ptychopinn.errors import PtychoError, shortened

Model = TypeVar("Model", bound=BaseModel)

LARGEST = 2**26
"""Bytes of a JSON text; no file of ours is so large, and its values take up to thirty times as much memory."""

OF_SHELL = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))
"""Folders of the pipes that a shell makes, as for ``<(...)``; no other one is waited for."""

NAMES = MappingProxyType(
    {
        "list": "an array",
        "str": "a string",
        "int": "a number",
        "float": "a number",
        "bool": "true or false",
        "NoneType": "null",
    }
)
"""What JSON calls values that are no objects, by Python type."""


NEEDS = MappingProxyType(
    {
        "tuple_type": "An array is needed, such as [1000, 10000]",
        "too_long": "An array with fewer entries is needed",
        "too_short": "An array with more entries is needed",
        "dict_type": 'An object is needed, such as {"name": value}',
        "model_type": "An object with its keys is needed",
    }
)
"""What JSON calls the types of Python that pydantic asks for."""


def read_json(path: Path, what: str, finite: bool = True) -> dict[str, Any]:
    """Read a file with a JSON object of ``what``; see :func:`parse_json`.

    Raises:
        PtychoError: naming the file; also when it cannot be read.
    """
    try:
        if path.is_fifo() and path.parent not in OF_SHELL:
            raise PtychoError("is a pipe; a file is needed.")
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
        return parse_json(content, what, finite)
    except OSError as error:
        raise PtychoError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except PtychoError as error:
        raise error.of(path) from None


def parse_json(content: bytes | str, what: str, finite: bool = True) -> dict[str, Any]:
    """The JSON object of ``what`` that a text in UTF-8 holds.

    Args:
        content: the text; a byte order mark is skipped.
        what: names the object in an error message.
        finite: refuse NaN and infinity; only records that ptychopinn writes itself may hold them.

    Raises:
        PtychoError: when the text is no JSON, no object, too large or too deep, or has a key twice.
    """
    if len(content) > LARGEST:
        raise PtychoError(f"is larger than {LARGEST} bytes; an object of {what} is needed.")
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        values = json.loads(text, object_pairs_hook=_finite_object if finite else _object)
    except UnicodeDecodeError:
        raise PtychoError("is not JSON: text in UTF-8 is needed.") from None
    except RecursionError:
        raise PtychoError(f"is nested too deeply; an object of {what} is needed.") from None
    except ValueError as error:
        raise PtychoError(f"is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise PtychoError(f"holds {NAMES[type(values).__name__]}; an object of {what} is needed.")
    return values


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a repeated key: only one of its values would count."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise PtychoError(f"{shortened(twice)}: given twice; give it once.")
    return values


def _finite_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, value in pairs:
        if isinstance(value, float) and not math.isfinite(value):
            raise PtychoError(f"{shortened(name)}: {value} given. A finite number is needed.")
    return _object(pairs)


def validated(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Check values against a model.

    Raises:
        PtychoError: naming the first key that is wrong, what was given and what is needed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{place}: " for place in [".".join(map(str, first["loc"]))] if place)
        if first["type"] == "missing":
            raise PtychoError(f"{where}not there; it is needed.") from None
        if first["type"] == "value_error":
            raise PtychoError(f"{where}{first['ctx']['error']}.") from None
        need = NEEDS.get(first["type"]) or shortened(first["msg"])
        raise PtychoError(f"{where}{shortened(repr(first['input']))} given. {need}.") from None
