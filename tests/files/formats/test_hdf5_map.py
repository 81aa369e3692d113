"""Any HDF5 file by a map: parts, grids, units, other programs' types."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.errors import PtychoError
from ptychopinn.scan.scan import Scan
from tests.files.writers import DISTANCE_M, PITCH_M, WAVELENGTH_M

MAP: dict[str, Any] = {"frames": {"dataset": "/d"}, "positions": {"x": "/x", "y": "/y"}, "probe": "/p"}
GEOMETRY = {"wavelength": WAVELENGTH_M, "distance": DISTANCE_M, "detector_pixel": PITCH_M}


def save(path: Path, **datasets: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values


def read(path: Path, **changes: Any) -> Scan:
    (path.parent / "map.json").write_text(json.dumps(MAP | changes))
    return read_scan(path, map=str(path.parent / "map.json"))


def parts(scan: Scan) -> dict[str, Any]:
    return {"d": scan.counts.astype(np.uint16), "x": scan.positions[:, 1], "y": scan.positions[:, 0], "p": scan.probe}


def assert_equal(found: Scan, scan: Scan) -> None:
    np.testing.assert_array_equal(found.frames(slice(None)).numpy(), scan.counts)
    np.testing.assert_allclose(np.ptp(found.positions, axis=0), np.ptp(scan.positions, axis=0), rtol=1e-6)
    moved = found.positions - found.positions[0]
    np.testing.assert_allclose(moved, scan.positions - scan.positions[0], atol=1e-6)
    np.testing.assert_allclose(found.probe, scan.probe, rtol=1e-6)


@pytest.mark.parametrize(
    "names", ["entry/data/data_*", "/entry/*/data_[0-9]*", ["entry/data/data_9", "entry/data/data_10"]]
)
def test_parts_are_joined_in_natural_order(scan: Scan, tmp_path: Path, names: Any) -> None:
    stored = parts(scan)
    save(tmp_path / "part.h5", data=stored.pop("d")[9:])
    save(tmp_path / "m.h5", **stored)
    with h5py.File(tmp_path / "m.h5", "a") as file:
        file["entry/data/data_10"] = h5py.ExternalLink("part.h5", "data")
        file["entry/data/data_9"] = scan.counts[:9].astype(np.uint16)
    assert_equal(read(tmp_path / "m.h5", frames={"dataset": names}), scan)


def test_a_missing_part_and_an_unequal_part_are_named(scan: Scan, tmp_path: Path) -> None:
    stored = parts(scan)
    counts = stored.pop("d")
    save(tmp_path / "m.h5", **stored, **{"e/d_1": counts[:9], "e/d_2": counts[9:, :30]})
    with pytest.raises(PtychoError, match=r"m.h5: /e/d_2: frames \(30, 32\), those of /e/d_1 are \(32, 32\)"):
        read(tmp_path / "m.h5", frames={"dataset": "e/d_*"})
    with h5py.File(tmp_path / "m.h5", "a") as file:
        del file["e/d_2"]
        file["e/d_2"] = h5py.ExternalLink("gone_2.h5", "data")
    with pytest.raises(PtychoError, match=r"e/d_2: not there: it is a link to gone_2.h5"):
        read(tmp_path / "m.h5", frames={"dataset": "e/d_*"})
    with pytest.raises(PtychoError, match=r"/e: is a group that holds d_1, d_2; .* join parts by /e/\*"):
        read(tmp_path / "m.h5", frames={"dataset": "/e"})


@pytest.mark.parametrize("kind", ["x and y", "table", "columns first", "one per row and column"])
def test_frames_on_a_grid(tiny_scan: Scan, tmp_path: Path, kind: str) -> None:
    scan = tiny_scan.subset(slice(0, 20))
    y, x = np.meshgrid(7.0 * np.arange(4) + 20, 5.0 * np.arange(5) + 20, indexing="ij")
    stored = parts(scan) | {"d": scan.counts.reshape(4, 5, 32, 32).astype(np.uint16), "x": x, "y": y}
    positions: dict[str, Any] = {"x": "/x", "y": "/y"}
    if kind == "one per row and column":
        stored |= {"x": x[0], "y": y[:, 0]}
    elif kind != "x and y":
        first = kind == "columns first"
        stored["t"] = np.stack([y, x], axis=0 if first else -1)
        positions = {"dataset": "/t", "columns": "yx", "order": "xn" if first else "nx"}
    save(tmp_path / "s.h5", **stored)
    found = read(tmp_path / "s.h5", positions=positions)
    np.testing.assert_array_equal(found.frames(slice(None)).numpy(), scan.counts)
    np.testing.assert_array_equal(found.positions, np.stack([y.ravel(), x.ravel()], -1))


@pytest.mark.parametrize("units", ["um", b"microns", np.array(["µm"], object), np.array([b"um", b"um"])])
def test_units_of_the_file(scan: Scan, pixel: float, tmp_path: Path, units: Any) -> None:
    stored = parts(scan)
    stored |= {axis: 1e6 * pixel * stored[axis] for axis in "xy"}
    save(tmp_path / "s.h5", **stored, **GEOMETRY)
    with h5py.File(tmp_path / "s.h5", "a") as file:
        for name in "xy":
            file[name].attrs["units"] = units
        file["distance"][()] = 1e3 * DISTANCE_M
        file["distance"].attrs["units"] = "mm"
    geometry = {name: {"dataset": name} for name in GEOMETRY}
    assert_equal(read(tmp_path / "s.h5", **geometry), scan)


def test_a_map_that_says_otherwise_is_followed_and_says_so(scan: Scan, pixel: float, tmp_path: Path) -> None:
    stored = parts(scan)
    save(tmp_path / "s.h5", **(stored | {axis: 1e6 * pixel * stored[axis] for axis in "xy"}))
    with h5py.File(tmp_path / "s.h5", "a") as file:
        for name in "xy":
            file[name].attrs["units"] = "mm"
    positions = {"x": "x", "y": "y", "unit": "um"}
    found = read(tmp_path / "s.h5", positions=positions, pixel_size={"value": pixel})
    assert_equal(found, scan)
    assert "positions: the map says um, the file mm; the map is followed." in found.notes


def test_units_that_differ_are_refused(scan: Scan, tmp_path: Path) -> None:
    save(tmp_path / "s.h5", **parts(scan))
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file["x"].attrs["units"], file["y"].attrs["units"] = "um", "mm"
    with pytest.raises(PtychoError, match="positions: units mm and um; give the unit of both in the map"):
        read(tmp_path / "s.h5")


def pair(dtype: str, *names: str) -> Callable[[np.ndarray], np.ndarray]:
    def made(values: np.ndarray) -> np.ndarray:
        stored = np.zeros(values.shape, [(name, dtype) for name in names])
        stored[names[0]], stored[names[1]] = values.real, values.imag
        return stored

    return made


@pytest.mark.parametrize(
    "stored", [pair("<f8", "real", "imag"), pair(">f4", "Re", "Im"), pair("f4", "r", "i"), lambda p: p.astype(">c16")]
)
def test_complex_numbers_of_other_programs(scan: Scan, tmp_path: Path, stored: Callable[..., np.ndarray]) -> None:
    save(tmp_path / "s.h5", **(parts(scan) | {"p": stored(scan.probe)}))
    assert_equal(read(tmp_path / "s.h5"), scan)


def matlab(path: Path, block: int, **datasets: Any) -> None:
    """Axes in reverse, vectors as matrices, a text in front, as version 7.3 writes them."""
    with h5py.File(path, "w", userblock_size=block) as file:
        for name, values in datasets.items():
            file[name] = np.atleast_2d(values)
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + bytes([0, 2]) + b"IM")


@pytest.mark.parametrize("block", [512, 1024, 4096])
def test_a_file_of_matlab(scan: Scan, tmp_path: Path, block: int) -> None:
    """Its user block is no reason to take it for something else, and its axes are in reverse."""
    stored = parts(scan)
    stored |= {
        "d": stored["d"].swapaxes(1, 2).astype(float),
        "p": pair("<f8", "real", "imag")(stored["p"]).swapaxes(1, 2),
    }
    mask = np.zeros((scan.N, scan.N))
    mask[3, 20] = 1
    matlab(tmp_path / "s.mat", block, **stored, m=mask.T.astype(np.uint8))
    frames = {"dataset": "d", "order": "nxy", "measurement": "counts"}
    found = read(tmp_path / "s.mat", frames=frames, bad_pixels={"dataset": "m"})
    assert found.good_pixels is not None
    assert np.argwhere(~found.good_pixels).tolist() == [[3, 20]]
    np.testing.assert_allclose(found.probe, scan.probe, rtol=1e-6)
    expected = scan.counts.copy()
    expected[:, 3, 20] = 0
    np.testing.assert_array_equal(found.frames(slice(None)).numpy(), expected)
    with pytest.raises(PtychoError, match="HDF5 of no known layout"):
        read_scan(tmp_path / "s.mat")


def test_a_file_of_matlab_that_is_read_as_if_it_were_not(scan: Scan, tmp_path: Path) -> None:
    matlab(tmp_path / "s.mat", 512, **parts(scan))
    assert any('need "order": "nxy"' in note for note in read(tmp_path / "s.mat").notes)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("d", np.zeros((0, 32, 32)), "no frames|22 frames|0 frames"),
        ("d", h5py.Empty("f4"), r"/d: shape \(\)"),
        ("d", np.full((22, 32, 32), b"a"), "dtype"),
        ("x", np.full(22, b"1.0"), "/x: dtype .*positions are numbers"),
        ("x", h5py.Empty("f8"), "x|positions"),
        ("y", np.ones(21), "positions: x, y: 22 and 21 entries|21 and 22"),
        ("p", np.full((32, 32), b"a"), "probe: dtype"),
        ("p", np.zeros((2, 2), [("a", "f4"), ("b", "f4")]), "probe: dtype"),
        ("p", h5py.Empty("c8"), "probe"),
        ("wavelength", np.array([1e-10, 2e-10]), "/wavelength: 2 values from 1e-10 to 2e-10; one value"),
        ("distance", 2100.0, "distance: 2100 m given; at most 500 m is possible; check its unit"),
        ("detector_pixel", 75.0, "detector_pixel: 75 m given; at most 0.01 m"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(scan: Scan, tmp_path: Path, name: str, values: Any, words: str) -> None:
    save(tmp_path / "s.h5", **(parts(scan) | GEOMETRY | {name: values}))
    with pytest.raises(PtychoError, match=f"s.h5: .*({words})") as error:
        read(tmp_path / "s.h5", **{quantity: {"dataset": quantity} for quantity in GEOMETRY})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["d", "x", "p", "distance"])
def test_a_group_in_place_of_a_dataset(scan: Scan, tmp_path: Path, name: str) -> None:
    stored = parts(scan) | GEOMETRY
    save(tmp_path / "s.h5", **{key: value for key, value in stored.items() if key != name}, **{f"{name}/inside": 1})
    with pytest.raises(PtychoError, match=f"{name}: is a group.*inside"):
        read(tmp_path / "s.h5", **{quantity: {"dataset": quantity} for quantity in GEOMETRY})


def test_a_file_cut_short_is_one_sentence(scan: Scan, tmp_path: Path) -> None:
    save(tmp_path / "whole.h5", **parts(scan))
    content = (tmp_path / "whole.h5").read_bytes()
    for share in np.linspace(0, 0.99, 12):
        (tmp_path / "s.h5").write_bytes(content[: int(share * len(content))])
        with pytest.raises(PtychoError, match="s.h5: is no readable HDF5 file") as error:
            read(tmp_path / "s.h5")
        assert "\n" not in str(error.value)
