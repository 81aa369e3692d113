"""Memory that a process may use: limits of the machine, of control groups and of ulimit."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptychopinn import memory as module
from ptychopinn.errors import PtychoError
from ptychopinn.memory import check_memory, memory
from tests.cli.refusing import write_scan

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("lines", "files", "limit"),
    [
        ("0::/job/step", {"job/memory.max": "1000", "job/step/memory.max": "max"}, 1000),
        ("0::/job/step", {"job/memory.max": "max", "job/step/memory.max": "2000"}, 2000),
        ("4:memory:/job", {"memory/job/memory.limit_in_bytes": "3000"}, 3000),
        ("4:cpu,memory:/inside", {"memory/memory.limit_in_bytes": "4000"}, 4000),  # a container sees its own root
        ("1:cpu:/job", {"memory/job/memory.limit_in_bytes": "3000"}, MACHINE),
        ("0::/", {"memory.max": "9223372036854771712"}, MACHINE),
    ],
)
def test_limits_of_control_groups(tmp_path, monkeypatch, lines, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    read = Path.read_text
    monkeypatch.setattr(module, "CGROUPS", tmp_path)
    monkeypatch.setattr(Path, "read_text", lambda path: lines if str(path) == "/proc/self/cgroup" else read(path))
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert memory() == limit


def test_more_than_there_is_is_refused():
    check_memory(1, "frames")
    with pytest.raises(PtychoError, match=r"frames: 9.31e\+08 GiB are needed, .* GiB are there"):
        check_memory(1e18, "frames")


def test_out_of_memory_is_one_line(tmp_path):
    """A limit of addresses that the libraries fit in, and the frames do not."""
    write_scan(tmp_path / "small.npz")
    code = """
import resource, sys
import numpy as np
from ptychopinn.cli import app as cli
from ptychopinn.commands import inspect
def much(*args): np.ones(10**9)
inspect.inspect_file = much
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, used + 2**31))
sys.argv = ["ptychopinn", "inspect", "small.npz"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("ptychopinn: inspect small.npz: out of memory (Unable to allocate 7.45 GiB); ")
    assert "GiB are there" in done.stderr


def test_the_limit_of_addresses_counts(tmp_path):
    """8 GiB of positions are on disk, as a hole; fewer may be used."""
    np.savez(tmp_path / "scan.npz", x=np.zeros(3))
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33)); "
    code += "from ptychopinn.memory import memory; print(memory() < 2**33)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "True"
