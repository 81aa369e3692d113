"""Arbitrary files: a command takes them or refuses them with one line; nothing else ever happens."""

import io
import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ptychopinn.api import read_scan
from ptychopinn.config import Settings
from ptychopinn.errors import PtychoError
from ptychopinn.figures import panels
from ptychopinn.model.bundle import load_run
from ptychopinn.scan.summary import summarise
from tests.cli.refusing import COUNT, SIZE, assert_one_line, call, scan_arrays

KEYS = ("diffraction", "diff3d", "xcoords", "ycoords", "probeGuess", "objectGuess", "bad_pixels", "_metadata", "Y")
NUMBERS = ["?", "u1", "u2", "u4", "u8", "i1", "i8", "f2", "f4", "f8", "c8", "c16"]
DTYPES = st.sampled_from([*NUMBERS, "g", "U3", "S3", "O", "M8[s]", "m8[s]", "V2", "f4,i4"]).map(np.dtype)
LENGTHS = st.sampled_from([0, 1, 2, 3, COUNT, SIZE, 2 * SIZE])
SPECIAL = st.sampled_from([0, 1, -1, 2.5, np.nan, np.inf, -np.inf, 1e-300, 1e-38, 1e15, 1e19, 1e38, 1e200, 2**64 - 1])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)
NAMES = st.sampled_from(list(Settings().flat())) | st.text(max_size=9)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a valid scan; examples write over one another."""
    folder = tmp_path_factory.mktemp("fuzz")
    np.savez(folder / "scan.npz", **scan_arrays())
    return folder


@pytest.fixture(scope="module", autouse=True)
def small_pictures() -> Iterator[None]:
    """What is drawn stays as it is, but with fewer pixels and no search for the best layout it is drawn faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "DPI", 20)
        patch.setattr(ConstrainedLayoutEngine, "execute", lambda *_: None)
        yield


def assert_taken_or_refused(folder: Path, command: str, result: Path | None = None) -> None:
    """The command ends well and leaves its result, or says one line and leaves nothing."""
    done = call(folder, command)
    if done.exit_code == 0:
        assert done.stderr == ""
        assert result is None or result.is_file()
    else:
        assert_one_line(done)
        assert result is None or not result.exists()
    if result is not None:
        result.unlink(missing_ok=True)


VALID = {
    **scan_arrays(),
    "objectGuess": np.ones((60, 60), np.complex64),
    "bad_pixels": np.eye(SIZE, dtype=bool),
    "_metadata": np.array(json.dumps({"measurement": "counts", "pixel_size_m": 1e-8})),
}


def cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array in another dtype; zeros where numpy has no way there."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return array.astype(dtype)
        except (TypeError, ValueError, OverflowError):
            return np.zeros(array.shape, dtype)


@st.composite
def spoilt(draw: st.DrawFn, array: np.ndarray) -> np.ndarray:
    """Another dtype, and an odd number everywhere, at the start or at the end."""
    changed = cast(array, np.dtype(draw(st.sampled_from(NUMBERS))))
    places = draw(st.sampled_from([np.s_[...], np.s_[:1], np.s_[-1:]]))
    changed[places] = cast(np.array(draw(SPECIAL)), changed.dtype)
    return changed


def near(key: str) -> st.SearchStrategy[np.ndarray]:
    """What stands under a key in a valid file, changed."""
    if key not in VALID:
        return anything()
    if key == "_metadata":
        names = st.sampled_from(["measurement", "pixel_size_m", "other"])
        return (st.dictionaries(names, JSON) | JSON).map(json.dumps).map(np.array)
    right = VALID[key]
    shapes = [right[:-1], right[:1], right[None], right[..., None], right.T, right[..., 1:], right[::-1], right.ravel()]
    return st.sampled_from(shapes) | DTYPES.map(lambda dtype: cast(right, dtype)) | spoilt(right)


def anything() -> st.SearchStrategy[np.ndarray]:
    """Arrays of up to four axes, some of them empty."""
    shapes = st.lists(LENGTHS, max_size=4).map(tuple).filter(lambda shape: np.prod(shape, dtype=float) < 1e5)
    dtypes = st.sampled_from([*NUMBERS, "U3", "S3", "M8[s]"])
    return st.builds(lambda dtype, shape: hnp.arrays(dtype, shape), dtypes, shapes).flatmap(lambda made: made)


@st.composite
def scan_files(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """A valid scan with a few of its arrays changed, replaced by anything or left out, and some more added."""
    found = {key: array for key, array in VALID.items() if key in scan_arrays() or draw(st.booleans())}
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=3, unique=True)):
        match draw(st.sampled_from(["near", "near", "near", "anything", "nothing"])):
            case "near":
                found[key] = draw(near(key))
            case "anything":
                found[key] = draw(anything())
            case "nothing":
                found.pop(key, None)
    return found


