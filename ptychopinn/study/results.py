"""Results of the finished jobs of a study, read from their folders."""

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ptychopinn.json_reader import read_json
from ptychopinn.study.design import StudyDesign
from ptychopinn.study.jobs import Job, unmet
from ptychopinn.study.records import JobRecord, read_record, state_of
from ptychopinn.study.views import compared_in, shared_scores

Value = float | str | None

METRICS: Final = "metrics_bundle.json"
"""Overlap numbers of the views of a dose."""

LOW: Final = (
    *("mae", "mse", "complex_error", "covered_error", "shared_error", "squared_error"),
    *("half_period_nm", "seconds_total", "peak_memory_gib"),
)
HIGH: Final = ("psnr", "ssim", "frc50", "half_bit", "efficiency")
"""Endings of the names of metrics: small is better for LOW, large for HIGH."""


@dataclass(frozen=True)
class Row:
    """One arm of one comparison.

    Attributes:
        job: that compared.
        arm: name of the arm.
        values: metrics by name.
    """

    job: Job
    arm: str
    values: Mapping[str, Value]

    def flat(self) -> dict[str, Any]:
        """Everything as one level of names."""
        about = {name: getattr(self.job, name) for name in ("dose", "view", "split", "gridsize")}
        return about | {"arm": self.arm} | dict(self.values)


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        job: the job.
        state: ``skipped`` when it is impossible, or needs a job that failed or was skipped.
        reason: of a failure or a skip.
        record: its ``job.json``.
    """

    job: Job
    state: str
    reason: str
    record: JobRecord


@dataclass(frozen=True)
class Results:
    """What a report shows: all jobs, the rows of finished comparisons, and overlap per view, split and dose."""

    design: StudyDesign
    jobs: Sequence[Progress]
    rows: Sequence[Row]
    overlaps: Sequence[Mapping[str, Any]]


def gather(folder: Path, design: StudyDesign, jobs: Sequence[Job], impossible: Mapping[str, str]) -> Results:
    """Read the records of all jobs, and the tables of those that are finished.

    Args:
        folder: of the study.
        design: of it.
        jobs: all of them, each after those that it needs.
        impossible: reasons by name of jobs that are impossible.
    """
    found = progress_of(folder, jobs, impossible)
    done = [each.job for each in found if each.state == "done"]
    compared = [job for job in done if job.stage == "compare"]
    shared = shared_scores(folder, compared)
    rows = [row for job in compared for row in _rows(folder, job, design, shared)]
    overlaps = [row for job in done if job.stage == "overlap" for row in _overlaps(folder, job)]
    return Results(design, found, rows, overlaps)


def progress_of(folder: Path, jobs: Sequence[Job], impossible: Mapping[str, str]) -> list[Progress]:
    """State and record of every job; the arguments are those of :func:`gather`."""
    known: dict[str, str] = {}
    states: dict[str, str] = {}
    found: list[Progress] = []
    for job in jobs:
        record, state, reason = read_record(folder, job), str(state_of(folder, job, known)), ""
        if state == "failed":
            reason = record.reason
        elif state != "done" and (reason := impossible.get(job.name) or unmet(job, states)):
            state = "skipped"
        states[job.name] = state
        found.append(Progress(job, state, reason, record))
    return found


def arm_name(arm: str, design: StudyDesign) -> str:
    """Name of an arm in the report; the iterative arm is named by its engine."""
    return design.engine.upper() if arm == "iterative" else arm


def images_of(folder: Path, job: Job, design: StudyDesign) -> tuple[dict[str, Any], Any]:
    """Aligned images of a comparison by name, the truth first, and the mask that all of them cover."""
    found = compared_in(folder, job)
    return {arm_name(name, design): image for name, image in found.images.items()}, found.mask


def best_arms(rows: Sequence[Row], metric: str) -> set[str]:
    """Arms with the best value of a metric; none when neither large nor small is better, or all are equal."""
    low, high = metric.endswith(LOW), metric.endswith(HIGH)
    values = {row.arm: float(value) for row in rows if isinstance(value := row.values.get(metric), float)}
    if len(set(values.values())) < 2 or not (low or high):
        return set()
    best = min(values.values()) if low else max(values.values())
    return {arm for arm, value in values.items() if value == best}


def _rows(
    folder: Path, job: Job, design: StudyDesign, shared: Mapping[tuple[str, str], Mapping[str, Any]]
) -> list[Row]:
    """A row per arm of a comparison, its scores on the pixels that all views share behind those on its own."""
    rows = []
    with (folder / job.out / "comparison_metrics.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            arm = row.pop("arm")
            common = {
                name: float(value) if isinstance(value, int) else value
                for name, value in shared.get((job.name, arm), {}).items()
            }
            values = {name: _value(text) for name, text in row.items()}
            rows.append(Row(job, arm_name(arm, design), values | common))
    return rows


def _value(text: str) -> Value:
    if not text:
        return None
    with suppress(ValueError):
        return float(text)
    return text


def _overlaps(folder: Path, job: Job) -> list[dict[str, Any]]:
    """A row of overlap numbers per split of a view."""
    bundle = read_json(folder / job.out / METRICS, "overlap numbers", finite=False)
    rows = []
    for name, found in bundle["splits"].items():
        chosen, view = found["selection"], found["view"]
        rows.append(
            {
                "dose": job.dose,
                "view": job.view,
                "split": name.removeprefix("scan_"),
                "frames": chosen["n_accepted"],
                "total": chosen["n_read"],
                "spacing": f"{chosen['spacing_threshold']:g}",
                "strategy": chosen["selection_strategy"],
                "probe": f"{found['parameters']['probe_diameter_px']:.1f}",
                "group": _mean(view["metric_1_group"]),
                "image": _mean(view["metric_2_image"]),
                "groups": _mean(view["metric_3_group_to_group"]),
                "full": _mean(found["scan"]["metric_2_image"]),
            }
        )
    return rows


def _mean(metric: Mapping[str, Any] | None) -> str:
    return "–" if metric is None else f"{metric['mean']:.3f}"
