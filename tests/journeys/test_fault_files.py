"""Files as detectors and other programs write them, each read right or refused with the way out; see test_faults."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn import api
from tests.cli.refusing import assert_refused, call
from tests.independent import Arrays, scan_arrays

pytestmark = pytest.mark.usefixtures("quick_pictures")

N, COUNT, PIXEL = 32, 25, 1e-8
HALF = slice(0, 12), slice(12, COUNT)
LAYOUT = {"frames": {"dataset": "/entry/data"}, "positions": {"x": "/x", "y": "/y"}, "probe": "/probe"}


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """25 frames of 32 x 32, whole counts of 16 bits."""
    found = scan_arrays(radius=7, N=N, side=5, step=4)
    return {**found, "diffraction": found["diffraction"].astype(np.uint16)}


def write_map(place: Path, **changes: Any) -> None:
    (place / "map.json").write_text(json.dumps(LAYOUT | changes))


def write_rest(file: h5py.File, arrays: Arrays) -> None:
    file["x"], file["y"], file["probe"] = arrays["xcoords"], arrays["ycoords"], arrays["probeGuess"]


def write_parts(place: Path, arrays: Arrays) -> None:
    for number, rows in enumerate(HALF):
        with h5py.File(place / f"part{number}.h5", "w") as file:
            file["data"] = arrays["diffraction"][rows]


def assert_read(scan: Any, arrays: Arrays) -> None:
    """The frames, the probe, and the positions but for where they begin."""
    np.testing.assert_array_equal(scan.counts, arrays["diffraction"])
    np.testing.assert_allclose(scan.probe, arrays["probeGuess"], rtol=1e-6)
    known = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1)
    np.testing.assert_allclose(scan.positions - scan.positions[0], known - known[0], atol=1e-4)


@pytest.mark.parametrize("fill", [0, 7])
@pytest.mark.parametrize("by", ["frames", "modules"])
def test_case_04_virtual_dataset_whose_source_is_gone(tmp_path: Path, arrays: Arrays, by: str, fill: int) -> None:
    frames = arrays["diffraction"]
    layout = h5py.VirtualLayout(frames.shape, frames.dtype)
    for number, rows in enumerate(HALF):
        part = np.s_[rows] if by == "frames" else np.s_[:, 16 * number : 16 * number + 16]
        with h5py.File(tmp_path / f"part{number}.h5", "w") as file:
            file["data"] = frames[part]
        layout[part] = h5py.VirtualSource(f"part{number}.h5", "data", shape=frames[part].shape)
    with h5py.File(tmp_path / "scan.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("entry/data", layout, fillvalue=fill)
        write_rest(file, arrays)
    write_map(tmp_path)
    assert_read(api.read_scan(tmp_path / "scan.h5", map=str(tmp_path / "map.json")), arrays)
    (tmp_path / "part1.h5").unlink()
    for command in ("inspect scan.h5 --out a.png", "refine scan.h5 --out fit"):
        assert_refused(tmp_path, f"{command} --map map.json", ("scan.h5: /entry/data", "part1.h5 is not there"))


def test_case_05_master_file_with_linked_parts(tmp_path: Path, arrays: Arrays) -> None:
    write_parts(tmp_path, arrays)
    with h5py.File(tmp_path / "master.h5", "w") as file:
        for number in range(2):
            file[f"entry/data/data_{number + 1:06d}"] = h5py.ExternalLink(f"part{number}.h5", "data")
        write_rest(file, arrays)
    listed = ("/entry/data/data_000001 (12, 32, 32) in part0.h5", "/entry/data/data_000002 (13, 32, 32) in part1.h5")
    assert_refused(tmp_path, "inspect master.h5 --out a.png", (*listed, "--map map.json"))
    write_map(tmp_path)
    words = ("/entry/data: is a group that holds data_000001, data_000002", "join parts by /entry/data/*")
    assert_refused(tmp_path, "inspect master.h5 --map map.json --out a.png", words)
    for joined in ("/entry/data/data_*", ["/entry/data/data_000001", "/entry/data/data_000002"]):
        write_map(tmp_path, frames={"dataset": joined})
        assert_read(api.read_scan(tmp_path / "master.h5", map=str(tmp_path / "map.json")), arrays)
    write_map(tmp_path, frames={"dataset": "/entry/data/data_000001"})
    assert_refused(tmp_path, "inspect master.h5 --map map.json --out a.png", ("12 frames",))
    (tmp_path / "part1.h5").unlink()
    write_map(tmp_path, frames={"dataset": "/entry/data/data_*"})
    words = ("/entry/data/data_000002: not there: it is a link to part1.h5",)
    assert_refused(tmp_path, "inspect master.h5 --map map.json --out a.png", words)


UNITS: dict[str, Callable[[str], Any]] = {
    "text": lambda unit: unit,
    "bytes": np.bytes_,
    "array of text": lambda unit: np.array([unit], dtype=h5py.string_dtype()),
    "array of bytes": lambda unit: np.array([unit.encode()]),
}
LENGTHS = {"m": 1.0, "mm": 1e3, "um": 1e6, "microns": 1e6, "micrometers": 1e6, "nanometers": 1e9, "meters": 1.0}
EV = 8000.0
ENERGIES: dict[str, tuple[str, Any, str | None]] = {
    "joule of the source": ("source_1/energy", EV * 1.602176634e-19, "J"),
    "eV of the source": ("source_1/energy", EV, "eV"),
    "keV without a unit": ("source_1/energy", EV / 1e3, None),
    "eV of the beam": ("beam_1/incident_beam_energy", EV, "eV"),
    "one of each frame": ("source_1/energy", np.full(COUNT, EV * 1.602176634e-19), "J"),
    "an array of one": ("source_1/energy", np.array([EV * 1.602176634e-19]), "J"),
}


def write_cxi(
    path: Path,
    arrays: Arrays,
    units: str = "text",
    length: str = "m",
    energy: str = "joule of the source",
    apart: bool = False,
) -> None:
    """A CXI file with the habits of NeXus: pixels of 75 um, 10 nm on the object."""
    distance = PIXEL * N * 75e-6 / (1.239841984e-6 / EV)
    instrument, values = "entry_1/instrument_1", {}
    values[f"{instrument}/detector_1/distance"] = distance, "m"
    for axis in "xy":
        values[f"{instrument}/detector_1/{axis}_pixel_size"] = 75e-6, "m"
    name, value, unit = ENERGIES[energy]
    values[f"{instrument}/{name}"] = value, unit
    y, x = (arrays[f"{axis}coords"] * PIXEL * LENGTHS[length] for axis in "yx")
    if apart:
        values |= {f"entry_1/data_1/{axis}": (place.reshape(-1, 1, 1), length) for axis, place in (("x", x), ("y", y))}
    else:
        values["entry_1/sample_1/geometry_1/translation"] = np.stack([x, y, 0 * x], axis=1), length
    with h5py.File(path, "w") as file:
        file["cxi_version"], file["entry_1/data_1/data"] = 160, arrays["diffraction"]
        file[f"{instrument}/source_1/illumination"] = arrays["probeGuess"]
        for key, (number, unit) in values.items():
            file[key] = number
            if unit is not None:
                file[key].attrs["units"] = UNITS[units](unit)


HABITS: list[dict[str, Any]] = [
    *({"units": units} for units in UNITS),
    *({"length": length} for length in LENGTHS),
    *({"energy": energy} for energy in ENERGIES),
    {"apart": True, "units": "array of text", "length": "microns"},
]


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: " ".join(map(str, habit.values())))
def test_case_06_cxi_with_the_habits_of_nexus(tmp_path: Path, arrays: Arrays, habit: dict[str, Any]) -> None:
    write_cxi(tmp_path / "scan.cxi", arrays, **habit)
    scan = api.read_scan(tmp_path / "scan.cxi")
    assert_read(scan, arrays)
    np.testing.assert_allclose(scan.pixel_size_m, PIXEL, rtol=1e-4)


@pytest.mark.parametrize(("shown", "held"), [(slice(0, COUNT - 3), COUNT), (slice(0, COUNT), COUNT - 1)])
def test_case_08_frames_and_positions_of_other_numbers(tmp_path: Path, arrays: Arrays, shown: slice, held: int) -> None:
    places = {key: arrays[key][shown] for key in ("xcoords", "ycoords")}
    np.savez(tmp_path / "scan.npz", **{**arrays, **places, "diffraction": arrays["diffraction"][:held]})
    for command in ("inspect scan.npz --out a.png", "refine scan.npz --out fit"):
        assert_refused(tmp_path, command, ("positions", f"for each of {held} frames"))


def test_case_09_file_of_matlab(tmp_path: Path, arrays: Arrays) -> None:
    with h5py.File(tmp_path / "scan.mat", "w", userblock_size=512) as file:
        file["dp"] = arrays["diffraction"].transpose(0, 2, 1).astype(np.float64)
        file["ppX"], file["ppY"] = (arrays[key][None] * PIXEL for key in ("xcoords", "ycoords"))
        turned = arrays["probeGuess"].transpose(0, 2, 1)
        parts = np.zeros(turned.shape, [("real", "<f8"), ("imag", "<f8")])
        parts["real"], parts["imag"] = turned.real, turned.imag
        file["probe"] = parts
    with (tmp_path / "scan.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + bytes([0, 2]) + b"IM")
    write_map(
        tmp_path,
        frames={"dataset": "/dp", "order": "nxy", "measurement": "counts"},
        positions={"x": "/ppX", "y": "/ppY", "unit": "m"},
        pixel_size={"value": PIXEL, "unit": "m"},
    )
    assert_read(api.read_scan(tmp_path / "scan.mat", map=str(tmp_path / "map.json")), arrays)


@pytest.mark.parametrize("shape", [(N + 1, N + 1), (N, N + 8), (N + 2, N)])
def test_case_10_frames_that_are_not_square_or_odd(tmp_path: Path, arrays: Arrays, shape: tuple[int, int]) -> None:
    more = [((size - N) // 2, size - N - (size - N) // 2) for size in shape]
    np.savez(tmp_path / "scan.npz", **{**arrays, "diffraction": np.pad(arrays["diffraction"], ((0, 0), *more))})
    assert_refused(tmp_path, "inspect scan.npz --out a.png", (f"(25, {shape[0]}, {shape[1]})", f"--crop {N}"))
    assert_read(api.read_scan(tmp_path / "scan.npz", crop=N), arrays)


@pytest.mark.parametrize("kind", ["npz", "npz, positions too", "map"])
def test_case_10_frames_on_a_grid(tmp_path: Path, arrays: Arrays, kind: str) -> None:
    grid = {**arrays, "diffraction": arrays["diffraction"].reshape(5, 5, N, N)}
    if kind != "npz":
        grid |= {key: arrays[key].reshape(5, 5) for key in ("xcoords", "ycoords")}
    if kind != "map":
        np.savez(tmp_path / "scan.npz", **grid)
        return assert_read(api.read_scan(tmp_path / "scan.npz"), arrays)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["entry/data"] = grid["diffraction"]
        write_rest(file, grid)
    write_map(tmp_path)
    return assert_read(api.read_scan(tmp_path / "scan.h5", map=str(tmp_path / "map.json")), arrays)


@pytest.mark.parametrize("kind", [">u2", ">i2", ">u4", ">f4", ">f8"])
@pytest.mark.parametrize("name", ["scan.npz", "scan.h5"])
def test_case_17_big_endian_numbers(tmp_path: Path, arrays: Arrays, kind: str, name: str) -> None:
    swapped = {**arrays, "diffraction": arrays["diffraction"].astype(kind), "ycoords": arrays["ycoords"].astype(">f4")}
    swapped |= {"xcoords": arrays["xcoords"].astype(">f8"), "probeGuess": arrays["probeGuess"].astype(">c8")}
    if name == "scan.npz":
        np.savez(tmp_path / name, **swapped)
    else:
        with h5py.File(tmp_path / name, "w") as file:
            file["entry/data"] = swapped["diffraction"]
            write_rest(file, swapped)
    write_map(tmp_path)
    known = {"map": str(tmp_path / "map.json")} if name == "scan.h5" else {}
    assert_read(api.read_scan(tmp_path / name, measurement="counts", **known), arrays)
    flag = "--map map.json" if known else ""
    done = call(
        tmp_path, f"refine {name} {flag} --measurement counts --epochs 2 --error-draws 0 --accelerator cpu --out fit"
    )
    assert (done.exit_code, done.stderr) == (0, "")
