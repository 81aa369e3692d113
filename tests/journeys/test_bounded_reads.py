"""Files that declare far more than they hold: refused with one line, before anything is unpacked or made room for."""

import hashlib
import json
import resource
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.memory import memory
from tests.cli.refusing import assert_one_line, assert_refused, call, scan_arrays
from tests.detector import DETECTOR, FRAMES, POSITIONS, append, begin, measure

SCAN = measure(16, size=32, seed=4)
MOST_MEMORY = 2**28
"""Bytes that a refusal may take."""


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Nothing large is made room for, let alone filled."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MOST_MEMORY


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    begin(tmp_path / "scan.cxi", SCAN)
    append(tmp_path / "scan.cxi", SCAN, 0, 16)
    return tmp_path / "scan.cxi"


def assert_refused_unread(folder: Path, command: str, words: tuple[str, ...]) -> None:
    """As :func:`assert_refused`, in a folder whose files are too large to be compared."""
    before = sorted(folder.iterdir())
    done = call(folder, command)
    assert_one_line(done)
    assert all(word in done.stderr for word in words), done.stderr
    assert sorted(folder.iterdir()) == before


MANY = 10**9
PROBE, MASK = "entry_1/image_1/data", f"{DETECTOR}/mask"


def resized(path: Path, *names: str) -> None:
    with h5py.File(path, "r+") as file:
        for name in names:
            file[name].resize(MANY, axis=0)


def declared(path: Path, name: str, shape: tuple[int, ...], dtype: object) -> None:
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        file.create_dataset(name, shape, dtype, chunks=(1000,) * len(shape), compression="gzip")


def virtual(path: Path, name: str, count: int = 10**12) -> None:
    with h5py.File(path, "r+") as file:
        shape = file[name].shape
        file.move(name, "source")
        layout = h5py.VirtualLayout((count, *shape[1:]), file["source"].dtype)
        layout[: shape[0]] = h5py.VirtualSource(path.name, "source", shape)
        file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: resized(path, FRAMES), "declares shape (1000000000, 32, 32), 1.91e+03 GiB, and the file holds"),
        (lambda path: resized(path, FRAMES, POSITIONS), "declares shape (1000000000, 32, 32)"),
        (lambda path: resized(path, POSITIONS), "declares shape (1000000000, 3), 22.4 GiB"),
        (lambda path: declared(path, PROBE, (60_000, 60_000), "c8"), "image_1/data: declares shape (60000, 60000)"),
        (lambda path: declared(path, MASK, (60_000, 60_000), "u4"), "mask: declares shape (60000, 60000)"),
        (lambda path: declared(path, "entry_1/title", (10**10,), h5py.string_dtype()), "title: declares shape"),
        (lambda path: declared(path, f"{DETECTOR}/distance", (10**11,), "f8"), "distance: declares shape"),
        (lambda path: virtual(path, FRAMES), "declares shape (1000000000000, 32, 32)"),
        (lambda path: virtual(path, POSITIONS), "declares shape (1000000000000, 3)"),
    ],
)
@pytest.mark.parametrize("command", ["inspect scan.cxi --out new.png", "convert scan.cxi new.npz"])
def test_hdf5_that_declares_more_than_it_holds(scan, change, words, command):
    change(scan)
    assert_refused(scan.parent, command, ("scan.cxi: ", words))


def test_frames_without_positions(scan):
    resized(scan, FRAMES)
    with h5py.File(scan, "r+") as file:
        del file[POSITIONS]
    assert_refused(scan.parent, "inspect scan.cxi --out new.png", ("declares shape (1000000000, 32, 32)",))


def test_a_sparse_dataset_that_does_not_fit_in_memory(scan):
    """All room is there, on paper: a file system keeps what was never written as a hole."""
    count = 10 * memory() // 24
    with h5py.File(scan, "r+") as file:
        del file[POSITIONS]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((count, 3))
        h5py.h5d.create(file.id, POSITIONS.encode(), h5py.h5t.IEEE_F64LE, space, plan)
    assert_refused_unread(scan.parent, "inspect scan.cxi --out new.png", ("translation: shape", "are needed"))


