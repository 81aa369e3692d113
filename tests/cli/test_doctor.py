"""``doctor``: every row is true, and a filter that does not work is named."""

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ptychopinn.cli.app import app
from ptychopinn.files import filters


def test_doctor_names_versions_devices_and_filters():
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    rows = dict(line.split("  ", 1) for line in done.output.splitlines())
    assert rows["torch"] == torch.__version__.split("+")[0] or rows["torch"] == torch.__version__
    assert "Fourier transforms" in rows["cpu"]
    for name in filters.FILTERS:
        assert rows[f"HDF5, {name}"].startswith("reads ")


def test_a_filter_that_changes_numbers_or_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(filters.FILTERS, "made up", {"compression": 32999})
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "the HDF5 filter made up not working" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", list(filters.FILTERS))
def test_filters_are_those_that_files_then_have(tmp_path, name):
    options = filters.FILTERS[name]
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file.create_dataset("data", data=np.arange(64, dtype=np.uint16), chunks=(64,), **options)
        stored = file["data"].id.get_create_plist()
        assert stored.get_nfilters() == (0 if name == "none" else 1)
