"""HDF5 files that are cut short, or in which one dataset, group or attribute is wrong: read, or refused by name."""

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.errors import PtychoError
from ptychopinn.files import reading
from ptychopinn.files.formats import registry
from ptychopinn.files.formats.npz import record_of, write_npz
from ptychopinn.files.geometry.pixels import Geometry
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
        given = Geometry(pixel_size=PIXEL, energy_eV=8e3, distance_m=1.0)
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


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_a_file_cut_short_is_one_sentence(scan, pixel, tmp_path, name, share):
    WRITERS[name](tmp_path / name, scan, pixel)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(PtychoError, match=rf"{name}: is no readable HDF5 file \(it is cut short: \d+ of \d+ bytes"):
        reading.read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("scan.ptyd", "meta/distance", None, "meta/distance: not there; a positive number is needed"),
        ("scan.ptyd", "meta/psize", [0.0], r"meta/psize: \[0.0\] given; one or two positive numbers"),
        ("scan.ptyd", "chunks/1/positions", None, "chunks/1/positions: not there"),
        ("scan.ptyd", "chunks/1/positions", np.ones((3, 2)), "chunks/1/positions: 3 entries for 10 frames"),
        ("scan.ptyd", "chunks/1/positions", np.full((10, 2), np.nan), "first in frame 10, in 10 of 22"),
        (
            "scan.ptyd",
            "chunks/0/weights",
            np.ones((8, 8)),
            r"chunks/0/weights: shape \(8, 8\); the frames are \(32, 32\)",
        ),
        ("scan.ptyd", "chunks/2/data", np.ones((2, 8, 8)), "frames of different sizes"),
        ("training.h5", "photon_energy_eV", None, "photon_energy_eV: not there"),
        ("training.h5", "photon_energy_eV", -1.0, "photon_energy_eV: -1 given; a positive energy is needed"),
        (
            "training.h5",
            "probe_position_x_px",
            np.ones(5),
            "probe_position_x_px, probe_position_y_px: 5 and 22 entries",
        ),
        ("training.h5", "probe", None, "probe: not there"),
        ("training.h5", "patterns", np.ones((22, 32)), r"patterns: shape \(22, 32\)"),
        ("training.h5", "bad_pixels", np.zeros((8, 8), bool), r"bad_pixels: shape \(8, 8\)"),
        ("para.h5", "ppX", np.ones(5), "ppX, ppY: 5 and 22 entries"),
        ("para.h5", "dx", -1.0, "dx: -1 given; a positive number is needed"),
        ("nsls2.h5", "z_m", None, "z_m: not there; a positive number is needed"),
        ("nsls2.h5", "points", np.ones((3, 22)), r"points: shape \(3, 22\); \(2, n\) with x and y in um"),
        (
            "nsls2.h5",
            "points",
            1e-3 * np.ones((2, 5)),
            r"positions: shape \(5, 2\); one \(y, x\) for each of 22 frames",
        ),
        ("nsls2.h5", "dp", np.ones((22, 32, 32), complex), "dp: shape .* real frames"),
    ],
)
def test_what_is_missing_or_wrong_is_one_sentence(scan, pixel, probe, tmp_path, name, key, value, words):
    WRITERS[name](tmp_path / name, scan, pixel)
    with h5py.File(tmp_path / name, "r+") as file:
        del file[key]
        if value is not None:
            file[key] = value
    with pytest.raises(PtychoError, match=words) as error:
        read_scan(tmp_path / name, probe=probe)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(tmp_path / name))
