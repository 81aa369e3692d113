"""Memory of an inference and of a refinement does not grow with the number of frames."""

import pytest

from benchmarks.memory_of_a_large_file import run, same_field
from ptychopinn.config import Settings
from ptychopinn.files.reading import READ_ONCE
from ptychopinn.model.bundle import Run, save_run
from ptychopinn.model.model import PtychoModel
from ptychopinn.physics.probe import curved_disc
from ptychopinn.scan.illumination import Illumination

FEW, MANY = 17_000, 34_000
"""More frames of 32 x 32 than are read at once or stitched in one part. The frames and patches of the difference are
209 MB, a third of the memory that a command asks for."""


@pytest.mark.slow
def test_twice_the_frames_need_the_same_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    files = [tmp_path / f"{count}.cxi" for count in (FEW, MANY)]
    for file in files:
        same_field(file, int(file.stem))
        assert file.stat().st_size > READ_ONCE
    # What the network has learnt changes no memory.
    chosen = Settings.of({"n_filters_scale": 0.1, "stages": 1, "depth": 1})
    light = Illumination(1e2 * curved_disc(32, 7.0, 2.5), None, 32)
    model = save_run(tmp_path / "run", Run(PtychoModel(chosen.model, 0.01).eval(), light, chosen))
    flags = ("--accelerator", "cpu")
    few, many = (run("infer", str(model), str(file), "--out", str(file.with_suffix("")), *flags) for file in files)
    print(f"\n{FEW} frames: {few}\n{MANY} frames: {many}")
    # How much of its libraries a system keeps mapped differs by 100 MB from run to run, with what else it has in mind.
    assert many.anonymous < 1.1 * few.anonymous
    assert many.resident < 2000


@pytest.mark.slow
def test_twice_the_frames_are_refined_in_the_same_memory(tmp_path, monkeypatch):
    """On one field: the image does not grow, and what a frame needs beside its counts (positions, fits) is 0.2 kB."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    needed = []
    for count in (FEW, MANY):
        file = tmp_path / f"{count}.cxi"
        same_field(file, count)
        # Both phases, and error bars.
        flags = ("--memory", "0.02", "--epochs", "13", "--error-draws", "1", "--accelerator", "cpu")
        needed.append(run("refine", str(file), "--out", str(file.with_suffix("")), *flags))
    few, many = needed
    print(f"\n{FEW} frames: {few}\n{MANY} frames: {many}")
    assert many.anonymous < 1.1 * few.anonymous
    assert many.resident < 2000
