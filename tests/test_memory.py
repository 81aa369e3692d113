"""Memory of an inference does not grow with the number of frames. Slow."""

import pytest

from benchmarks.memory_of_a_large_file import BRIEF, SMALL, run, same_field


@pytest.mark.slow
def test_five_times_the_frames_need_the_same_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    files = [tmp_path / f"{count}.cxi" for count in (10_000, 50_000)]
    for file in files:
        same_field(file, int(file.stem))
    assert files[1].stat().st_size > 0.2e9
    model = str(tmp_path / "run")
    run("train", str(files[0]), "--out", model, *BRIEF, *SMALL, "--max-seconds", "2")
    few, many = (run("infer", model, str(file), "--out", str(file.with_suffix(""))) for file in files)
    print(f"\n10,000 frames: {few}\n50,000 frames: {many}")
    assert many.resident < 1.1 * few.resident
    assert many.resident < 2000
