"""Virtual datasets and links whose files are there, and gone."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.conventions import links
from ptychopinn.scan.frames import Frames

DATA = np.arange(6 * 4 * 4, dtype=np.uint16).reshape(6, 4, 4) + 1


def parts(folder: Path, *pieces: slice) -> list[str]:
    names = [f"part_{number}.h5" for number in range(len(pieces))]
    for name, piece in zip(names, pieces, strict=True):
        with h5py.File(folder / name, "w") as file:
            file["data"] = DATA[piece]
    return names


def virtual(path: Path, folder: str = "") -> list[str]:
    """Half of the frames in each of two files."""
    pieces = slice(0, 3), slice(3, 6)
    names = parts(path.parent / folder, *pieces)
    layout = h5py.VirtualLayout(DATA.shape, DATA.dtype)
    for name, piece in zip(names, pieces, strict=True):
        layout[piece] = h5py.VirtualSource(str(Path(folder) / name), "data", shape=DATA[piece].shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("frames", layout)
    return names


def values(path: Path, in_memory: int = 2**20) -> np.ndarray:
    with hdf5.opened(path) as file:
        return np.asarray(hdf5.frames_of(hdf5.stack(hdf5.find(file, "frames")), in_memory))


@pytest.mark.parametrize("in_memory", [0, 2**20])
def test_all_sources_are_there(tmp_path: Path, in_memory: int) -> None:
    virtual(tmp_path / "v.h5")
    np.testing.assert_array_equal(values(tmp_path / "v.h5", in_memory), DATA)


@pytest.mark.parametrize("place", ["relative", "elsewhere", "by a link to the file"])
def test_sources_are_found_where_hdf5_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    virtual(tmp_path / "v.h5", "raw")
    path = tmp_path / "v.h5"
    if place == "by a link to the file":
        path = tmp_path / "work/link.h5"
        path.symlink_to(tmp_path / "v.h5")
    np.testing.assert_array_equal(values(Path("../v.h5") if place == "relative" else path), DATA)


@pytest.mark.parametrize("in_memory", [0, 2**20])
@pytest.mark.parametrize("fault", ["gone", "truncated", "other name", "too short"])
def test_a_missing_source_is_named(tmp_path: Path, fault: str, in_memory: int) -> None:
    virtual(tmp_path / "v.h5")
    path, words = tmp_path / "part_1.h5", "part_1.h5"
    if fault == "gone":
        path.unlink()
        words = "its source part_1.h5 is not there"
    elif fault == "truncated":
        path.write_bytes(path.read_bytes()[:200])
        words = "part_1.h5 is no readable HDF5 file"
    else:
        with h5py.File(path, "w") as file:
            file["data" if fault == "too short" else "other"] = DATA[:2]
        words = r"part_1.h5: data" + (r" has shape \(2, 4, 4\); at least \(3, 4, 4\)" if fault == "too short" else "")
    with pytest.raises(PtychoError, match=f"v.h5: /frames: is a virtual dataset, .*{words}"):
        values(tmp_path / "v.h5", in_memory)


def test_one_of_the_modules_is_gone(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout((6, 4, 6), float)  # a gap between the modules is no fault
    for number, columns in enumerate((slice(0, 2), slice(4, 6))):
        with h5py.File(tmp_path / f"m{number}.h5", "w") as file:
            file["data"] = DATA[:, :, :2]
        layout[:, :, columns] = h5py.VirtualSource(f"m{number}.h5", "data", shape=(6, 4, 2))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("frames", layout, fillvalue=-1)
    assert (values(tmp_path / "v.h5")[:, :, 2:4] == -1).all()
    (tmp_path / "m1.h5").unlink()
    with pytest.raises(PtychoError, match="its source m1.h5 is not there"):
        values(tmp_path / "v.h5")


def test_sources_of_sources(tmp_path: Path) -> None:
    virtual(tmp_path / "v.h5")
    layout = h5py.VirtualLayout(DATA.shape, DATA.dtype)
    layout[:] = h5py.VirtualSource("v.h5", "frames", shape=DATA.shape)
    with h5py.File(tmp_path / "top.h5", "w") as file:
        file.create_virtual_dataset("frames", layout)
        file["linked"] = h5py.ExternalLink("v.h5", "/frames")
    np.testing.assert_array_equal(values(tmp_path / "top.h5"), DATA)
    (tmp_path / "part_0.h5").unlink()
    with pytest.raises(PtychoError, match="top.h5: /frames: .*part_0.h5 is not there"):
        values(tmp_path / "top.h5")
    with hdf5.opened(tmp_path / "top.h5") as file, pytest.raises(PtychoError, match="part_0.h5 is not there"):
        hdf5.array(file["linked"])


def test_a_source_in_the_same_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["raw"] = DATA
        layout = h5py.VirtualLayout((3, 4, 4), DATA.dtype)
        layout[:] = h5py.VirtualSource(file["raw"])[::2]
        file.create_virtual_dataset("frames", layout)
    np.testing.assert_array_equal(values(tmp_path / "v.h5"), DATA[::2])


def master(path: Path, count: int) -> None:
    """A master file of a detector."""
    parts(path.parent, *[slice(0, 6)] * count)
    with h5py.File(path, "w") as file:
        for number in range(count):
            file[f"entry/data/data_{number}"] = h5py.ExternalLink(f"part_{number}.h5", "/data")
        file["entry/alias"] = h5py.SoftLink("/entry/mask")
        file["entry/mask"] = np.zeros((4, 4))
        file["entry/loop"] = h5py.SoftLink("/entry")


def test_links_are_listed_with_their_shapes(tmp_path: Path) -> None:
    master(tmp_path / "m.h5", 2)
    with h5py.File(tmp_path / "m.h5") as file:
        assert links.contents(file) == [
            "/entry/data/data_0 (6, 4, 4) in part_0.h5, /entry/data/data_1 (6, 4, 4) in part_1.h5",
            "/entry/alias (4, 4)",
            "/entry/mask (4, 4)",
        ]


def test_broken_links_come_first(tmp_path: Path) -> None:
    master(tmp_path / "m.h5", 2)
    (tmp_path / "part_1.h5").unlink()
    with h5py.File(tmp_path / "m.h5") as file:
        broken, whole, *_ = links.contents(file)
    assert broken == "/entry/data/data_1 (not there: it is a link to part_1.h5, and that file is not there)"
    assert whole == "/entry/data/data_0 (6, 4, 4) in part_0.h5"


def test_many_parts_share_an_entry(tmp_path: Path) -> None:
    master(tmp_path / "m.h5", 12)
    with h5py.File(tmp_path / "m.h5") as file:
        found = links.contents(file)[0]
        assert found.startswith("/entry/data/data_0 ... data_11 (12 of them, the first (6, 4, 4) in part_")
        assert links.expand(file, "entry/data/data_*") == [f"/entry/data/data_{number}" for number in range(12)]
        with pytest.raises(PtychoError, match=r"entry/x\*: no name in the file fits"):
            links.expand(file, "entry/x*")


@pytest.mark.parametrize("kind", ["soft", "external", "in a linked group", "other dataset"])
def test_a_link_to_nothing_is_named(tmp_path: Path, kind: str) -> None:
    parts(tmp_path, slice(0, 6))
    made = {
        "soft": ("a", h5py.SoftLink("/gone"), "a", "it is a link to /gone, which is not there"),
        "external": ("a", h5py.ExternalLink("gone.h5", "/d"), "a", "it is a link to gone.h5, and that file is not"),
        "in a linked group": ("g", h5py.ExternalLink("gone.h5", "/"), "g/a", "it is a link to gone.h5, and that file"),
        "other dataset": ("a", h5py.ExternalLink("part_0.h5", "/b"), "a", "a link to /b in part_0.h5, which is not"),
    }
    at, link, name, words = made[kind]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file[at] = link
    with hdf5.opened(tmp_path / "m.h5") as file:
        for look in (hdf5.find, hdf5.first):
            with pytest.raises(PtychoError, match=f"{name}: not there: .*{words}"):
                look(file, name)
        assert hdf5.first(file, "nothing", "of/these") is None


def test_raw_values_outside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("e.h5", "w") as file:
        file.create_dataset("frames", DATA.shape, DATA.dtype, external=[("raw.bin", 0, DATA.nbytes)])[...] = DATA
    np.testing.assert_array_equal(values(Path("e.h5")), DATA)
    Path("raw.bin").unlink()
    with pytest.raises(PtychoError, match="the file with its raw values, outside the HDF5 file, is not there"):
        values(Path("e.h5"))


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
@pytest.mark.parametrize("rows", [[0, 1, 2], [4], [1, 2, 3, 4, 6, 11], list(range(12)), []])
def test_frames_on_a_grid(tmp_path: Path, order: tuple[int, int, int], rows: list[int]) -> None:
    stored = np.arange(3 * 4 * 5 * 6, dtype=float).reshape(3, 4, 5, 6)
    flat = stored.reshape(12, 5, 6)
    if order == (2, 0, 1):
        flat, stored = stored.reshape(3, 4, 30), stored
        flat = stored.reshape(3, 4, 30).transpose(2, 0, 1)
    elif order == (0, 2, 1):
        flat = flat.transpose(0, 2, 1)
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["frames"] = stored
    with hdf5.opened(tmp_path / "g.h5") as file:
        source = hdf5.stack(file["frames"], order)
        assert source.shape == flat.shape
        np.testing.assert_array_equal(source.read(np.array(rows, np.int64)), flat[rows])
        assert isinstance(hdf5.frames_of(source, 0), Frames)
