"""Every figure is written as a whole PNG."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.figures.history import draw_history
from ptychopinn.figures.patterns import draw_patterns
from ptychopinn.figures.probe import draw_probe
from ptychopinn.figures.reconstruction import draw_reconstruction
from ptychopinn.figures.scan import draw_scan
from ptychopinn.physics.diffraction import diffract
from ptychopinn.physics.patches import extract_patches
from ptychopinn.scan.scan import Scan
from tests.figures.drawn import N, check_png


def test_every_figure_is_a_whole_png(
    tmp_path: Path, scan: Scan, truth: NDArray[np.complex64], coverage: NDArray[np.float64]
) -> None:
    patches = extract_patches(torch.from_numpy(truth), torch.from_numpy(scan.positions), N)
    rate = diffract(torch.from_numpy(scan.probe), patches).numpy()
    history: dict[str, Sequence[float]] = {
        "epoch": [1, 2, 3],
        "train_loss": [3.0, 2.0, 1.0],
        "val_loss": [3.5, math.nan, 1.5],
    }
    draw_reconstruction(tmp_path / "a" / "f.png", truth, coverage, title="Object", pixel_size_m=1e-8)
    draw_reconstruction(tmp_path / "b" / "f.png", truth, coverage, truth=truth)
    draw_scan(tmp_path / "c" / "f.png", scan)
    draw_patterns(tmp_path / "d" / "f.png", scan.counts, rate)
    draw_history(tmp_path / "e" / "f.png", history)
    draw_probe(tmp_path / "f" / "f.png", scan.probe)
    for name in "abcdef":
        check_png(tmp_path / name / "f.png")
