"""The real cdtools, phaser, PtyRAD and ptychodus: what they write, and the frames that they compute from it.

Each runs in an environment of its own, whose Python also sees the packages of ours. ``PTYCHOPINN_PROGRAMS`` names an
environment that is there already.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.files.formats import registry
from ptychopinn.files.formats.npz import record_of
from ptychopinn.files.geometry.pixels import Geometry
from ptychopinn.files.reading import read
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.exit_waves import probe_views
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.scan import Scan

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).with_name("programs")
PACKAGES = ("cdtools-py==0.3.2", "phaserEM==0.3.1", "ptyrad==1.0.0", "ptychodus==1.7.0")
NEEDED = ("frozendict", "py-pane==0.11.7")


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has them all; torch, numpy and h5py are those of this environment."""
    if given := os.environ.get("PTYCHOPINN_PROGRAMS"):
        return Path(given) / "bin/python"
    folder = tmp_path_factory.mktemp("programs")
    found = folder / "bin/python"
    steps = (
        [sys.executable, "-m", "venv", str(folder)],
        [str(found), "-m", "pip", "install", "--quiet", "--no-deps", *PACKAGES],
        [str(found), "-m", "pip", "install", "--quiet", "--no-deps", *NEEDED],
    )
    for step in steps:
        if subprocess.run(step, capture_output=True).returncode:
            pytest.skip("cdtools, phaser, PtyRAD and ptychodus cannot be installed here")
    ours = [line for line in sys.path if line.endswith("site-packages")]
    (next(folder.glob("lib/python*/site-packages")) / "ours.pth").write_text("\n".join(ours))
    return found


def run(python: Path, script: str, *arguments: object) -> None:
    command = [str(python), "-W", "ignore", str(SCRIPTS / f"with_{script}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "No module named" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("program", "more"), [("cdtools", ["plain"]), ("cdtools", ["mixed"]), ("phaser", []), ("ptyrad", [])]
)
def test_its_result_reproduces_its_frames(python: Path, tmp_path: Path, program: str, more: list[str]) -> None:
    run(python, program, tmp_path / "result.h5", tmp_path / "frames.npy", *more)
    record, theirs = read(tmp_path / "result.h5"), torch.from_numpy(np.load(tmp_path / "frames.npy"))
    assert record.format.startswith(program)
    views = probe_views(torch.from_numpy(record.probe), torch.from_numpy(record.positions), "fourier")
    patches = extract_patches(torch.from_numpy(record.object.astype(np.complex64)), views.places, theirs.shape[-1])
    assert float((diffract(views.probes, patches) - theirs).abs().sum() / theirs.sum()) < 1e-3


def test_an_npz_product_says_the_same_as_the_hdf5_one(python: Path, tmp_path: Path, tiny_scan: Scan) -> None:
    record = registry.prepared(
        record_of(tiny_scan), "ptychodus-product", Geometry(2.5e-8, 8333.0, 0.8), None, None, False
    )
    registry.write(tmp_path / "product.h5", "ptychodus-product", record)
    run(python, "ptychodus", tmp_path / "product.h5", tmp_path / "product.npz")
    first, second = read(tmp_path / "product.h5"), read(tmp_path / "product.npz")
    for name in ("positions", "probe", "object", "origin_m", "pixel_m", "energy_eV", "distance_m"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))
    np.testing.assert_allclose(second.positions, tiny_scan.positions, atol=1e-6)
