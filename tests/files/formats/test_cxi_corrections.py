"""Dark signal, sensitivity and brightness in CXI files: used as far as they are, and never passed over in silence."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.errors import WARNING
from ptychopinn.files.formats import registry
from ptychopinn.files.formats.npz import record_of
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.files.reading import read
from ptychopinn.scan.scan import Scan
from tests.cli.refusing import call

DETECTOR = "entry_1/instrument_1/detector_1"


@pytest.fixture
def path(tmp_path: Path, tiny_scan: Scan) -> Path:
    path = tmp_path / "scan.cxi"
    registry.write(path, "cxi", registry.prepared(record_of(tiny_scan), "cxi", Geometry(dummy=True)))
    return path


def test_a_plain_file_has_no_warning(path: Path) -> None:
    assert not any(note.startswith(WARNING) for note in read(path).notes)


def flat() -> np.ndarray:
    values = np.random.default_rng(0).normal(1, 0.05, (32, 32))
    values[3:5, 7] = 0
    return values


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        (f"{DETECTOR}/data_dark", np.full((5, 32, 32), 2.5), "data_dark: 2.5 counts per pixel"),
        (f"{DETECTOR}/qe_mask", flat(), "qe_mask: the sensitivity of the pixels differs by 4.9 %"),
        ("entry_1/data_1/intensities", np.linspace(1, 2, 64), "intensities: the beam differs by 20 %"),
    ],
)
def test_what_is_not_modelled_is_named_by_every_command(path: Path, name: str, values: np.ndarray, words: str) -> None:
    with h5py.File(path, "r+") as file:
        file[name] = values
    for command in ("refine scan.cxi --quiet --epochs 1 --error-draws 0 --out image", "convert scan.cxi scan.npz -q"):
        done = call(path.parent, command)
        assert done.exit_code == 0, done.output
        assert f"{WARNING}{words}" in done.stderr
    done = call(path.parent, "inspect scan.cxi")
    assert f"warning                {words}" in done.output


def test_pixels_without_sensitivity_are_bad(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file[f"{DETECTOR}/qe_mask"] = flat()
    good = read(path).good_pixels
    assert good is not None
    assert (~good).sum() == 2
    assert not good[3:5, 7].any()
    with h5py.File(path, "r+") as file:
        file[f"{DETECTOR}/mask"] = np.eye(32, dtype=np.uint32)
    assert (~read(path).good_pixels).sum() == 34


@pytest.mark.parametrize("values", [np.ones((32, 32)), np.full((32, 32), np.nan), np.zeros((32, 32)), np.ones(4)])
def test_a_map_that_says_nothing_changes_nothing(path: Path, values: np.ndarray) -> None:
    with h5py.File(path, "r+") as file:
        file[f"{DETECTOR}/qe_mask"] = values
    record = read(path)
    assert record.good_pixels is None
    assert not any(note.startswith(WARNING) for note in record.notes)


def test_a_pixel_that_sees_light_is_good(path: Path) -> None:
    """Bit 0x1000 of the standard's mask."""
    mask = np.zeros((32, 32), np.uint32)
    mask[0, :3] = 0x1000, 0x1001, 0x4
    with h5py.File(path, "r+") as file:
        file[f"{DETECTOR}/mask"] = mask
    np.testing.assert_array_equal(read(path).good_pixels[0, :4], [True, False, False, True])
