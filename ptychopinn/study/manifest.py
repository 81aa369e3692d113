"""``manifest.json``: every job of a study, always, with what it read and wrote; ``skip_summary.json``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ptychopinn.errors import PtychoError
from ptychopinn.files.output_folder import file_hash, write_json
from ptychopinn.json_reader import read_json
from ptychopinn.study.jobs import Job, job_name
from ptychopinn.study.records import LOG
from ptychopinn.study.results import METRICS, Progress
from ptychopinn.study.run import Outcome

MANIFEST: Final = "manifest.json"
SKIPPED: Final = "skip_summary.json"

ABOUT: Final = ("name", "stage", "dose", "view", "split", "gridsize", "model")
"""Properties of a job in a row of the manifest."""


def write_manifest(folder: Path, progress: Sequence[Progress], outcomes: Sequence[Outcome] = ()) -> dict[str, Any]:
    """Write ``manifest.json``: a row for every job of the study, and how the last run ended.

    Args:
        folder: of the study.
        progress: of all its jobs, also of those that the last run did not ask for.
        outcomes: of the jobs of a run that has just ended; without them the last run stays as it was written.

    Returns:
        What was written.
    """
    ended = {each.job.name: each for each in outcomes}
    rows = [_row(folder, each, ended.get(each.job.name)) for each in progress]
    counts = Counter(row["status"] for row in rows)
    manifest = {
        "timestamp": now(),
        "n_jobs": len(rows),
        "n_success": counts["done"],
        "n_failed": counts["failed"],
        "n_skipped": counts["skipped"],
        "n_unfinished": len(rows) - counts["done"] - counts["failed"] - counts["skipped"],
        "last_run": _last_run(outcomes) if outcomes else _before(folder),
        "jobs": rows,
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def write_skips(folder: Path, skips: Mapping[Job, str], dry_run: bool = False) -> None:
    """Write ``skip_summary.json``: the skipped jobs, and why; of a dry run, those that a run would skip."""
    rows = skip_rows(skips)
    said = {"dry_run": True} if dry_run else {}
    write_json(folder / SKIPPED, {"timestamp": now(), **said, "skipped": rows, "count": len(rows)})


def skip_rows(skips: Mapping[Job, str]) -> list[dict[str, Any]]:
    """A row for every skipped job."""
    return [
        {"job": job.name, "dose": job.dose, "view": job.view, "split": job.split, "reason": reason}
        for job, reason in skips.items()
    ]


def now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _row(folder: Path, progress: Progress, outcome: Outcome | None) -> dict[str, Any]:
    """What is known of a job: how it ended, its log, its network, its frames, SHA-256 of what it read and wrote."""
    job, record, status, reason = progress.job, progress.record, progress.state, progress.reason
    if outcome is not None and status != "done":  # a job that could not begin leaves no record
        status, reason = outcome.status, outcome.reason
    log = f"{job.folder}/{LOG}"
    outputs = record.outputs
    if status == "done" and not outputs:  # of an older version
        outputs = {name: file_hash(folder / name) for name in job.outputs}
    return {
        **{name: getattr(job, name) for name in ABOUT},
        "status": status,
        "reason": reason,
        "exit_code": record.exit_code,
        "seconds": record.seconds,
        "log": log if (folder / log).is_file() else None,
        "bundle": next((name for name in outputs if name.endswith(".h5.zip")), None),
        "selection": _selection(folder, job),
        "inputs": record.inputs,
        "outputs": outputs if status == "done" else {},
    }


def _selection(folder: Path, job: Job) -> dict[str, Any] | None:
    """Which frames the view of a job keeps, by split; None where the view is that of all frames, or not made yet."""
    if job.view is None:
        return None
    path = folder / "jobs" / job_name("overlap", job.dose, job.view) / "out" / METRICS
    try:
        splits = read_json(path, "overlap numbers", finite=False)["splits"]
        found = {name.removeprefix("scan_"): each["selection"] for name, each in splits.items()}
    except (PtychoError, KeyError):
        return None
    return {name: each for name, each in found.items() if job.split in (None, name)}


def _last_run(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    counts = Counter(each.status for each in outcomes)
    return {
        "timestamp": now(),
        "n_success": counts["done"],
        "n_failed": counts["failed"],
        "n_skipped": counts["skipped"],
        "n_kept": sum(each.kept for each in outcomes),
        "jobs": [each.job.name for each in outcomes],
    }


def _before(folder: Path) -> Any:
    try:
        return read_json(folder / MANIFEST, "a manifest", finite=False).get("last_run")
    except PtychoError:
        return None
