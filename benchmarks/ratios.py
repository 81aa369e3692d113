"""How many times faster each benchmark of one result file is than in another.

    python benchmarks/ratios.py benchmarks/results/cpu.json benchmarks/results/cuda.json

Rows are paired by what they measure; the device in their name does not count.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

DEVICES = "cpu", "cuda"


def paired(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Rows that both have: name, and the throughput in each.

    Raises:
        ValueError: when the same row is measured in different units.
    """
    here, there = ({plain(name): row for name, row in results["rows"].items()} for results in (first, second))
    pairs = []
    for name in sorted(here.keys() & there.keys()):
        a, b = here[name], there[name]
        if a["unit"] != b["unit"]:
            raise ValueError(f"{name}: {a['unit']} in the one, {b['unit']} in the other.")
        pairs.append((name, a["throughput"], b["throughput"]))
    return pairs


def plain(name: str) -> str:
    """``bench_x.py::test_y[cuda-64]`` -> ``bench_x.py::test_y[64]``."""
    test, _, parameters = name.removesuffix("]").partition("[")
    kept = "-".join(part for part in parameters.split("-") if part not in DEVICES)
    return f"{test}[{kept}]" if kept else test


def described(machine: dict[str, Any]) -> str:
    return f"{machine['device']}: {machine['name']}, {machine['cores']} cores, torch {machine['torch']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    given = parser.parse_args()
    first, second = (json.loads(path.read_text(encoding="utf-8")) for path in (given.first, given.second))
    pairs = paired(first, second)
    if not pairs:
        print(f"{given.first} and {given.second} have no row in common", file=sys.stderr)
        return 1
    print(f"A {given.first}, {described(first['machine'])}\nB {given.second}, {described(second['machine'])}\n")
    print("| benchmark | A | B | B / A |\n|---|---|---|---|")
    for name, a, b in pairs:
        print(f"| {name} | {a:,.4g} | {b:,.4g} | {b / a:.3g} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
