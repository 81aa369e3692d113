"""What a command imports: torch and its like take seconds, and a command that has no use for them does not wait."""

import subprocess
import sys
from pathlib import Path

import pytest

from ptychopinn.files.reconstruction import write_reconstruction
from tests.cli.refusing import write_scan
from tests.files.test_nexus import image

SHOW = """
import sys
from ptychopinn.cli.app import main
sys.argv = ["ptychopinn", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print("imported:", *sorted(set(sys.modules) & {
    "torch", "lightning", "torchmetrics", "torchvision", "ptychi", "skimage", "scipy", "scipy.signal", "scipy.stats",
    "matplotlib", "bokeh", "tifffile", "h5py", "numpy", "rich",
}))
"""

FILES = {"h5py", "numpy", "scipy"}


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        (("inspect", "scan.npz", "--crop", "12"), FILES | {"matplotlib", "scipy.signal"}),
        (("convert", "scan.npz", "scan.h5", "--dummy-geometry"), FILES),
        (("overlap", "scan.npz", "--out", "views"), FILES | {"matplotlib"}),
        (("view", ".", "--out", "page.html"), FILES | {"matplotlib", "bokeh", "skimage"}),
        (("refine", "--help"), set()),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, tuple) else "",
)
def test_a_command_imports_what_it_uses(tmp_path: Path, call: tuple[str, ...], allowed: set[str]) -> None:
    write_scan(tmp_path / "scan.npz")
    write_reconstruction(tmp_path, image())
    run = [sys.executable, "-c", SHOW, *call]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()[-1].split()[1:]) <= allowed
