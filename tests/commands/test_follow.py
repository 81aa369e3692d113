"""Files that change while they are followed, written by a detector of our own: the image is that of one scan."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptychopinn.commands.follow import follow_folder
from ptychopinn.commands.shared.request import Request
from ptychopinn.config import Settings
from ptychopinn.errors import IncurableError, PtychoError
from ptychopinn.files.reading import open_scan
from ptychopinn.files.reconstruction import read_reconstruction
from ptychopinn.inference.infer import infer
from ptychopinn.model.bundle import Run, save_run
from tests import detector
from tests.detector import FRAMES, POSITIONS, append, begin, change, measure

pytestmark = pytest.mark.usefixtures("quick_pictures")

FIRST, ALL = 12, 36
SCAN, OTHER = measure(ALL, seed=1), measure(ALL, seed=2)
SAME = 0.01
"""Difference of two images, of which one has an input scale that the first frames decide."""

QUICK = {"follow_timeout": 0.6, "follow_interval": 0, "accelerator": "cpu"}
WRITTEN = {
    "live.html",
    "provenance.json",
    "reconstruction.h5",
    "reconstruction.npz",
    "reconstruction.png",
    "patterns.png",
}


@pytest.fixture
def follow(tmp_path: Path, tiny_run: Run) -> Callable[..., tuple[list[str], PtychoError | None]]:
    """Follows ``scan.cxi``; what is to happen to it happens at the first picture."""
    save_run(tmp_path / "run", tiny_run)

    def following(then: Callable[[Path], Any], **settings: Any) -> tuple[list[str], PtychoError | None]:
        path, lines = tmp_path / "scan.cxi", list[str]()

        def report(line: str) -> None:
            lines.append(line)
            if line.endswith("live.png") and sum(text.endswith("live.png") for text in lines) == 1:
                then(path)

        values = QUICK | settings
        request = Request(Settings.of(values), dict.fromkeys(values, "flag"), out=tmp_path / "image", report=report)
        try:
            follow_folder(tmp_path / "run", path, request)
        except PtychoError as error:
            return lines, error
        return lines, None

    return following


def shown(folder: Path) -> tuple[dict[str, Any], Any]:
    """What provenance.json has, and the image."""
    return json.loads((folder / "image/provenance.json").read_text()), read_reconstruction(folder / "image")


def assert_image_of(folder: Path, run: Run, path: Path, *rows: int) -> None:
    """The image is that of the frames ``rows`` of a file, all of them when none are given."""
    from ptychopinn.config import DataConfig

    whole = open_scan(path, DataConfig())
    part = whole.subset(np.array(rows)) if rows else whole
    found, expected = shown(folder)[1], infer(run, part)
    assert len(found.positions) == len(part)
    image, right = middle(found), middle(expected)
    assert np.linalg.norm(image - right) < SAME * np.linalg.norm(right)


def middle(image: Any) -> Any:
    """The image around the frame in the middle; where a file puts pixel 0 depends on the frames that are there."""
    row, column = (image.positions[len(image.positions) // 2] - image.origin).round().astype(int)
    return image.object[row - 8 : row + 8, column - 8 : column + 8]


def rewrite(path: Path, scan: detector.Measured, count: int) -> None:
    begin(path, scan)
    append(path, scan, 0, count)


def exchange(path: Path, scan: detector.Measured, count: int) -> None:
    rewrite(path.with_suffix(".new"), scan, count)
    os.replace(path.with_suffix(".new"), path)


@pytest.mark.parametrize(
    "then",
    [
        pytest.param(lambda path: exchange(path, OTHER, ALL), id="longer"),
        pytest.param(lambda path: exchange(path, OTHER, FIRST), id="as long", marks=pytest.mark.slow),
        pytest.param(lambda path: exchange(path, OTHER, 3), id="shorter", marks=pytest.mark.slow),
        pytest.param(lambda path: rewrite(path, OTHER, ALL), id="in place"),
        pytest.param(
            lambda path: (path.unlink(), rewrite(path, OTHER, ALL)), id="removed and written", marks=pytest.mark.slow
        ),
    ],
)
def test_another_scan_under_the_same_name_ends_with_the_image_of_the_first(tmp_path, tiny_run, follow, then):
    rewrite(tmp_path / "scan.cxi", SCAN, FIRST)
    rewrite(tmp_path / "first.cxi", SCAN, FIRST)
    _, error = follow(then)
    assert isinstance(error, PtychoError)
    assert "scan.cxi: holds" in str(error)
    assert "another scan" in str(error)
    assert f"image holds the image of the {FIRST} frames that were read before." in str(error)
    provenance, image = shown(tmp_path)
    assert (provenance["frames"], provenance["sha256"], provenance["deviance_per_pixel"]) == (FIRST, None, None)
    assert not np.isfinite(image.deviance)
    assert_image_of(tmp_path, tiny_run, tmp_path / "first.cxi")
    assert {path.name for path in (tmp_path / "image").iterdir()} == WRITTEN - {"patterns.png"}


@pytest.mark.slow
def test_a_copy_that_grew_is_the_same_scan(tmp_path, tiny_run, follow):
    rewrite(tmp_path / "scan.cxi", SCAN, FIRST)
    lines, error = follow(lambda path: exchange(path, SCAN, ALL))
    assert error is None, lines
    assert_image_of(tmp_path, tiny_run, tmp_path / "scan.cxi")
    assert {path.name for path in (tmp_path / "image").iterdir()} == WRITTEN


def test_a_frame_that_is_written_again_is_taken_as_it_is(tmp_path, tiny_run, follow):
    rewrite(tmp_path / "scan.cxi", SCAN, FIRST)

    def then(path: Path) -> None:
        change(path, FRAMES, FIRST - 1, SCAN.frames[FIRST - 1] // 2 + 1)
        append(path, SCAN, FIRST, ALL)

    lines, error = follow(then)
    assert error is None, lines
    said = f"Warning: frame {FIRST - 1} was written again after it was read; it is taken as it is now."
    assert lines.count(said) == 1
    assert_image_of(tmp_path, tiny_run, tmp_path / "scan.cxi")


@pytest.mark.slow
def test_a_position_that_changes_is_said(tmp_path, tiny_run, follow):
    rewrite(tmp_path / "scan.cxi", SCAN, FIRST)
    place = -3 * detector.pixel(32) * np.array([10.0, 11.0, 0.0])
    lines, error = follow(lambda path: (change(path, POSITIONS, 3, place), append(path, SCAN, FIRST, ALL)))
    assert error is None, lines
    assert sum("positions: 1 of 12 changed since they were read, the first that of frame 3" in text for text in lines)
    assert_image_of(tmp_path, tiny_run, tmp_path / "scan.cxi")


def test_positions_of_a_part_that_is_closed_must_stay(tmp_path, tiny_run, follow):
    many = measure(150, seed=3)
    rewrite(tmp_path / "scan.cxi", many, 140)
    shift = np.array([-9e-7, 0.0, 0.0])
    lines, error = follow(lambda path: [change(path, POSITIONS, row, shift) for row in range(3)], patch_memory=1)
    assert isinstance(error, PtychoError), lines
    assert "positions: frame 0 lies" in str(error)
    assert "px from where it was when it was read; " in str(error)
    assert shown(tmp_path)[0]["frames"] == 140


@pytest.mark.parametrize(
    ("fill", "dtype"),
    [(0, np.uint16), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((np.nan, "f4"), (-1, "i4")))],
)
def test_room_for_frames_is_no_frame(tmp_path, tiny_run, follow, fill, dtype):
    begin(tmp_path / "scan.cxi", SCAN, ALL, fill, dtype)
    append(tmp_path / "scan.cxi", SCAN, 0, FIRST)
    lines, error = follow(lambda path: append(path, SCAN, FIRST, 24))
    assert error is None, lines
    assert f"{ALL - 24} frames after frame 23 hold one value everywhere, as room for frames does: left out." in lines
    assert "12 frames: " in next(text for text in lines if text.endswith("live.png"))
    rewrite(tmp_path / "part.cxi", SCAN, 24)
    if fill == 0:
        assert_image_of(tmp_path, tiny_run, tmp_path / "part.cxi")
    assert shown(tmp_path)[0]["frames"] == 24


def test_frames_with_light_whose_position_is_still_room_wait_for_it(tmp_path, tiny_run, follow):
    begin(tmp_path / "scan.cxi", SCAN, ALL)
    append(tmp_path / "scan.cxi", SCAN, 0, 20)
    for row in range(FIRST, 20):
        change(tmp_path / "scan.cxi", POSITIONS, row, 0)
    lines, error = follow(lambda path: append(path, SCAN, FIRST, ALL))
    assert error is None, lines
    assert "12 frames: " in next(text for text in lines if text.endswith("live.png"))
    assert not [text for text in lines if "left out" in text]
    assert_image_of(tmp_path, tiny_run, tmp_path / "scan.cxi")


@pytest.mark.slow
def test_dark_frames_are_frames_once_the_writer_has_passed_them(tmp_path, tiny_run, follow):
    dark = SCAN._replace(frames=SCAN.frames.copy())
    dark.frames[14:19] = 0
    begin(tmp_path / "scan.cxi", dark, ALL)
    append(tmp_path / "scan.cxi", dark, 0, FIRST)
    lines, error = follow(lambda path: append(path, dark, FIRST, ALL))
    assert error is None, lines
    assert_image_of(tmp_path, tiny_run, tmp_path / "scan.cxi")


@pytest.mark.parametrize("row", [0, *(pytest.param(row, marks=pytest.mark.slow) for row in (5, 20, ALL - 1))])
@pytest.mark.parametrize(("name", "value"), [(FRAMES, np.nan), (POSITIONS, np.nan), (POSITIONS, 1e3)])
def test_one_bad_frame_or_position_at_any_time_is_left_out(tmp_path, follow, name, value, row):
    begin(tmp_path / "scan.cxi", SCAN, dtype=np.float32)
    append(tmp_path / "scan.cxi", SCAN, 0, FIRST)
    if row < FIRST:
        change(tmp_path / "scan.cxi", name, row, value)

    def then(path: Path) -> None:
        append(path, SCAN, FIRST, ALL)
        if row >= FIRST:
            change(path, name, row, value)

    lines, error = follow(then)
    assert error is None, lines
    said = f"1 frames after frame {row - 1} hold" if (name, row) == (FRAMES, ALL - 1) else f"frame {row}: "
    assert [text for text in lines if said in text and "left out" in text], lines
    provenance, image = shown(tmp_path)
    assert (provenance["frames"], len(image.positions)) == (ALL - 1, ALL - 1)
    assert np.isfinite(image.object).all()
    assert {path.name for path in (tmp_path / "image").iterdir()} == WRITTEN


MAP: dict[str, Any] = {
    "frames": {"dataset": FRAMES},
    "positions": {"dataset": POSITIONS, "columns": "xyz", "unit": "m"},
    "probe": "entry_1/image_1/data",
    "pixel_size": {"value": detector.pixel(32)},
}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"crop": 64}, "crop: 64 given"),
        ({"centre": "90,3"}, "centre: 90,3 given"),
        ({"middle_trim": 90}, "middle_trim: 90 given"),
        ({"mask": "no.npy"}, "no.npy: no such file"),
        ({"mask": "small.npy"}, "shape (16, 16); the frames are (32, 32)"),
        ({"drop_frames": "no.txt"}, "no.txt: no such file"),
        ({"frames": {"dataset": "entry_1"}}, "entry_1: is a group"),
        (
            {"frames": {"dataset": "data"}},
            "The file has frames in /entry_1/data_1/data (12, 32, 32), ",
        ),
        ({"frames": {"dataset": FRAMES, "order": "YXyx"}}, "real frames in the order YXyx"),
        ({"frames": {"dataset": POSITIONS}}, "shape (12, 3), dtype float64; real frames"),
        ({"positions": {"dataset": POSITIONS, "columns": "xyz", "unit": "furlong"}}, "unit 'furlong'"),
        ({"probe": POSITIONS}, "probe: shape (1, 12, 3)"),
        ({"pixel_size": None}, "the size of an object pixel is needed"),
        ({"bad_pixels": {"dataset": POSITIONS}}, "dtype float64; booleans"),
    ],
)
def test_what_no_frame_cures_ends_at_once_and_leaves_nothing(tmp_path, follow, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    np.save("small.npy", np.zeros((16, 16), bool))
    rewrite(tmp_path / "scan.cxi", SCAN, FIRST)
    if given.keys() & {"frames", "positions", "probe", "pixel_size", "bad_pixels"}:
        layout = {name: value for name, value in (MAP | given).items() if value is not None}
        Path("map.json").write_text(json.dumps(layout))
        given = {"map": "map.json"}
    lines, error = follow(lambda path: None, follow_timeout=600, **given)
    assert words in str(error), lines
    assert not [text for text in lines if text.startswith("waiting")]
    assert not (tmp_path / "image").exists()


@pytest.mark.slow
def test_a_file_is_open_only_while_it_is_read(tmp_path, follow):
    """A writer that opens the file for each frame is not locked out."""
    rewrite(tmp_path / "scan.cxi", SCAN, FIRST)
    open_files: list[str] = []

    def then(path: Path) -> None:
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                open_files.append(os.readlink(entry))

    _, error = follow(then)
    assert error is None
    assert str(tmp_path / "scan.cxi") not in open_files


def test_the_error_of_another_scan_cannot_be_cured(tmp_path):
    from ptychopinn.config import DataConfig
    from ptychopinn.files.growing.ledger import Ledger
    from ptychopinn.files.growing.reader import open_growing

    ledger, path = Ledger(), tmp_path / "scan.cxi"
    rewrite(path, SCAN, FIRST)
    look = open_growing(path, DataConfig(), ledger=ledger)
    look.scan.frames(slice(None))
    ledger.use(look.scan.numbers)
    open_growing(path, DataConfig(), ledger=ledger)
    rewrite(path, OTHER, FIRST)
    with pytest.raises(IncurableError, match="holds another scan now: frame 0"):
        open_growing(path, DataConfig(), ledger=ledger)
