"""Memory of an inference does not grow with the number of frames."""

from benchmarks.memory_of_a_large_file import BRIEF, SMALL, run, same_field
from ptychopinn.files.reading import READ_ONCE

FEW, MANY = 17_000, 34_000
"""More frames of 32 x 32 than are read at once or stitched in one part. The frames and patches of the difference are
209 MB, a third of the memory that a command asks for."""


def test_twice_the_frames_need_the_same_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    files = [tmp_path / f"{count}.cxi" for count in (FEW, MANY)]
    for file in files:
        same_field(file, int(file.stem))
        assert file.stat().st_size > READ_ONCE
    model = str(tmp_path / "run")
    run("train", str(files[0]), "--out", model, *BRIEF, *SMALL, "--max-seconds", "2")
    few, many = (run("infer", model, str(file), "--out", str(file.with_suffix(""))) for file in files)
    print(f"\n{FEW} frames: {few}\n{MANY} frames: {many}")
    # How much of its libraries a system keeps mapped differs by 100 MB from run to run, with what else it has in mind.
    assert many.anonymous < 1.1 * few.anonymous
    assert many.resident < 2000
