"""Devices, sizes, and one way to measure: ``measure(function, ..., work=Work(...))``."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.floors import Work, facts, machine_of, synchronise, watched

PIXELS = {"cpu": 2**19, "cuda": 2**25}
"""Detector pixels of all frames of a call: on a CPU about what the package handles at once, which a cache can hold."""

TINY_PIXELS = 2**16


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tiny", action="store_true", help="small sizes: whether the benchmarks run, not how fast")


@pytest.fixture(scope="session")
def tiny(request: pytest.FixtureRequest) -> bool:
    """Whether sizes are to be small."""
    return bool(request.config.getoption("--tiny"))


@pytest.fixture(
    scope="module",
    params=[
        "cpu",
        pytest.param(
            "cuda",
            marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
        ),
    ],
)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[64, 128, 256])
def N(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def count(device: str, N: int, tiny: bool) -> int:
    """Frames of a call: as many pixels at every N."""
    return (TINY_PIXELS if tiny else PIXELS[device]) // N**2


@pytest.fixture
def measure(benchmark: Any, tiny: bool) -> Callable[..., Any]:
    """Time a function, record what ``floors.facts`` says, and return its result.

    ``measure(function, *args, work=Work(...), device="cpu", rounds=10, warmup=1)``. The device has finished when a
    round ends. The rounds are warmed up first; with ``warmup=0`` the first call counts.
    """

    def run(
        function: Callable[..., Any], *args: Any, work: Work, device: str = "cpu", rounds: int = 10, warmup: int = 1
    ) -> Any:
        def finished() -> Any:
            result = function(*args)
            synchronise(device)
            return result

        machine = machine_of(device)  # measured before the memory is watched
        with watched(device) as memory:
            result = benchmark.pedantic(finished, rounds=1 if tiny else rounds, warmup_rounds=0 if tiny else warmup)
        if benchmark.stats is not None:  # it has none with --benchmark-disable
            row = facts(work, machine, benchmark.stats.stats.median, memory)
            benchmark.extra_info.update(row)
            print(
                f"\n{benchmark.name}: {row['throughput']:,.0f} {row['unit']}, {row['fraction_of_floor']:.2g} of floor"
            )
        return result

    return run
