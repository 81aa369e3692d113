"""The contract of an NPZ scan: what docs/formats.md prints is the schema of the model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.files.formats.npz_contract import Metadata, NpzScan

DOC = Path(__file__).parents[3] / "docs" / "formats.md"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def kind(field: dict[str, Any]) -> str:
    """The JSON type of a field that may be absent."""
    kinds = [each.get("type", "any") for each in field.get("anyOf", [])]
    return next((each for each in kinds if each != "null"), "any")


def test_the_documentation_prints_the_arrays() -> None:
    text = DOC.read_text(encoding="utf-8")
    for name, field in NpzScan.model_json_schema()["properties"].items():
        assert row(f"`{name}`", field["shape"], field["dtype"], field["description"]) in text


def test_the_documentation_prints_the_metadata() -> None:
    text = DOC.read_text(encoding="utf-8")
    for name, field in Metadata.model_json_schema()["properties"].items():
        assert row(f"`{name}`", kind(field), field["description"]) in text


def test_what_is_not_there_is_none_and_unknown_keys_are_ignored() -> None:
    found = NpzScan.model_validate({"xcoords": np.arange(3), "colour": np.zeros(2)})
    assert found.xcoords.dtype == np.float64
    assert found.ycoords is None
    assert found.metadata == Metadata()


@pytest.mark.parametrize("text", ['{"measurement": "counts", "measurement": "amplitude"}', '{"photon_energy_eV": NaN}'])
def test_metadata_of_two_minds_are_refused(text: str) -> None:
    with pytest.raises(PtychoError, match="^_metadata: "):
        NpzScan.model_validate({"_metadata": np.array(text)})
