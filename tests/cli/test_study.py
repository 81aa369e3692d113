"""``study`` as a user calls it: tables, filters, refusals, and a whole small study that is run, killed and resumed."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.refusing import assert_one_line, assert_refused, call, contents

SMALL = (
    "--set N=32 --set object_size=176 --set step=6 --set neighbor_count=4 --set epochs=5 "
    "--set train.n_filters_scale=0.25 --set train.stages=1 --set train.nepochs=1 --set train.teacher_epochs=2 "
    "--set train.n_groups=16 --set accelerator=cpu"
)
ONE = '--set doses=[1e5] --set views={"dense":0.7}'


def test_plan_prints_the_jobs_and_the_frames(tmp_path):
    done = call(tmp_path, "study plan --preset quick")
    assert done.exit_code == 0, done.stderr
    assert "66 jobs: 3 simulate, 6 overlap, 21 train, 18 baseline, 18 compare" in done.stdout
    assert "frames: baseline " in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("compare-1e4-sparse-test "))
    assert line.split() == ["compare-1e4-sparse-test", "10000", "sparse", "test", "-", "to", "do"]
    assert not list(tmp_path.iterdir())


def test_a_dry_run_prints_and_writes_what_the_filters_leave_and_the_folder_is_still_new(tmp_path):
    filters = "--dose 1e3 --view dense --split test --stage compare"
    done = call(tmp_path, f"study run --preset quick --out study --dry-run {filters}")
    assert done.exit_code == 0, done.stderr
    assert "7 jobs: 1 simulate, 1 overlap, 3 train, 1 baseline, 1 compare" in done.stdout
    assert done.stdout.splitlines()[-1] == "Plan: study/plan.json"
    assert {path.name for path in (tmp_path / "study").iterdir()} == {"plan.json", "skip_summary.json"}
    plan = json.loads((tmp_path / "study/plan.json").read_text())
    assert [job["stage"] for job in plan["jobs"]].count("train") == 3
    assert {job["state"] for job in plan["jobs"]} == {"to do"}
    assert plan["jobs"][-1]["command"][:2] == ["ptychopinn", "compare"]
    assert plan["skipped"] == []
    # The plan remembers its design until another one is given.
    assert "66 jobs" in call(tmp_path, "study run --out study --dry-run").stdout
    assert json.loads((tmp_path / "study/plan.json").read_text())["design"]["N"] == 64
    assert call(tmp_path, "study plan --out study --preset reference").exit_code == 0
    assert "66 jobs" in call(tmp_path, "study run --out study --dry-run").stdout
    assert json.loads((tmp_path / "study/plan.json").read_text())["design"]["N"] == 128


def test_a_dry_run_writes_the_skips_that_a_run_would_make(tmp_path):
    done = call(tmp_path, "study run --out study --set object_size=420 --set doses=[1e3] --dry-run")
    assert done.exit_code == 0, done.stderr
    summary = json.loads((tmp_path / "study/skip_summary.json").read_text())
    assert summary["dry_run"]
    assert summary["skipped"] == json.loads((tmp_path / "study/plan.json").read_text())["skipped"]
    reasons = {each["job"]: each["reason"] for each in summary["skipped"]}
    assert "needs 8" in reasons["train-1e3-sparse-gs2"]
    assert "train-1e3-sparse-gs2, which is impossible" in reasons["compare-1e3-sparse-test"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("plan --preset slow", ("--preset slow", "reference, quick")),
        ("plan --design absent.json", ("absent.json", "cannot be read")),
        ("plan --design notes.txt", ("notes.txt", "is not JSON")),
        ("plan --preset quick --design notes.txt", ("given together",)),
        ("plan --set neighbor_count=3", ("C = 4",)),
        ("plan --set views.dense=1.5", ("dense: an overlap",)),
        ("plan --set train.nepoch=3", ("nepochs",)),
        ("plan --set base=absent.npz", ("base: absent.npz: no such file",)),
        ("plan --set split_gap=5", ("split_gap: 5 px", "a probe width")),
        ("plan --set probe_radius=100", ("probe_radius: 100 px",)),
        ("plan --dose 7", ("--dose 7", "1000, 10000, 100000")),
        ("plan --view thin", ("--view thin", "baseline, dense, sparse")),
        ("plan --snakefile", ("--snakefile: needs --out",)),
        ("run --out study --set object_size=420", ("needs 8", "--allow-missing")),
        ("run --out foreign --preset quick", ("foreign: is not empty; give another --out.",)),
        ("run --out notes.txt --preset quick", ("notes.txt: is a file",)),
        ("run --out study --job simulate-1e3", ("study: holds no design.json",)),
        ("run --out study --jobs 0", ("--jobs",)),
        ("status foreign", ("foreign: holds no design.json",)),
        ("report foreign", ("foreign: holds no design.json",)),
        ("plan --out foreign --snakefile", ("foreign: is not empty",)),
    ],
)
def test_a_wrong_call_is_one_line_and_changes_nothing(place, arguments, words):
    assert_refused(place, f"study {arguments}", words)


def test_what_cannot_be_is_shown_and_left_out_when_asked(tmp_path):
    done = call(tmp_path, "study plan --set object_size=420")
    assert done.exit_code == 0, done.stderr
    states = {line.split()[0]: line.split()[-1] for line in done.stdout.splitlines() if line.startswith("train-")}
    assert states["train-1e3-sparse-gs2"] == "impossible"
    assert states["train-1e3-dense-gs2"] == "do"
    done = call(tmp_path, "study plan --set object_size=420 --out study --snakefile --allow-missing")
    assert done.exit_code == 0, done.stderr
    assert "57 to do, 9 impossible" in call(tmp_path, "study status study").stdout
    summary = json.loads((tmp_path / "study/skip_summary.json").read_text())
    assert summary["count"] == len(summary["skipped"]) == 9
    assert {each["view"] for each in summary["skipped"]} == {"sparse"}
    assert all("needs 8" in each["reason"] for each in summary["skipped"])
    text = (tmp_path / "study/Snakefile").read_text()
    assert "rule compare_1e3_dense_test:" in text
    assert "rule compare_1e3_sparse_test:" not in text


def test_a_folder_keeps_its_design_until_told_otherwise(tmp_path):
    assert call(tmp_path, "study plan --preset quick --out study --snakefile").exit_code == 0
    before = contents(tmp_path)
    done = call(tmp_path, "study run --out study --dry-run --set doses=[1e3]")
    assert_one_line(done)
    assert "has object_size 480, now 768" in done.stderr
    assert "--update" in done.stderr
    assert contents(tmp_path) == before
    assert "dry_run" in json.loads((tmp_path / "study/skip_summary.json").read_text())
    done = call(tmp_path, "study run --out study --dry-run")
    assert "66 jobs" in done.stdout
    done = call(tmp_path, "study run --out study --dry-run --update --preset quick --set doses=[1e3]")
    assert "22 jobs" in done.stdout
    assert "66 to do" in call(tmp_path, "study status study").stdout


@pytest.mark.slow
def test_a_failed_job_does_not_stop_the_others_and_makes_the_exit_code_1(tmp_path):
    done = call(tmp_path, f"study run --out study {SMALL} --set doses=[1e4,1e30] --stage simulate --jobs 2")
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "1 done, 1 failed, 0 skipped; first simulate-1e30: " in done.stderr
    manifest = json.loads((tmp_path / "study/manifest.json").read_text())
    assert [manifest["last_run"][f"n_{kind}"] for kind in ("success", "failed", "skipped")] == [1, 1, 0]
    assert (manifest["n_success"], manifest["n_failed"], manifest["n_jobs"]) == (1, 1, len(manifest["jobs"]))
    assert manifest["n_jobs"] == 44
    done = call(tmp_path, "study status study")
    assert "simulate-1e30" in done.stdout
    assert "1 done, 1 failed" in done.stdout.splitlines()[-1]
    assert "simulate-1e30" in (tmp_path / "study/report.html").read_text()
    done = call(tmp_path, "study run --out study --job simulate-1e4")
    assert (done.exit_code, done.stdout) == (0, "simulate-1e4: kept\n")
    done = call(tmp_path, "study run --out study --dose 1e4 --stage simulate --redo")
    assert done.exit_code == 0
    assert "simulate-1e4: done in" in done.stdout
    done = call(tmp_path, "study run --out study --job simulate-1e30")
    assert done.exit_code == 1
    assert "simulate-1e30: " in done.stderr


def study(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A study in a process of its own, one thread per job."""
    command = [sys.executable, "-m", "ptychopinn", "study", "run", "--out", "study", "--jobs", "2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def scores(folder: Path) -> list[dict[str, str]]:
    """All numbers of a study but times and memory."""
    with (folder / "study/report.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    dropped = ("seconds", "peak_memory")
    return [{key: value for key, value in row.items() if not key.startswith(dropped)} for row in rows]


def finished(folder: Path) -> int:
    records = (json.loads(path.read_text()) for path in folder.glob("study/jobs/*/job.json"))
    return sum(record["status"] == "done" for record in records)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    process = study(folder, *SMALL.split(), *ONE.split())
    output, _ = process.communicate(timeout=3600)
    assert process.returncode == 0, output
    assert "15 done, 0 failed, 0 skipped" in output
    return folder


@pytest.mark.slow
def test_a_whole_study(uninterrupted):
    rows = scores(uninterrupted)
    assert {(row["view"], row["split"], row["arm"]) for row in rows} == {
        (view, split, arm)
        for view in ("baseline", "dense")
        for split in ("train", "test")
        for arm in ("PINN gs1", "PINN gs1 refined", "PINN gs2", "PINN gs2 refined", "supervised", "LSQML")
    }
    assert len({(row["split"], row["shared_pixels"]) for row in rows}) == 2
    for row in rows:
        assert 0 < float(row["phase_mae"]) < 1
        assert 0 < float(row["shared_phase_mae"]) < 1
        assert 0 <= float(row["phase_ms_ssim"]) < 1
        assert 0 < float(row["deviance_per_pixel"]) < 100
    assert call(uninterrupted, "study status study").stdout.splitlines()[-1] == "15 done"
    bundle = json.loads((uninterrupted / "study/jobs/overlap-1e5-dense/out/metrics_bundle.json").read_text())
    frames = {name: found["selection"]["n_accepted"] for name, found in bundle["splits"].items()}
    line = f"dense {frames['scan_train']} train, {frames['scan_test']} test"
    assert line in call(uninterrupted, "study plan --out study").stdout
    process = study(uninterrupted)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    assert output.count(": kept") == 15


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_twice_and_started_again_it_ends_the_same(uninterrupted, tmp_path, number):
    moments = random.Random(int(number))
    first = [*SMALL.split(), *ONE.split()]
    for least in (2, 6):
        process = study(tmp_path, *first)
        while finished(tmp_path) < least:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        time.sleep(moments.uniform(0, 10))
        process.send_signal(number)
        process.communicate(timeout=120)
        before = finished(tmp_path)
        assert least <= before < 15
        first = []
    process = study(tmp_path)
    output, _ = process.communicate(timeout=3600)
    assert process.returncode == 0, output
    assert output.count(": kept") == before
    assert scores(tmp_path) == scores(uninterrupted)


SNAKEMAKE = os.environ.get("SNAKEMAKE") or shutil.which("snakemake")


@pytest.mark.slow
@pytest.mark.skipif(SNAKEMAKE is None, reason="no snakemake here: pip install 'ptychopinn[cluster]'")
def test_snakemake_runs_the_same_study(uninterrupted, tmp_path):
    assert SNAKEMAKE is not None
    assert call(tmp_path, f"study plan --out study --snakefile {SMALL} {ONE}").exit_code == 0
    command = [SNAKEMAKE, "--cores", "2", "-d", "study", "-s", "study/Snakefile", "--rerun-incomplete"]

    def snake(*more: str) -> str:
        done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, timeout=3600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while finished(tmp_path) < 4:
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = finished(tmp_path)
    snake("--unlock")
    output = snake()
    assert "rule simulate_1e5:" not in output
    assert kept < 15
    assert finished(tmp_path) == 15
    assert scores(tmp_path) == scores(uninterrupted)
    assert "Nothing to be done" in snake()
