"""``inspect`` of what is no whole scan: frames without a probe, and results."""

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread

from ptychopinn.files.formats.npz import record_of, write_npz
from ptychopinn.files.formats.npz import write as write_record
from ptychopinn.scan.scan import Scan
from tests.cli.refusing import call
from tests.files.results.writers import WRITERS


def inspected(folder: Path, name: str) -> str:
    done = call(folder, f"inspect {name} --out picture.png")
    assert done.exit_code == 0, done.output
    assert imread(folder / "picture.png").std() > 0.01
    return str(done.output)


def test_frames_without_a_probe(tmp_path: Path, tiny_scan: Scan) -> None:
    write_record(tmp_path / "bare.npz", replace(record_of(tiny_scan), probe=None))
    text = inspected(tmp_path, "bare.npz")
    assert "64 frames (32, 32), 64 positions, object (80, 80)" in text
    assert "probeGuess: not there" in text
    assert "--probe FILE" in text


def test_a_reconstruction(tmp_path: Path, tiny_scan: Scan) -> None:
    write_npz(tmp_path / "scan.npz", tiny_scan)
    assert call(tmp_path, "refine scan.npz --epochs 1 --error-draws 0 --out image").exit_code == 0
    for name in ("image", "image/reconstruction.h5", "image/reconstruction.npz"):
        text = inspected(tmp_path, f"{name} --overwrite")
        assert "reconstruction of ptychopinn" in text
        assert "64 positions, probe (1, 32, 32), object (" in text
        assert "deviance per pixel" in text
        assert "--frames FILE" in text


@pytest.mark.parametrize("name", WRITERS)
def test_results_of_other_programs(tmp_path: Path, tiny_scan: Scan, name: str) -> None:
    WRITERS[name](tmp_path / name, tiny_scan)
    text = inspected(tmp_path, name)
    assert "64 positions, probe (1, 32, 32), object (90, 98)" in text
    assert "40.0 nm" in text
