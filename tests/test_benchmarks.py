"""The parts that the benchmarks share: floors, results, tables, ratios; and that every benchmark runs."""

import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from benchmarks import floors, results
from benchmarks.floors import Machine, Memory, Work, best_seconds, facts, flops_of, machine_of, watched
from benchmarks.ratios import paired, plain
from benchmarks.results import MARKS, by_number, merged, results_of, table, with_tables

ROOT = Path(__file__).parents[1]
MACHINE = Machine("cpu", "a processor", 2, 2, "2.9", "3.11", copy=10e9, matmul=100e9, conv=50e9, fft=10e9)
FILES = sorted((ROOT / "benchmarks").glob("bench_*.py"))


def report(name: str, seconds: float, machine: Machine = MACHINE) -> dict:
    """What pytest-benchmark writes of one benchmark."""
    work = Work(100, "patterns", "8 bytes a pattern", bytes=800)
    stats = {"median": seconds, "iqr": 0.0, "rounds": 3, "data": [seconds] * 3}
    info = facts(work, machine, seconds, Memory(before=10, most=30))
    entry = {"fullname": f"benchmarks/{name}", "extra_info": info, "stats": stats}
    return {"datetime": "2026-11-25T00:00:00", "benchmarks": [entry]}


def test_the_floor_is_the_longest_of_bytes_arithmetic_and_seconds() -> None:
    assert Work(1, "frames", "", bytes=20e9, flops=100e9).floor(MACHINE) == (2.0, "memory")
    assert Work(1, "frames", "", bytes=20e9, flops=300e9).floor(MACHINE) == (3.0, "arithmetic")
    assert Work(1, "frames", "", flops=100e9, conv_flops=100e9, fft_flops=10e9).floor(MACHINE) == (4.0, "arithmetic")
    assert Work(1, "frames", "", bytes=20e9, seconds=5.0).floor(MACHINE) == (5.0, "measured")


def test_facts() -> None:
    found = facts(Work(100, "frames", "why", bytes=20e9), MACHINE, 4.0, Memory(before=5, most=7))
    assert (found["throughput"], found["unit"]) == (25.0, "frames/s")
    assert (found["floor_seconds"], found["fraction_of_floor"], found["floor"]) == (2.0, 0.5, "why")
    assert (found["peak_bytes"], found["working_bytes"]) == (7, 2)
    assert found["machine"] == asdict(MACHINE)


def test_memory_of_a_call_is_seen_and_forgotten() -> None:
    size = 2**28
    with watched("cpu") as large:
        block = torch.ones(size, dtype=torch.uint8)
        del block
    with watched("cpu") as small:
        torch.ones(16)
    assert large.most - large.before > 0.9 * size
    if sys.platform == "linux":
        assert small.most - small.before < 0.5 * size


def test_operations_of_a_convolution_are_counted() -> None:
    conv = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)
    assert flops_of(lambda: conv(torch.zeros(2, 3, 8, 8))) == 2 * 2 * 5 * 8 * 8 * 3 * 9


def test_the_first_call_does_not_count() -> None:
    calls = []
    assert best_seconds(lambda: calls.append(0), "cpu", rounds=3, total=0) < 0.1
    assert len(calls) == 4
    best_seconds(lambda: calls.append(0), "cpu", rounds=3, total=0.01)
    assert len(calls) > 8 + 3


def test_a_machine_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for sizes, small in ((floors.COPIED, 2**22), (floors.EDGE, 128), (floors.IMAGES, 1)):
        monkeypatch.setitem(sizes, "cpu", small)
    machine_of.cache_clear()
    machine = machine_of("cpu")
    assert machine is machine_of("cpu")
    assert machine.threads == torch.get_num_threads()
    assert min(machine.copy, machine.matmul, machine.conv, machine.fft) > 1e7
    machine_of.cache_clear()


def test_results_are_kept_by_device_and_small() -> None:
    found = results_of(report("bench_a.py::test_b[cpu-64]", 1 / 3))["cpu"]
    row = found["rows"]["bench_a.py::test_b[cpu-64]"]
    assert (row["throughput"], row["seconds"], row["rounds"]) == (300.0, 0.3333, 3)
    assert found["machine"]["name"] == "a processor"
    assert "data" not in row
    bare = {"datetime": "", "benchmarks": [{"fullname": "x", "extra_info": {}, "stats": {}}]}
    assert results_of(bare) == {}


