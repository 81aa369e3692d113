"""The scaling study: its cost model, its tables, and one run of it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import scaling, two_processes
from benchmarks.scaling import (
    CASES,
    Case,
    cost,
    extrapolated,
    family_of,
    per_frame,
    resident_of,
    run,
    series,
    table,
    write_scan,
)
from ptychopinn.api import read_scan
from ptychopinn.config import BaselineConfig, RefinementConfig
from ptychopinn.engines import native


def row(case: Case, seconds: float) -> dict:
    return asdict(case) | {
        "seconds": seconds,
        "cpu_seconds": seconds,
        "peak_bytes": 10**9,
        "steps": {"network": 1.0, "stitch": 1.0},
    }


def test_the_cost_model_finds_start_and_slope() -> None:
    rows = [row(Case("frames", count), 3.0 + 0.01 * count) for count in (100, 1000, 100_000)]
    assert cost(rows) == pytest.approx((3.0, 0.01))
    with pytest.raises(ValueError, match="at least two"):
        cost(rows[:1])


def test_a_billion_frames() -> None:
    assert extrapolated(0.00864, 64).startswith("1e+09 frames: 100 core-days; 8.19 TB of counts, 1.1 h at 2 GB/s; ")
    assert extrapolated(0.00864, 64).endswith("an image of 800 GB while it is made")


def test_no_run_is_planned_twice() -> None:
    assert len({case.key for case in CASES}) == len(CASES)


def test_series_and_table() -> None:
    cases = [Case("frames", 3000), Case("frames", 1000), Case("frames", 1000, N=32, network="narrow", width=0.25)]
    rows = {case.key: row(case, 10.0) for case in (*cases, Case("width", 1000, width=0.5))}
    assert [found["frames"] for found in series(rows, "frames")] == [1000, 3000]
    assert [found["N"] for found in series(rows, "frames", "narrow")] == [32]
    text = table(rows)
    assert "| frames | 3,000 | 64 | default | 1 | 10.0 | 10.0 | 1,000 |" in text
    assert "| frames | 1,000 | 32 | narrow | 1 | 10.0 | 10.0 | 1,000 |" in text
    assert "| width | 1,000 | 64 | width 0.5 | 1 |" in text
    assert per_frame(rows[cases[0].key]) == pytest.approx(2 / 3)


def test_the_picture_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "PICTURE", tmp_path / "scaling.png")
    rows = {case.key: row(case, 1 + case.frames / 100) for case in CASES}
    scaling.draw({"machine": {"name": "a processor", "cores": 2}, "rows": rows})
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


def test_the_largest_descendant_counts() -> None:
    """A shell that starts a process which holds 300 MB."""
    hold = "x = b'1' * 300_000_000; import time; time.sleep(60)"
    line = f'{sys.executable} -c "{hold}" & wait'
    shell = subprocess.Popen(["sh", "-c", line], start_new_session=True)
    try:
        found, end = 0, time.monotonic() + 20
        while found < 3e8 and time.monotonic() < end:
            found = resident_of(family_of(shell.pid))
        assert 3e8 < found < 6e8
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    assert resident_of(family_of(shell.pid)) == 0


@pytest.mark.parametrize("count", [150, 500])
def test_every_frame_belongs_to_its_place(tmp_path: Path, count: int) -> None:
    """A fit of positions and counts that belong together ends at the noise."""
    write_scan(tmp_path / "scan.cxi", 32, count, lines=8)
    scan = read_scan(tmp_path / "scan.cxi")
    assert len(scan) == count
    found = native.reconstruct(scan, BaselineConfig(epochs=20), RefinementConfig())
    assert found.deviance < found.expected_deviance


def test_fits_have_a_series_of_their_own() -> None:
    case = Case("refine", 1000, command="refine")
    rows = {each.key: row(each, 1.0) for each in (case, Case("frames", 1000))}
    assert len(rows) == 2
    assert [found["frames"] for found in series(rows, "refine")] == [1000]
    assert "| refine | 1,000 | 64 |  | 1 | 1.0 |" in table(rows)


@pytest.mark.slow
def test_a_run_is_measured(tmp_path: Path) -> None:
    found = run(Case("frames", 40, N=32, network="narrow", width=0.25), tmp_path)
    assert found["frames"] == 40
    assert found["seconds"] > sum(found["steps"].values())
    assert found["peak_bytes"] > 10**8
    assert 0.5 < found["cpu_seconds"] < 600


@pytest.mark.parametrize(("shared", "expected"), [(1.0, 0.0), (0.75, 0.25), (0.0, 1.0)])
def test_what_is_not_shared_is_told_from_cpu_seconds(shared: float, expected: float) -> None:
    assert two_processes.not_shared(40.0, 40.0 * (1 - shared / 2)) == pytest.approx(expected)


@pytest.mark.slow
def test_one_and_two_processes_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["two", "--folder", str(tmp_path), "--frames", "256", "--epochs", "3"])
    two_processes.main()
    told = capsys.readouterr().out
    assert len(told.splitlines()) == 4
    apart = float(told.split("images differ by ")[1].split()[0])
    assert apart < 1e-4