def write_npz(path: Path, key: str, shape: tuple[int, ...], dtype: str, blocks: int) -> None:
    """A valid scan with one member more, or another one: a header of any shape, and ``blocks`` of 16 MiB of zeros."""
    np.savez(path, **{name: value for name, value in scan_arrays().items() if name != key})
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(f"{key}.npy", "w", force_zip64=True) as stream,
    ):
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(stream, header)
        for _ in range(blocks):
            stream.write(bytes(2**24))


@pytest.mark.parametrize("key", ["unknown", "Y"])
def test_members_that_are_not_read_are_not_unpacked(tmp_path, quick_pictures, key):
    write_npz(tmp_path / "scan.npz", key, (40 * 2**24,), "u1", 40)
    done = call(tmp_path, "inspect scan.npz --out new.png")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("key", "shape", "dtype"),
    [
        ("probeGuess", (60_000, 60_000), "c8"),
        ("diffraction", (10**9, 16, 16), "u2"),
        ("xcoords", (10**12,), "f8"),
        ("_metadata", (), "U20000000"),
    ],
)
def test_npz_members_that_declare_more_than_the_archive_has(tmp_path, key, shape, dtype):
    write_npz(tmp_path / "scan.npz", key, shape, dtype, 1)
    assert_refused(tmp_path, "inspect scan.npz --out new.png", (f"scan.npz: {key}: cannot be read: shape",))


def test_npz_members_that_do_not_fit_in_memory(tmp_path, monkeypatch):
    write_npz(tmp_path / "scan.npz", "objectGuess", (8 * 2**21,), "c8", 8)
    monkeypatch.setattr("ptychopinn.memory.memory", lambda: 2**27)
    assert_refused(tmp_path, "inspect scan.npz --out new.png", ("objectGuess: 0.25 GiB are needed, 0.125 GiB are",))


def test_blanks_in_the_manifest_of_a_bundle(tmp_path, template):
    np.savez(tmp_path / "scan.npz", **scan_arrays())
    with zipfile.ZipFile(template) as whole, zipfile.ZipFile(tmp_path / "bad.zip", "w", zipfile.ZIP_DEFLATED) as bad:
        for name in whole.namelist():
            with bad.open(name, "w", force_zip64=True) as stream:
                stream.write(whole.read(name))
                for _ in range(40 if name == "manifest.json" else 0):
                    stream.write(b" " * 2**24)
    assert_refused(tmp_path, "infer bad.zip scan.npz --out out", ("bad.zip: manifest.json: claims", "at most 67108864"))


def test_tensors_of_a_bundle_that_unpack_without_end(tmp_path, template):
    np.savez(tmp_path / "scan.npz", **scan_arrays())
    zeros = bytes(2**28)
    with zipfile.ZipFile(template) as whole, zipfile.ZipFile(tmp_path / "bad.zip", "w", zipfile.ZIP_DEFLATED) as bad:
        manifest = json.loads(whole.read("manifest.json"))
        manifest["sha256"]["frames"] = hashlib.sha256(zeros).hexdigest()
        bad.writestr("manifest.json", json.dumps(manifest))
        for name in set(whole.namelist()) - {"manifest.json"}:
            bad.writestr(name, zeros if name == "frames.safetensors" else whole.read(name))
    del zeros
    assert_refused(
        tmp_path, "infer bad.zip scan.npz --out out", ("frames.safetensors: claims 268435456 bytes, at most",)
    )


@pytest.mark.parametrize(
    ("name", "flag", "words"),
    [("map.json", "--map", "is larger than 67108864 bytes"), ("list.txt", "--drop-frames", "holds more than 67108864")],
)
def test_texts_without_end(scan, name, flag, words):
    with (scan.parent / name).open("wb") as stream:
        stream.truncate(2**34)
    assert_refused_unread(scan.parent, f"inspect scan.cxi --out new.png {flag} {name}", (name, words))


@pytest.mark.parametrize("assigned", ["step=1e-6", "object_size=8192 --set N=16 --set step=3"])
def test_a_study_of_too_many_frames(tmp_path, assigned):
    assert_refused(tmp_path, f"study plan --set {assigned}", ("step: ", "at most 1e+06 frames make a study"))


def test_a_study_that_does_not_fit_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("ptychopinn.memory.memory", lambda: 2**33)
    words = (
        "step: 16 px on an object of 8192 x 8192 px, 2.62e+05 frames of 128 px: 48 GiB are needed, 8 GiB are there",
    )
    assert_refused(tmp_path, "study plan --set object_size=8192", words)