def test_rows_stay_on_the_same_machine_only() -> None:
    before = results_of(report("a.py::test_a", 1.0))["cpu"]
    again = results_of(report("a.py::test_b", 1.0, replace(MACHINE, copy=11e9)))["cpu"]
    other = results_of(report("a.py::test_b", 1.0, replace(MACHINE, torch="2.10")))["cpu"]
    assert list(merged(before, again)["rows"]) == ["a.py::test_a", "a.py::test_b"]
    assert list(merged(before, other)["rows"]) == ["a.py::test_b"]
    assert (merged(before, again)["machine"]["copy"], merged(again, before)["machine"]["copy"]) == (11e9, 11e9)
    assert merged(None, again) == again


def test_a_table_stands_between_its_marks() -> None:
    found = table(results_of(report("bench_a.py::test_b[cpu-64]", 0.5))["cpu"])
    assert "| a: b[64] | 2 | 200 patterns/s | 0.5 |" in found
    names = ["x[128-a]", "x[64-b]", "x[64-a]"]
    assert sorted(names, key=lambda name: by_number((name, {}))) == ["x[64-a]", "x[64-b]", "x[128-a]"]
    text = with_tables(f"head\n{MARKS[0]}\nold\n{MARKS[1]}\ntail", {"cpu": found})
    assert "old" not in text
    assert text.startswith("head\n")
    assert text.endswith("\ntail")
    assert with_tables(text, {"cpu": found}) == text
    with pytest.raises(ValueError, match="results begin"):
        with_tables("nothing", {})


def test_ratios_pair_rows_of_two_devices() -> None:
    assert plain("bench_a.py::test_b[64-cuda-gzip]") == "bench_a.py::test_b[64-gzip]"
    assert plain("bench_a.py::test_b[cuda]") == "bench_a.py::test_b"
    cpu = results_of(report("a.py::test_b[cpu-64]", 1.0))["cpu"]
    cuda = results_of(report("a.py::test_b[cuda-64]", 0.1, replace(MACHINE, device="cuda")))["cuda"]
    assert paired(cpu, cuda) == [("a.py::test_b[64]", 100.0, 1000.0)]
    cuda["rows"]["a.py::test_b[cuda-64]"]["unit"] = "frames/s"
    with pytest.raises(ValueError, match="patterns/s in the one"):
        paired(cpu, cuda)


def test_ratios_of_two_files(tmp_path: Path) -> None:
    for name, seconds in (("a.json", 1.0), ("b.json", 0.25)):
        (tmp_path / name).write_text(json.dumps(results_of(report("a.py::test_b[cpu]", seconds))["cpu"]))
    line = [sys.executable, str(ROOT / "benchmarks" / "ratios.py"), str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    printed = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert "| a.py::test_b | 100 | 400 | 4 |" in printed


def test_a_report_is_kept_beside_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, readme, path = tmp_path / "results", tmp_path / "README.md", tmp_path / "report.json"
    folder.mkdir()
    (folder / "scaling.json").write_text("{}")
    readme.write_text("\n".join(MARKS))
    path.write_text(json.dumps(report("bench_a.py::test_b[cpu-64]", 0.5)))
    monkeypatch.setattr(results, "FOLDER", folder)
    monkeypatch.setattr(results, "README", readme)
    monkeypatch.setattr(sys, "argv", ["results", str(path)])
    results.main()
    assert "a: b[64]" in readme.read_text()
    assert list(json.loads((folder / "cpu.json").read_text())["rows"]) == ["bench_a.py::test_b[cpu-64]"]


def pytest_of(*arguments: str) -> str:
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_benchmark_runs_on_small_sizes(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    pytest_of("benchmarks", "--tiny", "-m", "not cuda", f"--benchmark-json={path}")
    written = {entry["fullname"] for entry in json.loads(path.read_text())["benchmarks"]}
    missing = {file.name for file in FILES} - {name.split("::")[0].removeprefix("benchmarks/") for name in written}
    assert missing <= {"bench_refinement.py"}, "needs measured data"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_benchmark_has_tests(path: Path) -> None:
    module = importlib.import_module(f"benchmarks.{path.stem}")
    assert any(name.startswith("test_") for name in vars(module))
