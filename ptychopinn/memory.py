"""Memory that this process may use, and what needs more."""

import ctypes
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from ptychopinn.errors import PtychoError

CGROUPS = Path("/sys/fs/cgroup")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt`` (glibc, malloc.h)."""

KEPT_BYTES: Final = 2**28
"""Freed memory that the process keeps for its next arrays."""

LARGE_BYTES: Final = 2**25
"""Arrays from this size on go back to the system at once; glibc takes no larger value."""


def memory() -> int:
    """Bytes that this process may use: those of the machine, or fewer where a limit is set.

    Limits are those of a container or a batch job (cgroup v1 and v2, all levels), and what ``ulimit -v`` (RLIMIT_AS)
    leaves beside the addresses that are in use already.
    """
    pages = os.sysconf("SC_PAGE_SIZE")
    found = [pages * os.sysconf("SC_PHYS_PAGES"), *_of_groups()]
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        used = 0
        with suppress(OSError, ValueError):
            used = pages * int(Path("/proc/self/statm").read_text().split()[0])
        found.append(max(0, most - used))
    return min(found)


def keep_freed() -> None:
    """Let the process use freed memory again in place of new pages from the system, which come zeroed one by one.

    A fit makes and frees arrays of some megabytes thousands of times. Says nothing where the C library is not glibc, or
    the user has chosen (``MALLOC_TRIM_THRESHOLD_`` and the like).
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_TRIM_THRESHOLD, KEPT_BYTES)
        set_option(M_MMAP_THRESHOLD, LARGE_BYTES)


def _of_groups() -> Iterator[int]:
    """Limits of the control groups of this process, from its own group up to the root."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, place = (*line.split(":", 2), "", "")[:3]
        if kinds and "memory" not in kinds.split(","):
            continue
        root, name = (CGROUPS / "memory", "memory.limit_in_bytes") if kinds else (CGROUPS, "memory.max")
        group = root / place.lstrip("/")
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):  # "max", or no such group inside a container
                yield int((folder / name).read_text())
            if folder == root:
                break


def check_memory(needed: float, what: str) -> None:
    """Refuse to need more bytes than this process may use; ``what`` says what needs them.

    Raises:
        PtychoError: with both numbers.
    """
    there = memory()
    if needed > there:
        raise PtychoError(f"{what}: {in_gib(needed)} are needed, {in_gib(there)} are there.")


def in_gib(size: float) -> str:
    """``3.5 GiB``."""
    return f"{size / 2**30:.3g} GiB"