@settings(max_examples=300)
@given(arrays=scan_files())
def test_reading_takes_or_refuses_any_arrays(scratch: Path, arrays: dict[str, np.ndarray]) -> None:
    path = scratch / "any.npz"
    np.savez(path, **arrays)
    for values in ({}, {"nphotons": 1e4, "crop": 8, "swap_xy": True, "flip_x": True}):
        try:
            assert summarise(read_scan(path, **values))
        except PtychoError as error:
            assert str(error).isprintable()
            assert len(str(error)) < 600


@settings(max_examples=14)
@given(arrays=scan_files())
def test_inspect_takes_or_refuses_any_arrays(scratch: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(scratch / "any.npz", **arrays)
    assert_taken_or_refused(scratch, "inspect any.npz --out any.png", scratch / "any.png")


def structure(content: bytes) -> list[int]:
    """Bytes of an archive that are no data: headers of members and of their arrays, directory, end."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        heads = [info.header_offset for info in archive.infolist()]
        return [head + i for head in heads for i in range(180)] + list(range(archive.start_dir, len(content)))


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with a few bytes changed, inserted or left out, or cut short."""
    changed = bytearray(content)
    places = st.integers(0, len(content) - 1) | st.sampled_from(structure(content))
    for place in draw(st.lists(places, min_size=1, max_size=4)):
        match draw(st.sampled_from(["change", "change", "change", "insert", "remove", "cut"])):
            case "change":
                changed[place % len(changed)] = draw(st.integers(0, 255))
            case "insert":
                changed[place:place] = draw(st.binary(min_size=1, max_size=9))
            case "remove":
                del changed[place : place + draw(st.integers(1, 9))]
            case "cut":
                del changed[max(1, place) :]
    return bytes(changed)


@settings(max_examples=100)
@given(data=st.data())
def test_subset_takes_or_refuses_a_damaged_file(scratch: Path, data: st.DataObject) -> None:
    content = (scratch / "scan.npz").read_bytes()
    (scratch / "damaged.npz").write_bytes(data.draw(damaged(content) | st.binary(max_size=99)))
    assert_taken_or_refused(scratch, "subset damaged.npz --n 4 --out part.npz --overwrite", scratch / "part.npz")


def json_files() -> st.SearchStrategy[bytes]:
    """Objects of settings, other JSON, and what is no JSON."""
    near = st.sampled_from(sorted(Settings().flat().items()))
    right = st.lists(near, max_size=4).map(dict)
    values = right | st.dictionaries(NAMES, JSON, max_size=3) | JSON
    texts = values.map(json.dumps) | st.text(max_size=30)
    encodings = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])
    encoded = st.builds(lambda text, encoding: text.encode(encoding, "replace"), texts, encodings)
    return encoded | st.binary(max_size=30)


@settings(max_examples=300)
@given(content=json_files())
def test_config_validate_takes_or_refuses_any_file(scratch: Path, content: bytes) -> None:
    (scratch / "any.json").write_bytes(content)
    assert_taken_or_refused(scratch, "config validate any.json")


@settings(max_examples=10)
@given(content=json_files())
def test_inspect_takes_or_refuses_any_settings(scratch: Path, content: bytes) -> None:
    (scratch / "any.json").write_bytes(content)
    assert_taken_or_refused(scratch, "inspect scan.npz --out any.png --config any.json", scratch / "any.png")


SIMULATED: dict[str, st.SearchStrategy[Any]] = {
    "step": st.floats(8.0, 30.0) | st.floats(8.0, 1e308) | st.floats(max_value=1e-6),
    "jitter": st.floats(0.0, 0.5),
    "probe_radius": st.floats(1.0, 20.0) | st.floats(),
    "probe_curvature": st.floats(-20.0, 20.0) | st.floats(),
    "nphotons": st.floats(1e-3, 1e15) | st.floats(),
    "object": st.sampled_from(["siemens", "siemens", "lines", "cubes"]),
    "interpolation": st.sampled_from(["bilinear", "bilinear", "cubic", "none"]),
    "N": st.integers(7, 24).map(lambda half: 2 * half) | st.integers(),
    "seed": st.integers(0, 9) | st.integers(),
}


@settings(max_examples=70)
@given(values=st.fixed_dictionaries({}, optional=SIMULATED), anything=json_files())
def test_simulate_takes_or_refuses_any_settings(scratch: Path, values: dict[str, Any], anything: bytes) -> None:
    for content in (anything, json.dumps(values).encode()):
        (scratch / "any.json").write_bytes(content)
        command = "simulate new.npz --config any.json --object-size 112"
        assert_taken_or_refused(scratch, f"{command} --N 32" if content is anything else command, scratch / "new.npz")


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_bundle_is_refused_or_read(scratch: Path, template: Path, data: st.DataObject) -> None:
    (scratch / "damaged.zip").write_bytes(data.draw(damaged(template.read_bytes())))
    try:
        load_run(scratch / "damaged.zip")
    except PtychoError as error:
        assert "\n" not in str(error)
        assert str(error).startswith(str(scratch / "damaged.zip"))
