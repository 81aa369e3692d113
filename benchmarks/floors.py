"""What a machine can do at best, and how near to it a measured time is.

A floor is the least time that the machine needs: for the bytes that have to move at its measured copy bandwidth, or
for the floating-point operations that have to be done at the measured rates of a matrix product, a convolution and a
Fourier transform, whichever takes longer.
"""

import math
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

COPIED = {"cpu": 2**28, "cuda": 2**30}
"""Bytes of the tensor whose copy measures the bandwidth: many times the last cache."""

EDGE = {"cpu": 2048, "cuda": 8192}
"""Of the matrices whose product measures the rate of arithmetic."""

IMAGES = {"cpu": 16, "cuda": 256}
"""Of 64 channels and 64 x 64 pixels, whose convolution measures its rate."""


@dataclass(frozen=True)
class Machine:
    """A device, described and measured.

    Attributes:
        device: "cpu" or "cuda".
        name: model of the processor or GPU.
        cores: that this process may use.
        threads: of torch.
        copy: bytes per second read and written by a copy.
        matmul: floating-point operations per second of a float32 matrix product, a multiply-add being two.
        conv: the same of a 3 x 3 convolution of 64 channels, channels last.
        fft: the same of transforms of 64 x 64 pixels, each reckoned as 5 N^2 log2 N^2 operations.
    """

    device: str
    name: str
    cores: int
    threads: int
    torch: str
    python: str
    copy: float
    matmul: float
    conv: float
    fft: float


@dataclass(frozen=True)
class Work:
    """What one call has to do.

    Attributes:
        count: items it handles.
        unit: what an item is: "patterns", "patches" ...
        bytes: that have to move.
        flops: floating-point operations of matrix products.
        conv_flops: of convolutions.
        fft_flops: of Fourier transforms, 5 N^2 log2 N^2 each.
        seconds: a floor that was measured otherwise in the same run.
        formula: where these numbers come from.
    """

    count: float
    unit: str
    formula: str
    bytes: float = 0.0
    flops: float = 0.0
    conv_flops: float = 0.0
    fft_flops: float = 0.0
    seconds: float = 0.0

    def floor(self, machine: Machine) -> tuple[float, str]:
        """Seconds that the work takes at least, and what sets them: memory, arithmetic, or another measurement."""
        arithmetic = self.flops / machine.matmul + self.conv_flops / machine.conv + self.fft_flops / machine.fft
        return max((self.bytes / machine.copy, "memory"), (arithmetic, "arithmetic"), (self.seconds, "measured"))


@dataclass
class Memory:
    """Bytes in use before some calls, and the most during them."""

    before: int = 0
    most: int = 0


def synchronise(device: str) -> None:
    """Wait until a device has done what it was asked to."""
    if device == "cuda":
        torch.cuda.synchronize()


@cache
def machine_of(device: str) -> Machine:
    """Describe and measure a device, once per process."""
    edge = EDGE[device]
    source = torch.ones(COPIED[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    matrix = torch.ones(edge, edge, device=device)
    product = torch.empty_like(matrix)
    images = torch.ones(IMAGES[device], 64, 64, 64, device=device).to(memory_format=torch.channels_last)
    kernel = torch.ones(64, 64, 3, 3, device=device).to(memory_format=torch.channels_last)
    waves = torch.ones(IMAGES[device] * 8, 64, 64, dtype=torch.complex64, device=device)
    fields = torch.empty_like(waves)
    with torch.inference_mode():
        copy = best_seconds(lambda: target.copy_(source), device)
        matmul = best_seconds(lambda: torch.mm(matrix, matrix, out=product), device)
        conv = best_seconds(lambda: functional.conv2d(images, kernel, padding=1), device)
        fft = best_seconds(lambda: torch.fft.fft2(waves, out=fields), device)
    return Machine(
        device=device,
        name=torch.cuda.get_device_name() if device == "cuda" else processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        python=platform.python_version(),
        copy=2 * COPIED[device] / copy,
        matmul=2 * edge**3 / matmul,
        conv=2 * images.numel() * 64 * 9 / conv,
        fft=transform_flops(64) * len(waves) / fft,
    )


def transform_flops(N: int) -> float:
    """Operations of a transform of N x N pixels, ``5 N^2 log2 N^2``."""
    return 5 * N**2 * math.log2(N**2)


def best_seconds(function: Callable[[], object], device: str, rounds: int = 5, total: float = 0.5) -> float:
    """The shortest of some calls, after one that does not count; more of them while they take less than ``total`` s."""
    function()
    times: list[float] = []
    end = time.perf_counter() + total
    while len(times) < rounds or time.perf_counter() < end:
        synchronise(device)
        began = time.perf_counter()
        function()
        synchronise(device)
        times.append(time.perf_counter() - began)
    return min(times)


def processor() -> str:
    """Model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


@contextmanager
def watched(device: str) -> Iterator[Memory]:
    """Note the memory that a device, or this process on a CPU, holds at most meanwhile."""
    memory = Memory()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        memory.before = torch.cuda.memory_allocated()
        yield memory
        memory.most = torch.cuda.max_memory_allocated()
        return
    memory.before = _forget_peak()
    yield memory
    memory.most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _forget_peak() -> int:
    """Let the kernel count the most memory of this process anew; the bytes that it holds now.

    Where that is not possible the peak of the whole process so far is what is known.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return resident * os.sysconf("SC_PAGE_SIZE")


def flops_of(function: Callable[[], object]) -> float:
    """Floating-point operations of the convolutions and matrix products of a call; of transforms none are counted."""
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def facts(work: Work, machine: Machine, seconds: float, memory: Memory) -> dict[str, Any]:
    """What a row of results says: throughput, floor and how near it is, memory, machine."""
    floor, limit = work.floor(machine)
    return {
        "throughput": work.count / seconds,
        "unit": f"{work.unit}/s",
        "floor_seconds": floor,
        "floor": work.formula,
        "floor_set_by": limit,
        "fraction_of_floor": floor / seconds,
        "peak_bytes": memory.most,
        "working_bytes": max(0, memory.most - memory.before),
        "device": machine.device,
        "machine": asdict(machine),
    }
