"""``convert``, ``subset`` and ``inspect`` on files of other programs, and what can be wrong with these files."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.files.output_folder import file_hash
from tests.cli.refusing import COUNT, SIZE, Words, assert_refused, call, scan_arrays, write_scan

pytestmark = pytest.mark.usefixtures("quick_pictures")

MAP = {
    "frames": {"dataset": "data/frames", "order": "xyn", "zero_frequency": "corner"},
    "positions": {"x": "motor/x", "y": "motor/y", "unit": "um", "sign": {"x": -1}},
    "energy": {"dataset": "energy", "unit": "keV"},
    "distance": {"value": 800, "unit": "mm"},
    "detector_pixel": {"value": 75, "unit": "um"},
    "bad_pixels": {"dataset": "good", "bad": "zero"},
    "probe": "probe",
}


def write_beamline(path: Path) -> None:
    """A file of no known layout."""
    arrays = scan_arrays()
    with h5py.File(path, "w") as file:
        file["data/frames"] = np.fft.ifftshift(arrays["diffraction"], axes=(1, 2)).T
        file["motor/x"], file["motor/y"] = -arrays["xcoords"], arrays["ycoords"]
        file["energy"], file["probe"], file["good"] = 8.0, arrays["probeGuess"], np.ones((SIZE, SIZE), np.uint8)


@pytest.fixture
def files(place: Path) -> Path:
    """A folder with one scan as NPZ, product, CXI, PtyPy, tike, NSLS-II, and as HDF5 of no layout with its map."""
    arrays = scan_arrays()
    for name in ("scan.h5", "scan.cxi"):
        done = call(place, f"convert scan.npz {name} --pixel-size 1e-6 --energy 8000 --distance 0.8")
        assert done.exit_code == 0, done.output
    write_beamline(place / "beamline.h5")
    (place / "map.json").write_text(json.dumps(MAP))
    np.savez(
        place / "tike.npz",
        data=np.fft.ifftshift(arrays["diffraction"], axes=(1, 2)),
        scan=np.stack([arrays["ycoords"], arrays["xcoords"]], axis=-1) - SIZE / 2,
        probe=arrays["probeGuess"][None, None, None],
    )
    np.savez(place / "several.npz", **arrays, scan_index=np.arange(len(arrays["xcoords"])) // 5)
    places = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=-1) * 1e-7
    with h5py.File(place / "scan.ptyd", "w") as file:
        file["meta/distance"], file["meta/energy"], file["meta/psize"] = 0.8, 8.0, 75e-6
        for number, rows in enumerate((slice(0, 5), slice(5, None))):
            file[f"chunks/{number}/data"] = arrays["diffraction"][rows]
            file[f"chunks/{number}/positions"] = places[rows]
    with h5py.File(place / "nsls2.h5", "w") as file:
        file["dp"], file["points"] = arrays["diffraction"], places[:, ::-1].T * 1e6
        file.attrs.update({"lambda_nm": 0.15498, "z_m": 0.8, "ccd_pixel_um": 75.0})
    return place


@pytest.mark.parametrize(
    ("name", "flags", "pixel"),
    [
        ("scan.h5", {}, 1.0),
        ("scan.cxi", {}, 1.0),
        ("tike.npz", {}, 1.0),
        ("scan.ptyd", {"probe": "scan.npz"}, 1.03320),
        ("nsls2.h5", {"probe": "scan.npz"}, 1.03320),
        ("beamline.h5", {"map": "map.json"}, 0.103320),
    ],
)
def test_one_scan_in_every_format(files: Path, name: str, flags: dict[str, str], pixel: float) -> None:
    arrays = scan_arrays()
    paths = {key: str(files / value) for key, value in flags.items()}
    scan = read_scan(files / name, probe_scale="keep", **paths)
    np.testing.assert_array_equal(scan.counts, arrays["diffraction"])
    np.testing.assert_allclose(scan.probe[0], arrays["probeGuess"])
    places = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=-1)
    moved = (places - places[0]) / pixel
    np.testing.assert_allclose(scan.positions - scan.positions[0], moved, rtol=1e-4, atol=1e-9)
    line = " ".join(f"--{key} {value}" for key, value in flags.items())
    done = call(files, f"inspect {name} --out {name}.png {line}")
    assert done.exit_code == 0, done.output
    assert f"{COUNT} of {SIZE} x {SIZE} pixels" in done.output
    done = call(files, f"convert {name} {name}.again.npz {line}")
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(read_scan(files / f"{name}.again.npz").positions, scan.positions, atol=1e-9)


def test_a_product_without_frames_is_shown_and_takes_frames_of_another_file(files: Path) -> None:
    assert call(files, "convert scan.h5 bare.h5 --no-frames --set pixel_size=1e-6").exit_code == 0
    done = call(files, "inspect bare.h5")
    assert done.exit_code == 0
    assert "9 positions, probe (1, 16, 16)" in done.output
    assert "  raw_data/patterns: not there; the product holds no frames: give them by --frames" in done.output
    assert (files / "bare-inspect.png").stat().st_size > 10_000
    done = call(files, "inspect bare.h5")
    assert done.exit_code == 0
    assert "No picture: bare-inspect.png exists already; give --out, or --overwrite to replace it." in done.output
    with h5py.File(files / "dp.h5", "w") as file:
        file["dp"] = scan_arrays()["diffraction"]
    with h5py.File(files / "diffraction.h5", "w") as file:
        file["patterns"], file["indexes"] = scan_arrays()["diffraction"][::-1], np.arange(COUNT)[::-1]
    for name in ("dp.h5", "diffraction.h5"):
        scan = read_scan(files / "bare.h5", frames=str(files / name))
        np.testing.assert_array_equal(scan.counts, scan_arrays()["diffraction"])


def test_subset_covers_the_scan_and_repeats_to_the_byte(place: Path) -> None:
    rng = np.random.default_rng(0)
    count = 300
    y, x = rng.uniform(20, 90, count), rng.uniform(20, 220, count)
    write_scan(
        place / "big.npz", diffraction=rng.poisson(3.0, (count, SIZE, SIZE)).astype(float), xcoords=x, ycoords=y,
        _metadata=np.array('{"measurement": "counts"}'),
    )  # fmt: skip
    done = call(place, "subset big.npz --n 20 --out small.npz")
    assert done.exit_code == 0, done.output
    told = json.loads((place / "small.json").read_text())
    chosen = np.array(told["indices"])
    scan = read_scan(place / "small.npz")
    assert len(scan) == len(chosen) == len(set(chosen)) == 20
    np.testing.assert_array_equal(scan.positions, np.stack([y, x], axis=-1)[chosen])
    assert (scan.counts.dtype, scan.positions.dtype, scan.probe.dtype) == (np.uint16, np.float64, np.complex64)
    assert (np.ptp(scan.positions, axis=0) > 0.9 * np.array([np.ptp(y), np.ptp(x)])).all()
    for first, last, values in ((20, 90, scan.positions[:, 0]), (20, 220, scan.positions[:, 1])):
        assert (np.histogram(values, 4, (first, last))[0] > 0).all()
    assert told["source_sha256"] == file_hash(place / "big.npz")
    assert told["sha256"] == file_hash(place / "small.npz")
    content = (place / "small.npz").read_bytes()
    assert call(place, "subset big.npz --n 20 --out small.npz --overwrite").exit_code == 0
    assert (place / "small.npz").read_bytes() == content


def changed(name: str, change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        with h5py.File(folder / name, "r+") as file:
            change(file)

    return spoil


def replaced(file: h5py.File, name: str, value: object) -> None:
    del file[name]
    file[name] = value


def cut(name: str, share: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return spoil


def units(name: str, told: str) -> Callable[[h5py.File], None]:
    return lambda file: file[name].attrs.__setitem__("units", told)


TRANSLATION, DETECTOR = "entry_1/sample_1/geometry_1/translation", "entry_1/instrument_1/detector_1"
WRONG: dict[str, tuple[str, Callable[[Path], None], Words]] = {
    "product without probe": ("scan.h5", changed("scan.h5", lambda f: f.move("probe", "prb")), ("no known layout",)),
    "product without x": (
        "scan.h5",
        changed("scan.h5", lambda f: f.pop("probe_position_x_m")),
        ("probe_position_x_m: not there",),
    ),
    "product without numbers": (
        "scan.h5",
        changed("scan.h5", lambda f: f.pop("probe_position_indexes")),
        ("probe_position_indexes: not there",),
    ),
    "short x": (
        "scan.h5",
        changed("scan.h5", lambda f: replaced(f, "probe_position_x_m", np.ones(4))),
        ("probe_position_x_m, probe_position_y_m: 4 and 9 entries",),
    ),
    "short frames": (
        "scan.h5",
        changed("scan.h5", lambda f: replaced(f, "raw_data/patterns", np.ones((4, 16, 16)))),
        ("raw_data: indexes: shape (9,)", "4 frames"),
    ),
    "no energy": (
        "scan.h5",
        changed("scan.h5", lambda f: [f.attrs.pop(name) for name in ("photon_energy_eV", "probe_energy_eV")]),
        ("no attribute photon_energy_eV",),
    ),
    "no pixel": ("scan.h5", changed("scan.h5", lambda f: f["object"].attrs.pop("pixel_width_m")), ("pixel_width_m",)),
    "pixel in nanometres": (
        "scan.h5",
        changed("scan.h5", lambda f: f["object"].attrs.__setitem__("pixel_width_m", 25.0)),
        ("pixel_width_m", "metres"),
    ),
    "x in kelvin": (
        "scan.h5",
        changed("scan.h5", units("probe_position_x_m", "K")),
        ("probe_position_x_m: unit 'K'", "a unit of length is needed"),
    ),
    "near field": (
        "scan.h5",
        changed("scan.h5", lambda f: f.attrs.__setitem__("far_field", False)),
        ("near-field data (far_field is false)",),
    ),
    "cut product": ("scan.h5", cut("scan.h5", 0.7), ("is no readable HDF5 file (it is cut short",)),
    "empty product": ("scan.h5", cut("scan.h5", 0.0), ("is no readable HDF5 file",)),
    "translations in eV": ("scan.cxi", changed("scan.cxi", units(TRANSLATION, "eV")), ("translation: unit 'eV'",)),
    "distance in furlongs": (
        "scan.cxi",
        changed("scan.cxi", units(f"{DETECTOR}/distance", "furlong")),
        ("distance: unit 'furlong'", "length"),
    ),
    "energy against wavelength": (
        "scan.cxi",
        changed("scan.cxi", units("entry_1/instrument_1/source_1/energy", "eV")),
        ("energy", "no photon energy", "check its unit"),
    ),
    "no frames": ("scan.cxi", changed("scan.cxi", lambda f: f.pop(f"{DETECTOR}/data")), ("frames are needed",)),
    "few translations": (
        "scan.cxi",
        changed("scan.cxi", lambda f: replaced(f, TRANSLATION, np.zeros((4, 3)))),
        ("translation: 4 entries for 9 frames",),
    ),
    "NaN translation": (
        "scan.cxi",
        changed("scan.cxi", lambda f: replaced(f, TRANSLATION, np.full((9, 3), np.nan))),
        ("translation: NaN",),
    ),
    "mask of another size": (
        "scan.cxi",
        changed("scan.cxi", lambda f: f.__setitem__(f"{DETECTOR}/mask", np.zeros((8, 8), np.uint32))),
        ("bad_pixels: shape (8, 8)",),
    ),
    "cut CXI": ("scan.cxi", cut("scan.cxi", 0.5), ("is no readable HDF5 file (it is cut short",)),
    "no layout": (
        "beamline.h5",
        lambda folder: None,
        ("no known layout", "--map map.json", "It holds /data/frames (16, 16, 9), /good (16, 16), /probe (16, 16)"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_malformed_file_is_one_line(files: Path, name: str) -> None:
    file, spoil, words = WRONG[name]
    spoil(files)
    assert_refused(files, f"train {file} --out out", (f"{file}: ", *words))


MAPS: dict[str, tuple[dict, Words]] = {
    "missing dataset": ({"probe": "guess"}, ("beamline.h5: guess: not there",)),
    "no object": ({"frames": "data/frames"}, ("map.json: frames: 'data/frames' given. An object with its keys",)),
    "unknown key": ({"colour": "red"}, ("map.json: colour",)),
    "wrong unit": ({"energy": {"value": 8, "unit": "mm"}}, ("energy: unit 'mm'", "energy is needed")),
    "no size": ({"energy": None}, ("positions: in a length", "pixel_size=METRES")),
    "both": ({"energy": {"value": 8, "dataset": "energy"}}, ("map.json: energy: either dataset or value",)),
    "wrong order": ({"frames": {"dataset": "data/frames", "order": "nyz"}}, ("map.json: frames.order: 'nyz'",)),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_malformed_map_is_one_line(files: Path, name: str) -> None:
    changes, words = MAPS[name]
    values = {key: value for key, value in (MAP | changes).items() if value is not None}
    (files / "map.json").write_text(json.dumps(values))
    assert_refused(files, "train beamline.h5 --map map.json --out out", words)


CALLS: dict[str, tuple[str, Words]] = {
    "there already": ("convert scan.npz notes.txt --to npz", ("notes.txt", "must end in .npz")),
    "no name": ("convert scan.npz new.txt", ("new.txt: give --to", "ptychodus-product")),
    "no such format": ("convert scan.npz new.h5 --to nexus", ("--to nexus: no such format",)),
    "read only": ("convert scan.npz new.h5 --to ptyd", ("--to ptyd: is read, not written",)),
    "unknown pixel": ("convert scan.npz new.h5", ("pixel size: not known", "--dummy-geometry")),
    "several scans": (
        "convert several.npz new.h5 --dummy-geometry",
        ("several.npz: scan_index: frames of several scans", "ptychodus-product"),
    ),
    "itself": ("convert scan.npz scan.npz --overwrite", ("scan.npz: is read by this call, and would be replaced",)),
    "replaced": ("convert scan.npz scan.h5 --dummy-geometry", ("scan.h5: exists already",)),
    "too few": ("subset scan.npz --n 3 --out new.npz", ("n: 3 given; from 4 to 9",)),
    "too many": ("subset scan.npz --n 10 --out new.npz", ("n: 10 given; from 4 to 9",)),
    "no frames there": ("inspect scan.h5 --frames notes.txt", ("notes.txt: is no readable NPZ file",)),
    "no such kind": ("inspect scan.h5 --format nexus", ("--format nexus: no such format",)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_one_line(files: Path, name: str) -> None:
    assert_refused(files, *CALLS[name])
