"""The rows that `inspect` prints, against scans whose numbers are known."""

from dataclasses import replace

import numpy as np
import pytest

from ptychopinn.scan.scan import Scan
from ptychopinn.scan.summary import frame_statistics, summarise


def rows_of(scan: Scan) -> dict[str, str]:
    return dict(summarise(scan))


def number(text: str) -> float:
    return float(text.split()[0])


def test_rows_of_a_known_scan(scan: Scan) -> None:
    rows = rows_of(scan)
    assert rows["frames"] == "48 of 32 x 32 pixels, uint16"
    assert number(rows["photons per frame"]) == pytest.approx(1e4, rel=0.02)
    assert rows["bad pixels"] == "no mask given"
    assert rows["probe modes"] == "2, with 80.0 %, 20.0 % of the power"
    assert rows["probe photons"].startswith("10000, 1.0") or rows["probe photons"].startswith("10000, 0.99")
    assert rows["positions y"] == "20.0 to 48.0 px, 28.0 px wide"
    assert rows["positions x"] == "20.0 to 40.0 px, 20.0 px wide"
    assert rows["step"] == "4.00 px to the nearest neighbour"
    assert rows["object"] == "given, 70 x 62 pixels"
    assert rows["pixel size"] == "not given"
    assert "note" not in rows


def test_brightest_pixel_is_exact_and_names_its_frame(scan: Scan) -> None:
    where = int(scan.counts.max(axis=(1, 2)).argmax())
    assert rows_of(scan)["brightest pixel"] == f"{scan.counts.max()} photons, in frame {where}"


def test_overlap_follows_from_step_and_diameter(scan: Scan) -> None:
    rows = rows_of(scan)
    diameter = number(rows["probe diameter"])
    assert diameter == pytest.approx(scan.probe_diameter, rel=0.01)
    assert number(rows["linear overlap"]) == pytest.approx(100 * (1 - 4.0 / scan.probe_diameter), abs=0.5)
    inside = np.hypot(*(scan.positions[:, None] - scan.positions[None]).transpose(2, 0, 1)) <= scan.probe_diameter / 2
    assert number(rows["frames per probe area"]) == pytest.approx(np.median(inside.sum(axis=1)), abs=0.5)


def test_sparse_scan_has_no_overlap(scan: Scan) -> None:
    far = replace(scan, positions=scan.positions * 10, object=None)
    rows = rows_of(far)
    assert rows["linear overlap"] == "none: the step exceeds the probe diameter"
    assert number(rows["frames per probe area"]) == 1
    assert rows["object"] == "not given"


def test_repeated_positions_do_not_make_the_step_zero(scan: Scan) -> None:
    twice = scan.subset(np.repeat(np.arange(len(scan)), 2))
    assert rows_of(twice)["step"] == "4.00 px to the nearest neighbour; 48 repeats"


def test_single_frame_has_no_step(scan: Scan) -> None:
    rows = rows_of(scan.subset(slice(0, 1)))
    assert rows["step"].startswith("none") and "linear overlap" not in rows


def test_pixel_size_gives_lengths_in_metres(scan: Scan) -> None:
    rows = rows_of(replace(scan, pixel_size_m=2.5e-8))
    assert rows["pixel size"] == "25.0 nm"
    assert rows["step"] == "4.00 px (100 nm) to the nearest neighbour"
    assert rows["positions y"] == "20.0 to 48.0 px, 28.0 px (700 nm) wide"


def test_bad_pixels_dark_frames_and_notes_are_told(scan: Scan) -> None:
    good = np.ones((scan.N, scan.N), dtype=bool)
    good[:2] = False
    counts = scan.counts.copy()
    counts[3:5] = 0
    notes = ("Taken as amplitude.", "Scaled.")
    rows = summarise(replace(scan, counts=counts, good_pixels=good, notes=notes))
    assert dict(rows)["bad pixels"] == "64 of 1024 (6.2 %)"
    good[:] = False
    good[0, 0] = True
    assert rows_of(replace(scan, good_pixels=good))["bad pixels"] == "1023 of 1024 (100 %)"
    assert dict(rows)["photons per frame"].endswith("2 frames without a photon")
    assert [value for label, value in rows if label == "note"] == list(notes)


def test_object_too_small_for_the_scan_is_told(scan: Scan) -> None:
    assert scan.object is not None
    rows = rows_of(replace(scan, object=scan.object[:50, :50]))
    assert rows["object"] == "given, 50 x 50 pixels; patches reach from (4, 4) to (64, 56), beyond it"


def test_scan_without_light_is_summarised(scan: Scan) -> None:
    rows = rows_of(replace(scan, counts=np.zeros_like(scan.counts)))
    assert rows["probe photons"] == "10000"
    assert "48 frames without a photon" in rows["photons per frame"]


def test_statistics_do_not_depend_on_blocks(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptychopinn.scan.frames.BLOCK_BYTES", 7 * 4 * scan.N**2)
    found = frame_statistics(scan)
    np.testing.assert_allclose(found.mean, scan.counts.mean(axis=0))
    np.testing.assert_array_equal(found.totals, scan.counts.sum(axis=(1, 2), dtype=np.int64))
    assert scan.counts[found.brightest_frame].max() == found.brightest == scan.counts.max()
