"""Keep the results of a run, ``benchmarks/results/cpu.json`` and ``cuda.json``, and the tables in the README.

    python -m benchmarks.results REPORT.json

The report is what ``pytest --benchmark-json`` writes. Its rows replace those of the same name; the rest stays when it
was measured on the same machine with the same versions, and is dropped otherwise.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.ratios import DEVICES, plain

FOLDER = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"
MARKS = "<!-- results begin, written by benchmarks/results.py -->", "<!-- results end -->"
RATES = "copy", "matmul", "conv", "fft"
"""What is measured anew in every run; the best of all is kept."""

Results = dict[str, Any]


def results_of(report: dict[str, Any]) -> dict[str, Results]:
    """Of a report of pytest-benchmark, device -> {"machine": ..., "rows": {name: row}}; rows without facts are left."""
    found: dict[str, Results] = {}
    for entry in report["benchmarks"]:
        row = dict(entry["extra_info"])
        if "fraction_of_floor" not in row:
            continue
        machine = row.pop("machine")
        stats = entry["stats"]
        row |= {
            "threads": machine["threads"],
            "seconds": stats["median"],
            "iqr": stats["iqr"],
            "rounds": stats["rounds"],
            "when": report["datetime"],
        }
        device = found.setdefault(row.pop("device"), {"machine": machine, "rows": {}})
        name = entry["fullname"].removeprefix("benchmarks/")
        device["rows"][name] = {key: rounded(value) for key, value in row.items()}
    return found


def rounded(value: Any) -> Any:
    """Four significant digits; more are noise."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def merged(before: Results | None, now: Results) -> Results:
    """Rows of now, and those of before where the machine is the same."""
    if before is None or identity(before["machine"]) != identity(now["machine"]):
        return now
    best = {rate: max(before["machine"][rate], now["machine"][rate]) for rate in RATES}
    return {"machine": now["machine"] | best, "rows": before["rows"] | now["rows"]}


def identity(machine: dict[str, Any]) -> dict[str, Any]:
    """What makes a machine the same, that is all but its measured rates and the threads that a run used."""
    return {name: value for name, value in machine.items() if name not in (*RATES, "threads")}


def table(results: Results) -> str:
    """Markdown: the machine in a line, then a row per benchmark."""
    machine = results["machine"]
    rates = (
        f"copy {machine['copy'] / 1e9:.1f} GB/s, float32 matrix product {machine['matmul'] / 1e9:,.0f} GFLOP/s, "
        f"convolution {machine['conv'] / 1e9:,.0f} GFLOP/s, Fourier transform {machine['fft'] / 1e9:,.0f} GFLOP/s"
    )
    lines = [
        f"{machine['name']}, {machine['cores']} cores, torch {machine['torch']}, Python {machine['python']}; {rates}.",
        "",
        "| benchmark | threads | throughput | seconds a call | of its floor | floor set by | working memory (MB) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(results["rows"].items(), key=by_number):
        name = plain(name).removeprefix("bench_").replace(".py::test_", ": ")
        memory, speed = row["working_bytes"] / 1e6, float(f"{row['throughput']:.3g}")
        lines.append(
            f"| {name} | {row['threads']} | {speed:,.0f} {row['unit']} | {row['seconds']:.3g} | "
            f"{row['fraction_of_floor']:.2g} | {row['floor_set_by']} | {memory:,.0f} |"
        )
    return "\n".join(lines)


def by_number(item: tuple[str, Results]) -> list[tuple[int, str]]:
    """Order in which 64 stands before 128."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", item[0])]


def with_tables(text: str, tables: dict[str, str]) -> str:
    """A README with the tables between its two marks.

    Raises:
        ValueError: when a mark is missing.
    """
    head, begin, rest = text.partition(MARKS[0])
    _, end, tail = rest.partition(MARKS[1])
    if not begin or not end:
        raise ValueError(f"README: the lines {MARKS[0]!r} and {MARKS[1]!r} are needed.")
    parts = "".join(f"\n### {device}\n\n{content}\n" for device, content in tables.items())
    return f"{head}{begin}\n{parts}\n{end}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="from pytest --benchmark-json")
    given = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for device, now in results_of(json.loads(given.report.read_text(encoding="utf-8"))).items():
        path = FOLDER / f"{device}.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        path.write_text(json.dumps(merged(before, now), indent=1) + "\n", encoding="utf-8")
        print(f"{path}: {len(now['rows'])} rows written")
    stored = [path for device in DEVICES if (path := FOLDER / f"{device}.json").is_file()]
    tables = {path.stem: table(json.loads(path.read_text(encoding="utf-8"))) for path in stored}
    README.write_text(with_tables(README.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main()
