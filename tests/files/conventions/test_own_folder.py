"""An HDF5 file from elsewhere cannot have foreign files read; its own folder stays open to it."""

import ast
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from ptychopinn.cli.app import app
from ptychopinn.errors import PtychoError
from ptychopinn.files import hdf5
from ptychopinn.files.conventions import links

FRAMES = np.arange(6 * 8 * 8, dtype=np.uint8).reshape(6, 8, 8) + 1
SECRET = b"root:x:0:0:" * 40
OUTSIDE = "outside the folder of the scan; .* give --allow-external"
ROOT = Path(__file__).parents[3]


def raw(path: Path, at: Path | str) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("dp", FRAMES.shape, "u1", external=[(str(at), 0, FRAMES.nbytes)])


def plain(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["a/dp"] = FRAMES
    return path


def linked(path: Path, link: Any, name: str = "dp") -> Path:
    with h5py.File(path, "w") as file:
        file[name] = link
    return path


def virtual(path: Path, source: Path | str, name: str = "a/dp") -> Path:
    layout = h5py.VirtualLayout(FRAMES.shape, FRAMES.dtype)
    layout[:] = h5py.VirtualSource(str(source), name, shape=FRAMES.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("dp", layout)
    return path


def soft_then_external(path: Path, outside: Path) -> None:
    linked(path, h5py.SoftLink("/there/dp"))
    with h5py.File(path, "a") as file:
        file["there"] = h5py.ExternalLink(str(outside), "/a")


def blocks(path: Path, outside: Path) -> None:
    """``%b`` in the name of a source: the first block lies beside, the second is a symbolic link."""
    plain(path.parent / "b0.h5")
    (path.parent / "b1.h5").symlink_to(outside)
    whole = h5py.h5s.create_simple((12, 8, 8), (h5py.h5s.UNLIMITED, 8, 8))
    whole.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (6, 8, 8), (6, 8, 8))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_virtual(whole, b"b%b.h5", b"a/dp", h5py.h5s.create_simple((6, 8, 8)))
    with h5py.File(path, "w", libver="latest") as file:
        space = h5py.h5s.create_simple((12, 8, 8), (h5py.h5s.UNLIMITED, 8, 8))
        h5py.h5d.create(file.id, b"dp", h5py.h5t.NATIVE_UINT8, space, properties)


def by_symbolic_link(path: Path, outside: Path) -> None:
    (path.parent / "beside.h5").symlink_to(outside)
    linked(path, h5py.ExternalLink("beside.h5", "/a/dp"))


ATTACKS: dict[str, Callable[[Path, Path], Any]] = {
    "link": lambda path, outside: linked(path, h5py.ExternalLink(str(outside), "/a/dp")),
    "relative link": lambda path, outside: linked(path, h5py.ExternalLink("../elsewhere/outside.h5", "/a/dp")),
    "soft link to a linked group": soft_then_external,
    "link inside, then outside": lambda path, outside: (
        linked(path.parent / "middle.h5", h5py.ExternalLink(str(outside), "/a/dp"), "x"),
        linked(path, h5py.ExternalLink("middle.h5", "/x")),
    ),
    "symbolic link": by_symbolic_link,
    "virtual": lambda path, outside: virtual(path, outside),
    "virtual of a virtual": lambda path, outside: (
        virtual(path.parent / "middle.h5", outside),
        virtual(path, "middle.h5", "dp"),
    ),
    "virtual of a link": lambda path, outside: (
        linked(path.parent / "middle.h5", h5py.ExternalLink(str(outside), "/a/dp"), "x"),
        virtual(path, "middle.h5", "x"),
    ),
    "virtual of blocks": blocks,
}


def values(path: Path, allow_external: bool = False) -> np.ndarray:
    with hdf5.opened(path, allow_external) as file:
        return np.asarray(hdf5.frames_of(hdf5.stack(hdf5.find(file, "dp")), 0)[:])


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_values_outside_the_folder_are_refused_unless_allowed(tmp_path: Path, attack: Callable[..., Any]) -> None:
    outside = plain(tmp_path / "elsewhere/outside.h5")
    (tmp_path / "scan").mkdir()
    path = tmp_path / "scan/scan.h5"
    attack(path, outside)
    with pytest.raises(PtychoError, match=OUTSIDE):
        values(path)
    np.testing.assert_array_equal(values(path, allow_external=True)[-6:], FRAMES)


@pytest.mark.parametrize("place", ["absolute", "relative", "symbolic link"])
def test_raw_storage_of_a_foreign_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (tmp_path / "scan").mkdir()
    monkeypatch.chdir(tmp_path / "scan")
    (tmp_path / "secret").write_bytes(SECRET)
    Path("beside.bin").symlink_to(tmp_path / "secret")
    raw(
        Path("scan.h5"),
        {"absolute": tmp_path / "secret", "relative": "../secret", "symbolic link": "beside.bin"}[place],
    )
    with pytest.raises(PtychoError, match=f"dp: its values lie in .*{OUTSIDE}"):
        values(Path("scan.h5"))
    assert values(Path("scan.h5"), allow_external=True).tobytes() == SECRET[: FRAMES.nbytes]
    with hdf5.opened(Path("scan.h5")) as file:  # whoever reads past the helpers is refused, too
        for read in (lambda item: item[()], np.asarray, lambda item: item.astype(int)[:], list):
            with pytest.raises(PtychoError, match="its values lie in"):
                read(file["dp"])
        for item in (file["/"]["dp"], next(iter(file.values())), file["dp"].parent["dp"]):
            with pytest.raises(PtychoError, match="its values lie in"):
                hdf5.array(item)


def test_the_folder_itself_and_below_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain(tmp_path / "scan/raw/frames.h5")
    (tmp_path / "scan/frames.bin").write_bytes(FRAMES.tobytes())
    monkeypatch.chdir(tmp_path / "scan")  # HDF5 looks for raw storage where one stands
    linked(Path("by_link.h5"), h5py.ExternalLink("raw/frames.h5", "a/dp"))
    linked(Path("moved.h5"), h5py.ExternalLink("/gone/by_link.h5", "dp"))
    linked(Path("by_soft_link.h5"), h5py.SoftLink("/there/dp"))
    with h5py.File("by_soft_link.h5", "a") as file:
        file["there"] = h5py.ExternalLink("raw/frames.h5", "/a")
    virtual(Path("virtual.h5"), "raw/frames.h5")
    virtual(Path("nested.h5"), "virtual.h5", "dp")
    raw(Path("raw.h5"), "frames.bin")
    for name in ("by_link", "moved", "by_soft_link", "virtual", "nested", "raw"):
        np.testing.assert_array_equal(values(Path(f"{name}.h5")), FRAMES, err_msg=name)
    (tmp_path / "link.h5").symlink_to(tmp_path / "scan/virtual.h5")
    np.testing.assert_array_equal(values(tmp_path / "link.h5"), FRAMES)


def test_a_link_to_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    path = linked(tmp_path / "scan.h5", h5py.ExternalLink("pipe.h5", "/a"), "x")
    with hdf5.opened(path) as file:
        assert "x" in file
        assert file.get("x", getlink=True).filename == "pipe.h5"
        with pytest.raises(PtychoError, match="x: is a link to pipe.h5, which is no file"):
            hdf5.find(file, "x/dp")


def test_links_that_are_not_read_do_no_harm(tmp_path: Path) -> None:
    outside = plain(tmp_path / "elsewhere/outside.h5")
    path = plain(tmp_path / "scan/scan.h5")
    with h5py.File(path, "a") as file:
        file["unused"] = h5py.ExternalLink(str(outside), "/a")
        file["loop"] = h5py.SoftLink("/loop")
    with hdf5.opened(path) as file:
        np.testing.assert_array_equal(hdf5.array(hdf5.find(file, "a/dp")), FRAMES)
        assert not hdf5.is_matlab(file)
        assert any(f"/unused in {outside}" in entry for entry in links.contents(file))


@pytest.mark.parametrize("allowed", [False, True])
def test_convert_does_not_copy_a_system_file(tmp_path: Path, allowed: bool) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    scan = tmp_path / "scan/scan.h5"
    scan.parent.mkdir()
    raw(scan, tmp_path / "secret")
    out = tmp_path / "out.npz"
    call = ["convert", str(scan), str(out), "--format", "dp", *(["--allow-external"] if allowed else [])]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == (0 if allowed else 2), result.output
    assert out.exists() == allowed
    if not allowed:
        assert result.stderr.startswith(f"ptychopinn: {scan}: ")
        assert len(result.stderr.splitlines()) == 1
        assert "--allow-external" in result.stderr


def test_every_hdf5_file_is_opened_by_one_function() -> None:
    """``h5py.File`` writes elsewhere, and reads in one place."""
    opens = []
    for path in sorted((ROOT / "ptychopinn").rglob("*.py")):
        if path.name == "filters.py":
            continue  # reads what it wrote in memory
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("h5py.File", "File"):
                writes = len(node.args) > 1 and ast.unparse(node.args[1]) == "'w'"
                opens += [] if writes else [f"{path.name}:{node.lineno}"]
    assert opens == []


def test_a_walk_visits_each_object_once_and_not_without_end(tmp_path: Path) -> None:
    """As h5py's ``visititems``, but 3,000 groups in one another take no minutes."""
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["b/x"] = FRAMES
        file["a"] = file["b/x"]
        file["c"] = file["b"]
        file["link"] = h5py.SoftLink("/b")
        expected: list[str] = []
        file.visititems(lambda name, item: expected.append(name))
        group = file.create_group("z")
        for _ in range(3000):
            group = group.create_group("z")
    seen: list[str] = []
    with hdf5.opened(tmp_path / "scan.h5") as file:
        file.visititems(lambda name, item: seen.append(name))
        assert file.visititems(lambda name, item: name if name == "b" else None) == "b"
    assert [name for name in seen if not name.startswith("z")] == expected
    assert 10 < len(seen) - len(expected) < 30
