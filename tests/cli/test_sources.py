"""Results as sources: ``--init``, ``--probe``, and a reconstruction in place of positions."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.api import read_scan
from ptychopinn.commands.shared.starting import start_of
from ptychopinn.config import DataConfig
from ptychopinn.files.formats.npz import write_npz
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.scan.scan import Scan
from tests.cli.refusing import Words, assert_refused, call
from tests.files.results.writers import WRITERS


@pytest.fixture
def folder(tmp_path: Path, tiny_scan: Scan) -> Path:
    """The tiny scan, and the results that other programs would have of it."""
    write_npz(tmp_path / "scan.npz", tiny_scan)
    for name, write in WRITERS.items():
        write(tmp_path / name, tiny_scan)
    return tmp_path


@pytest.mark.parametrize("name", WRITERS)
def test_an_image_of_another_program_lies_under_the_frames(folder: Path, tiny_scan: Scan, name: str) -> None:
    start = start_of(folder / name, tiny_scan, DataConfig(), folder / "scan.npz", lambda line: None)
    found, truth = start.window(tiny_scan.object.shape), tiny_scan.object
    inside = tiny_scan.scan_box
    np.testing.assert_allclose(np.angle(found[inside] / truth[inside]), 0, atol=5e-3)
    np.testing.assert_allclose(abs(found[inside]), abs(truth[inside]), atol=5e-3)


def test_positions_of_part_of_the_frames(folder: Path, tiny_scan: Scan) -> None:
    """A scan of every third frame finds them among the positions of all."""
    part = tiny_scan.subset(slice(1, None, 3))
    start = start_of(folder / "cdtools.h5", part, DataConfig(), folder / "scan.npz", lambda line: None)
    inside = tiny_scan.scan_box
    np.testing.assert_allclose(start.window(tiny_scan.object.shape)[inside], tiny_scan.object[inside], atol=5e-3)


def test_an_image_without_positions_lies_by_its_metres(folder: Path, tiny_scan: Scan) -> None:
    done = call(folder, "convert product.npz scan.h5 --frames scan.npz")
    assert done.exit_code == 0, done.output
    scan = read_scan(folder / "scan.h5")
    lines: list[str] = []
    with h5py.File(folder / "scan_ML_0300.ptyr", "r+") as file:
        del file["content/positions"]
        # PtyPy's metres, with pixel [0, 0] of its image where that of the product is
        file["content/obj/Sscan00G00/_origin"][...] = np.array([2e-6, -3e-6]) - 4e-8 * np.array(scan.object.shape) / 2
    start = start_of(folder / "scan_ML_0300.ptyr", scan, DataConfig(), folder / "scan.h5", lines.append)
    assert any("by its place in metres" in line for line in lines)
    np.testing.assert_allclose(start.window(scan.object.shape), scan.object, atol=1e-3)


def test_refine_from_another_programs_probe_and_image(folder: Path, tiny_scan: Scan) -> None:
    """After one epoch it is where vacuum is not."""
    error, inside = {}, tiny_scan.scan_box
    for name, flags in {"vacuum": "", "image": "--probe cdtools.h5 --init cdtools.h5"}.items():
        done = call(folder, f"refine scan.npz {flags} --epochs 1 --error-draws 0 --out {name}")
        assert done.exit_code == 0, done.output
        found = read_reconstruction(folder / name).window(tiny_scan.object.shape)
        turned = found[inside] / tiny_scan.object[inside]
        error[name] = np.abs(np.angle(turned / turned.mean())).mean()
    assert error["image"] < 0.05
    assert error["image"] < 0.7 * error["vacuum"]


def test_a_reconstruction_gives_probe_positions_and_image(folder: Path, tiny_scan: Scan) -> None:
    """Its frames are those of the scan, found by their numbers."""
    assert call(folder, "refine scan.npz --every 2 --epochs 2 --error-draws 0 --out first").exit_code == 0
    for source in ("first", "first/reconstruction.h5", "first/reconstruction.npz"):
        scan = read_scan(folder / source, frames=str(folder / "scan.npz"))
        np.testing.assert_array_equal(scan.counts, tiny_scan.counts[::2])
        np.testing.assert_array_equal(scan.probe, tiny_scan.probe)
        moved = scan.positions - tiny_scan.positions[::2]
        np.testing.assert_allclose(moved - moved[0], 0, atol=1e-9)
    done = call(folder, "refine first --frames scan.npz --probe first --epochs 1 --error-draws 0 --out second")
    assert done.exit_code == 0, done.output
    numbers = [h5py.File(folder / name / "reconstruction.h5")["frame_numbers"][()] for name in ("first", "second")]
    assert len(numbers[0]) == len(numbers[1])


def test_the_probe_of_the_scan_is_not_taken_for_a_fit(folder: Path) -> None:
    assert call(folder, "refine scan.npz --epochs 1 --error-draws 0 --out kept").exit_code == 0
    assert call(folder, "refine scan.npz --epochs 1 --error-draws 0 --refine-probe --out fitted").exit_code == 0
    assert read_reconstruction(folder / "kept").probe is None
    assert read_reconstruction(folder / "fitted").probe is not None


REFUSED: dict[str, tuple[str, Words]] = {
    "positions of another scan": (
        "refine scan.npz --init moved.h5 --out out",
        ("--init moved.h5", "differ from those of the scan", "px"),
    ),
    "no positions and no metres": (
        "refine scan.npz --init bare.ptyr --out out",
        ("--init bare.ptyr", "scan.npz has none in metres"),
    ),
    "a result for a scan": ("refine cdtools.h5 --out out", ("cdtools.h5", "no frames", "--frames FILE")),
    "a reconstruction for a scan": ("infer run image --out out", ("image", "no frames", "--frames FILE")),
    "no object": ("refine scan.npz --init probe.h5 --out out", ("--init probe.h5", "no object")),
    "another state": ("refine scan.npz --probe other.h5 --out out", ("other.h5", "type", "'phaser_state' is needed")),
    "frames of another size": ("refine image --frames small.npz --out out", ("small.npz", "frames of 16", "32")),
    "frames that are not there": ("refine image --frames few.npz --out out", ("few.npz", "no frame 10")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused(place: Path, folder: Path, tiny_scan: Scan, case: str) -> None:
    assert call(folder, "refine scan.npz --epochs 1 --error-draws 0 --out image").exit_code == 0
    write_npz(folder / "small.npz", tiny_scan.crop(16))
    write_npz(folder / "few.npz", tiny_scan.subset(slice(0, 10)))
    WRITERS["cdtools.h5"](folder / "moved.h5", tiny_scan.subset(np.random.default_rng(0).permutation(len(tiny_scan))))
    WRITERS["scan_ML_0300.ptyr"](folder / "bare.ptyr", tiny_scan)
    WRITERS["iter20.h5"](folder / "probe.h5", tiny_scan)
    with h5py.File(folder / "bare.ptyr", "r+") as file:
        del file["content/positions"]
    with h5py.File(folder / "probe.h5", "r+") as file:
        del file["object"]
    with h5py.File(folder / "other.h5", "w") as file:
        file["type"], file["version"], file["wavelength"] = "something", "1", 1.0
    command, words = REFUSED[case]
    assert_refused(folder, command, words)
