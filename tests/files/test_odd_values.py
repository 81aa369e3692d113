"""HDF5 files in which one dataset, group or attribute is something else: taken, or refused for what is wrong."""

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.errors import PtychoError
from ptychopinn.files import geometry
from ptychopinn.files.formats import registry
from ptychopinn.files.formats.npz import record_of, write_npz
from ptychopinn.scan.scan import Scan
from tests.files.writers import WRITERS

PIXEL = 2e-8

ODD: tuple[Any, ...] = (
    *(None, np.nan, -1.0, 0, "text", b"bytes", 1j, np.zeros(0), np.ones(3), np.ones((2, 2)), np.ones((1, 1, 1, 1))),
    *(np.array([b"a", b"b"]), np.full((3, 3, 3), np.inf), np.bool_(True), 2**63, np.ones(3, "f4,i4")),
)


def spots(file: h5py.File) -> list[tuple[str, str | None]]:
    """Every dataset and every attribute, as (name, attribute)."""
    found: list[tuple[str, str | None]] = [("/", key) for key in file.attrs]

    def note(name: str, item: h5py.Dataset | h5py.Group) -> None:
        found.extend([(name, None)] + [(name, key) for key in item.attrs])

    file.visititems(note)
    return found


@pytest.mark.parametrize("name", [*WRITERS, "product.h5", "scan.cxi"])
def test_any_odd_value_is_taken_or_refused(tiny_scan: Scan, tmp_path: Path, name: str) -> None:
    """Each dataset, group and attribute in turn becomes something else, of any kind."""
    small = tiny_scan.subset(slice(0, 20)).crop(8)
    if name in WRITERS:
        WRITERS[name](tmp_path / name, small, PIXEL)
    else:
        to = "cxi" if name.endswith("cxi") else "ptychodus-product"
        given = geometry.Geometry(pixel_size=PIXEL, energy_eV=8e3, distance_m=1.0)
        registry.write(tmp_path / name, to, registry.prepared(record_of(small), to, given))
    content = (tmp_path / name).read_bytes()
    with h5py.File(tmp_path / name) as file:
        places = spots(file)
    write_npz(tmp_path / "small.npz", small)
    for (place, key), value in itertools.product(places, ODD):
        (tmp_path / name).write_bytes(content)
        with h5py.File(tmp_path / name, "r+") as file:
            holder, entry = (file, place) if key is None else (file[place].attrs, key)
            del holder[entry]
            if value is not None:
                holder[entry] = value
        try:
            read_scan(tmp_path / name, probe=str(tmp_path / "small.npz"))
        except PtychoError as error:
            assert "\n" not in str(error), (place, key, value)
            assert "is no readable HDF5 file" not in str(error), (place, key, value, str(error))
