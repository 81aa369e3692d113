"""Real programs of the field, each in an environment of its own beside ours."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

VERSION = "1.7.0"


def environment(name: str, requirement: str, module: str, folder: Path, *options: str) -> Iterator[object]:
    """A module of another program, after our packages; from the environment PTYCHOPINN_<NAME>, or a new one.

    Args:
        name: of the program.
        requirement: what pip installs.
        module: what is imported.
        folder: for the new environment.
        options: of pip.
    """
    given = os.environ.get(f"PTYCHOPINN_{name.upper()}")
    folder = Path(given) if given else folder
    if not given:
        installer = ["-m", "pip", "install", "--quiet", *options, requirement]
        for python, line in ((sys.executable, ["-m", "venv", str(folder)]), (str(folder / "bin/python"), installer)):
            if subprocess.run([python, *line], capture_output=True).returncode:
                pytest.skip(f"{requirement} cannot be installed here")
    packages = next(folder.glob("lib/python*/site-packages"))
    sys.path.append(str(packages))
    yield pytest.importorskip(module)
    sys.path.remove(str(packages))


@pytest.fixture(scope="session")
def ptychodus(tmp_path_factory: pytest.TempPathFactory):
    yield from environment("ptychodus", f"ptychodus=={VERSION}", "ptychodus.api.io", tmp_path_factory.mktemp("p"))


@pytest.fixture(scope="session")
def cdtools(tmp_path_factory: pytest.TempPathFactory):
    """Without what it needs, all of which we have."""
    folder = tmp_path_factory.mktemp("cdtools")
    yield from environment("cdtools", "cdtools-py==0.3.2", "cdtools", folder, "--no-deps")


@pytest.fixture(scope="session")
def emdfile(tmp_path_factory: pytest.TempPathFactory):
    """What py4DSTEM writes its files with."""
    yield from environment("emdfile", "emdfile==0.0.16", "emdfile", tmp_path_factory.mktemp("emdfile"), "--no-deps")


@pytest.fixture(scope="session")
def ptypy():
    """PtyPy is on no index: only where PTYCHOPINN_PTYPY names an environment with it."""
    if "PTYCHOPINN_PTYPY" not in os.environ:
        pytest.skip("PTYCHOPINN_PTYPY names no environment with PtyPy")
    yield from environment("ptypy", "ptypy", "ptypy", Path())
