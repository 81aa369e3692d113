"""One manifest of the whole study: filtered runs update their rows, and every row says what was read and written."""

import json
from pathlib import Path

import pytest

from ptychopinn.files.output_folder import file_hash
from ptychopinn.study.jobs import Job
from ptychopinn.study.manifest import write_manifest, write_skips
from ptychopinn.study.results import Progress, progress_of
from ptychopinn.study.run import run_jobs


def writes(name: str, needs: tuple[str, ...] = ()) -> Job:
    """Writes a file of settings under the name of a bundle."""
    out = f"jobs/{name}/out/wts.h5.zip"
    inputs = tuple(f"jobs/{each}/out/wts.h5.zip" for each in needs)
    return Job(name, "config", 1.0, "dense", "train", 1, "pinn", ("init", out), inputs, (out,), needs)


def checks(name: str, file: str, needs: tuple[str, ...] = ()) -> Job:
    """Checks a file of settings."""
    return Job(name, "config", 1.0, "dense", "test", None, None, ("validate", file), (file,), (), needs)


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    (tmp_path / "wrong.json").write_text('{"nepoch": 3}')
    bad = checks("bad", "wrong.json")
    return [writes("good"), bad, checks("above", "wrong.json", ("bad",)), writes("later", ("good",))]


def rows_of(manifest: dict) -> dict[str, dict]:
    return {row["name"]: row for row in manifest["jobs"]}


def progress(folder: Path, jobs: list[Job]) -> list[Progress]:
    return progress_of(folder, jobs, {})


def test_rows_of_all_jobs_after_a_run_of_some(tmp_path: Path, jobs: list[Job]) -> None:
    good, bad, above, later = jobs
    outcomes = run_jobs(tmp_path, [good, bad])
    manifest = write_manifest(tmp_path, progress(tmp_path, jobs), outcomes)
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    rows = rows_of(manifest)
    assert {name: row["status"] for name, row in rows.items()} == {
        "good": "done",
        "bad": "failed",
        "above": "skipped",
        "later": "to do",
    }
    assert [manifest[f"n_{kind}"] for kind in ("jobs", "success", "failed", "skipped", "unfinished")] == [4, 1, 1, 1, 1]
    assert manifest["last_run"]["jobs"] == ["good", "bad"]
    assert (manifest["last_run"]["n_success"], manifest["last_run"]["n_failed"]) == (1, 1)

    run_jobs(tmp_path, [later])
    kept = run_jobs(tmp_path, [later])
    manifest = write_manifest(tmp_path, progress(tmp_path, jobs), kept)
    again = rows_of(manifest)
    assert again["later"]["status"] == "done"
    assert again["later"]["inputs"] == rows["good"]["outputs"]
    assert {name: again[name] for name in ("good", "bad", "above")} == {
        name: rows[name] for name in ("good", "bad", "above")
    }
    assert manifest["last_run"]["n_kept"] == 1
    # A report alone is no run.
    assert write_manifest(tmp_path, progress(tmp_path, jobs))["last_run"] == manifest["last_run"]


def test_a_row_says_how_the_job_ended_and_what_it_wrote(tmp_path: Path, jobs: list[Job]) -> None:
    good, bad, *_ = jobs
    outcomes = run_jobs(tmp_path, [good, bad])
    row = rows_of(write_manifest(tmp_path, progress(tmp_path, jobs), outcomes))
    assert (row["good"]["exit_code"], row["bad"]["exit_code"], row["later"]["exit_code"]) == (0, 2, None)
    assert row["good"]["outputs"] == {good.outputs[0]: file_hash(tmp_path / good.outputs[0])}
    assert row["good"]["bundle"] == good.outputs[0]
    assert row["bad"]["outputs"] == {}
    assert row["bad"]["bundle"] is None
    assert "nepochs" in row["bad"]["reason"]
    assert "nepochs" in (tmp_path / row["bad"]["log"]).read_text()
    assert row["later"]["log"] is None


def test_records_of_an_older_version_get_their_hashes(tmp_path: Path, jobs: list[Job]) -> None:
    good = jobs[0]
    run_jobs(tmp_path, [good])
    path = tmp_path / good.folder / "job.json"
    record = json.loads(path.read_text())
    del record["outputs"]
    path.write_text(json.dumps(record))
    row = rows_of(write_manifest(tmp_path, progress(tmp_path, jobs)))["good"]
    assert row["outputs"] == {good.outputs[0]: file_hash(tmp_path / good.outputs[0])}


def test_a_job_that_could_not_begin_has_a_row_too(tmp_path: Path) -> None:
    lonely = checks("lonely", "absent.json")
    row = rows_of(write_manifest(tmp_path, progress(tmp_path, [lonely]), run_jobs(tmp_path, [lonely])))["lonely"]
    assert row["status"] == "failed"
    assert "absent.json" in row["reason"]


def test_the_frames_of_a_view_are_in_its_rows(tmp_path: Path, jobs: list[Job]) -> None:
    out = tmp_path / "jobs/overlap-1e0-dense/out"
    out.mkdir(parents=True)
    chosen = {f"scan_{split}": {"selection": {"n_accepted": n}} for split, n in (("train", 30), ("test", 31))}
    (out / "metrics_bundle.json").write_text(json.dumps({"splits": chosen}))
    row = rows_of(write_manifest(tmp_path, progress(tmp_path, jobs)))
    assert row["good"]["selection"] == {"train": {"n_accepted": 30}}
    assert row["bad"]["selection"] == {"test": {"n_accepted": 31}}


def test_skips(tmp_path: Path, jobs: list[Job]) -> None:
    write_skips(tmp_path, {jobs[2]: "needs bad, which failed"})
    summary = json.loads((tmp_path / "skip_summary.json").read_text())
    assert set(summary) == {"timestamp", "skipped", "count"}
    assert summary["skipped"] == [
        {"job": "above", "dose": 1.0, "view": "dense", "split": "test", "reason": "needs bad, which failed"}
    ]
