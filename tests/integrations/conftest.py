"""The real ptychodus, in an environment of its own beside ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

VERSION = "1.7.0"


@pytest.fixture(scope="session")
def ptychodus(tmp_path_factory: pytest.TempPathFactory):
    """Its packages, after ours; from the environment PTYCHOPINN_PTYCHODUS names, or one made for the session."""
    given = os.environ.get("PTYCHOPINN_PTYCHODUS")
    folder = Path(given) if given else tmp_path_factory.mktemp("ptychodus")
    if not given:
        for line in (["-m", "venv", str(folder)], ["-m", "pip", "install", "--quiet", f"ptychodus=={VERSION}"]):
            python = sys.executable if line[1] == "venv" else str(folder / "bin/python")
            if subprocess.run([python, *line], capture_output=True).returncode:
                pytest.skip(f"ptychodus {VERSION} cannot be installed here")
    packages = next(folder.glob("lib/python*/site-packages"))
    sys.path.append(str(packages))
    yield pytest.importorskip("ptychodus.api.io")
    sys.path.remove(str(packages))
