"""Running jobs: what is finished stays, a failure stops only what needs it, a killed run leaves nothing half done.

The jobs here are real commands that take a second: they write and check files of settings.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptychopinn.files.output_folder import file_hash
from ptychopinn.study.jobs import Job
from ptychopinn.study.records import read_record, state_of
from ptychopinn.study.run import run_jobs, run_one, threads_per_job


def writes(name: str, needs: tuple[str, ...] = ()) -> Job:
    """Writes a file of settings."""
    out = f"jobs/{name}/out/settings.json"
    inputs = tuple(f"jobs/{each}/out/settings.json" for each in needs)
    return Job(name, "config", 1.0, None, None, None, None, ("init", out), inputs, (out,), needs)


def checks(name: str, file: str, needs: tuple[str, ...] = ()) -> Job:
    """Checks a file of settings."""
    return Job(name, "config", 1.0, "dense", "test", None, None, ("validate", file), (file,), (), needs)


def states(folder: Path, *jobs: Job) -> list[str]:
    return [state_of(folder, job, {}) for job in jobs]


def test_a_job_leaves_a_record_of_all_that_decided_it(tmp_path):
    first = writes("first")
    second = checks("second", first.outputs[0], ("first",))
    assert states(tmp_path, first, second) == ["to do", "to do"]
    outcomes = run_jobs(tmp_path, [first, second])
    assert [each.status for each in outcomes] == ["done", "done"]
    record = read_record(tmp_path, second)
    assert record.command == ("ptychopinn", "config", "validate", first.outputs[0])
    assert record.inputs == {first.outputs[0]: file_hash(tmp_path / first.outputs[0])}
    assert record.status == "done"
    assert record.exit_code == 0
    assert read_record(tmp_path, first).outputs == record.inputs
    assert record.seconds > 0
    assert 0.005 < record.peak_memory_gib < 5
    assert {"python", "ptychopinn", "torch", "numpy"} <= set(record.versions)
    assert (record.name, record.view, record.split) == ("second", "dense", "test")
    assert "all valid" in (tmp_path / second.folder / "log.txt").read_text()
    assert states(tmp_path, first, second) == ["done", "done"]


def test_finished_jobs_are_kept_until_an_input_or_the_command_changes(tmp_path):
    (tmp_path / "mine.json").write_text('{"nepochs": 3}')
    first, second = writes("first"), checks("second", "mine.json")
    run_jobs(tmp_path, [first, second])
    before = (tmp_path / first.folder / "job.json").stat().st_mtime_ns
    assert [each.kept for each in run_jobs(tmp_path, [first, second])] == [True, True]
    assert (tmp_path / first.folder / "job.json").stat().st_mtime_ns == before

    (tmp_path / "mine.json").write_text('{"nepochs": 4}')
    assert states(tmp_path, first, second) == ["done", "changed"]
    assert [each.kept for each in run_jobs(tmp_path, [first, second])] == [True, False]

    (tmp_path / "mine.json").touch()
    assert states(tmp_path, second) == ["done"]

    other = writes("first", ("second",))
    assert states(tmp_path, other) == ["changed"]
    (tmp_path / first.outputs[0]).unlink()
    assert states(tmp_path, first) == ["changed"]
    assert [each.kept for each in run_jobs(tmp_path, [first])] == [False]
    assert (tmp_path / first.outputs[0]).is_file()


def test_one_failure_stops_only_what_needs_it(tmp_path):
    (tmp_path / "wrong.json").write_text('{"nepoch": 3}')
    bad = checks("bad", "wrong.json")
    above = checks("above", "wrong.json", ("bad",))
    top = checks("top", "wrong.json", ("above",))
    good = writes("good")
    outcomes = run_jobs(tmp_path, [bad, good, above, top], parallel=2)
    assert [each.status for each in outcomes] == ["failed", "done", "skipped", "skipped"]
    assert "Did you mean 'nepochs'?" in outcomes[0].reason
    assert outcomes[2].reason == "needs bad, which failed"
    assert outcomes[3].reason == "needs above, which was skipped"
    record = read_record(tmp_path, bad)
    assert (record.status, record.exit_code) == ("failed", 2)
    assert states(tmp_path, bad, good, above) == ["failed", "done", "to do"]

    (tmp_path / "wrong.json").write_text('{"nepochs": 3}')
    assert [each.status for each in run_jobs(tmp_path, [bad, good, above, top])] == ["done"] * 4


def test_impossible_jobs_are_left_out(tmp_path):
    first, second = writes("first"), writes("second", ("first",))
    outcomes = run_jobs(tmp_path, [first, second], impossible={"first": "no light"})
    assert [(each.status, each.reason) for each in outcomes] == [
        ("skipped", "no light"),
        ("skipped", "needs first, which was skipped"),
    ]
    assert not (tmp_path / "jobs").exists()


def test_a_job_without_its_input_fails_with_the_name_of_it(tmp_path):
    (outcome,) = run_jobs(tmp_path, [checks("lonely", "absent.json")])
    assert outcome.status == "failed"
    assert "absent.json" in outcome.reason
    assert run_one(tmp_path, checks("lonely", "absent.json")).status == "failed"


def test_a_command_that_writes_nothing_has_failed(tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    job = checks("silent", "mine.json")
    lying = Job(**{**vars(job), "outputs": ("jobs/silent/out/image.h5",)})
    (outcome,) = run_jobs(tmp_path, [lying])
    assert outcome.status == "failed"
    assert "did not write jobs/silent/out/image.h5" in outcome.reason


def test_what_a_killed_try_left_is_removed_first(tmp_path):
    job = writes("again")
    place = tmp_path / job.out
    place.mkdir(parents=True)
    (place / "settings.json").write_text("half")
    (tmp_path / job.folder / "job.json").write_text('{"status": "running"}')
    assert states(tmp_path, job) == ["interrupted"]
    (outcome,) = run_jobs(tmp_path, [job])
    assert outcome.status == "done"
    assert json.loads((place / "settings.json").read_text())


def test_an_older_result_stays_until_a_new_one_is_whole(tmp_path):
    (job,) = jobs = [writes("first")]
    assert run_jobs(tmp_path, jobs)[0].status == "done"
    result, beside = tmp_path / job.outputs[0], tmp_path / job.folder
    before = result.read_text()
    failing = Job(**{**vars(job), "arguments": ("init", job.outputs[0], "--no-such-flag")})
    assert run_jobs(tmp_path, [failing])[0].status == "failed"
    assert result.read_text() == before
    # A study that was killed while its job ran left the older result aside, and half of the new one.
    (beside / "out").rename(beside / ".out.older")
    (beside / "out").mkdir()
    result.write_text("half")
    assert run_jobs(tmp_path, [failing])[0].status == "failed"
    assert result.read_text() == before
    assert run_jobs(tmp_path, jobs)[0].status == "done"
    assert {entry.name for entry in beside.iterdir()} == {"out", "job.json", "log.txt", ".lock"}


def test_threads_are_divided_unless_the_user_says(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_per_job(1) == os.cpu_count()
    assert threads_per_job(10_000) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_per_job(10_000) == 3


SLOW_JOB = """
import sys
from pathlib import Path
from ptychopinn.study.jobs import Job
from ptychopinn.study.run import run_jobs
out = "jobs/big/out/star.npz"
arguments = (out, "--N", "64", "--object-size", "1400", "--step", "4")
job = Job("big", "simulate", 1.0, None, None, None, None, arguments, (), (out,), ())
run_jobs(Path(sys.argv[1]), [job])
"""


def begin_a_long_job(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A process that runs a study of one job, and the id of the process of that job."""
    study = subprocess.Popen([sys.executable, "-c", SLOW_JOB, str(folder)], stderr=subprocess.PIPE, text=True)
    record, limit = folder / "jobs/big/job.json", time.monotonic() + 120
    while not record.exists() or "pid" not in json.loads(record.read_text()):
        assert study.poll() is None, study.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)
    return study, json.loads(record.read_text())["pid"]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_left_over_of_a_killed_study_is_stopped(tmp_path):
    study, orphan = begin_a_long_job(tmp_path)
    study.kill()
    study.communicate()
    assert is_alive(orphan)
    job = writes("big")
    assert states(tmp_path, job) == ["running"]
    (outcome,) = run_jobs(tmp_path, [job])
    assert outcome.status == "done"
    assert not is_alive(orphan)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_jobs_too(tmp_path, number):
    study, command = begin_a_long_job(tmp_path)
    study.send_signal(number)
    _, err = study.communicate(timeout=60)
    assert study.returncode
    assert f"ended by {signal.Signals(number).name}; run it again to continue" in err
    assert not is_alive(command)
    assert states(tmp_path, writes("big")) == ["changed"]
    assert read_record(tmp_path, writes("big")).status == "interrupted"


def test_a_job_that_another_study_works_on_is_refused(tmp_path):
    study, _ = begin_a_long_job(tmp_path)
    try:
        (outcome,) = run_jobs(tmp_path, [writes("big")])
        assert outcome.status == "failed"
        assert "another study works on this job" in outcome.reason
    finally:
        study.send_signal(signal.SIGTERM)
        study.communicate(timeout=60)
