"""What ``study plan``, ``run``, ``status`` and ``report`` do."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ptychopinn.commands.shared.live import Live
from ptychopinn.commands.shared.request import Request
from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.output_folder import LIVE_PAGE
from ptychopinn.files.replacing import holding
from ptychopinn.study.design import StudyDesign
from ptychopinn.study.feasibility import Places, counts_line, impossible_jobs, places_of, still_impossible
from ptychopinn.study.jobs import Job, find, jobs_of, matching, summary, with_needs
from ptychopinn.study.manifest import MANIFEST, skip_rows, write_manifest, write_skips
from ptychopinn.study.plan import begin, chosen_design, known_design, plan_row, stored_design, table, write_plan
from ptychopinn.study.records import RECORD, read_record, state_of
from ptychopinn.study.report import write_report
from ptychopinn.study.results import progress_of
from ptychopinn.study.run import run_jobs, run_one
from ptychopinn.study.snakefile import write_snakefile


@dataclass(frozen=True)
class Asked:
    """The arguments of a call.

    Attributes:
        preset: name of a design.
        design: file of one.
        assigned: fields of the design by name, ``train.nepochs`` inside ``train``.
        filters: arguments of :func:`ptychopinn.study.jobs.matching`.
        allow_missing: skip impossible jobs.
        update: replace the design of the folder.
        redo: run the jobs that the filters ask for again, even finished ones.
    """

    preset: str | None = None
    design: Path | None = None
    assigned: Mapping[str, Any] = field(default_factory=dict)
    filters: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    allow_missing: bool = False
    update: bool = False
    redo: bool = False


@dataclass(frozen=True)
class _Work:
    """A checked call.

    Attributes:
        design: of the study.
        everything: all its jobs.
        reasons: why jobs are impossible, of all.
        asked: jobs asked for.
        jobs: these and the jobs they need.
        impossible: reasons of those among them.
        places: positions of the frames of the views.
    """

    design: StudyDesign
    everything: tuple[Job, ...]
    reasons: Mapping[str, str]
    asked: tuple[Job, ...]
    jobs: tuple[Job, ...]
    impossible: Mapping[str, str]
    places: Places

    @property
    def frames(self) -> str:
        """Number of frames of every view."""
        return counts_line(self.places)

    @property
    def skips(self) -> dict[Job, str]:
        """Jobs that would be skipped because they are impossible, and why."""
        return {job: self.impossible[job.name] for job in self.jobs if job.name in self.impossible}


def plan(folder: Path | None, asked: Asked, snakefile: bool = False) -> str:
    """The table of the jobs with their states, and the number of frames; in a folder it writes them too.

    ``plan.json`` has the jobs and the skips that a run would make. So has ``skip_summary.json`` in a folder where
    nothing has run yet. ``snakefile`` also writes a Snakefile.

    Raises:
        PtychoError: for a wrong or impossible design.
    """
    work = _work(folder, asked)
    states = _states(folder, work.jobs, work.impossible)
    lines = [table(work.jobs, states), "", summary(work.jobs), work.frames]
    if snakefile and folder is not None:
        possible = _possible(work, asked.allow_missing)
        with holding(folder, "study", keep=True):
            begin(folder, work.design)
            write_snakefile(folder, work.design, possible)
    if folder is not None:
        plan_of = {"design": work.design.model_dump(mode="json"), "summary": summary(work.jobs), "frames": work.frames}
        rows = [plan_row(job, states[job.name]) for job in work.jobs]
        write_plan(folder, {**plan_of, "jobs": rows, "skipped": skip_rows(work.skips)})
        if not (folder / MANIFEST).is_file():
            write_skips(folder, work.skips, dry_run=True)
    return "\n".join(lines + [f"{name}: {reason}" for name, reason in work.impossible.items()])


def run(
    folder: Path,
    asked: Asked,
    parallel: int = 1,
    report: Callable[[str], None] = lambda line: None,
    serve: str | None = None,
) -> str:
    """Run the unfinished jobs that a call asks for, then write the report.

    Returns:
        A line about the end.

    Raises:
        PtychoError: for a wrong or impossible design.
        RunFailedError: when a job failed, once everything else has ended.
    """
    work = _work(folder, asked)
    possible = _possible(work, asked.allow_missing)
    live = Live(Request(out=folder, report=report, serve=serve), f"study {folder.resolve().name}")
    live.ask(lambda: live.know(*_running(folder, work.jobs, live)))
    report = live.report
    with holding(folder, "study", keep=True), live:
        begin(folder, work.design)
        report(f"{summary(possible)}; {work.frames}")
        for job in work.asked if asked.redo else ():
            (folder / job.folder / RECORD).unlink(missing_ok=True)
        try:
            outcomes = run_jobs(folder, work.jobs, parallel, work.impossible, report)
        except RunFailedError:
            write_manifest(folder, progress_of(folder, work.everything, work.reasons))
            raise
        progress = progress_of(folder, work.everything, work.reasons)
        write_manifest(folder, progress, outcomes)
        write_skips(folder, {each.job: each.reason for each in progress if each.state == "skipped"})
        ended = Counter(each.status for each in outcomes)
        counts = ", ".join(f"{ended[status]} {status}" for status in ("done", "failed", "skipped"))
        page = write_report(folder, work.design)
        live.know({"jobs": counts, "running": "none"})
        live.link(("Report", page.name))
    if ended["failed"]:
        first = next(each for each in outcomes if each.status == "failed")
        raise RunFailedError(f"study: {counts}; first {first.job.name}: {first.reason.rstrip('.')}. Report: {page}")
    return f"{counts}. Report: {page}"


def _running(folder: Path, jobs: Sequence[Job], live: Live) -> tuple[dict[str, str]]:
    """What runs now, for the live page, with links to the pages of these jobs."""
    records = {job: read_record(folder, job) for job in jobs}
    now = [job for job, record in records.items() if record.status == "running"]
    pages = [(job.name, f"{job.out}/{LIVE_PAGE}") for job in now]
    live.link(*((name, quote(page)) for name, page in pages if (folder / page).is_file()))
    counts = Counter(record.status or "to do" for record in records.values())
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    return ({"jobs": states, "running": ", ".join(job.name for job in now) or "none"},)


def run_named(folder: Path, name: str) -> str:
    """Run one job of an existing study; returns a line about its result.

    Raises:
        PtychoError: when there is no such study or job.
        RunFailedError: when it failed.
    """
    outcome = run_one(folder, find(jobs_of(stored_design(folder)), name))
    if outcome.status != "done":
        raise RunFailedError(f"{name}: {outcome.reason}")
    return f"{name}: " + ("kept" if outcome.kept else f"done in {outcome.seconds:.0f} s")


def status(folder: Path) -> str:
    """The table of all jobs of a study, and the number of jobs in each state."""
    design = stored_design(folder)
    jobs = jobs_of(design)
    states = _states(folder, jobs, still_impossible(design, jobs))
    counts = Counter(states.values())
    return table(jobs, states) + "\n\n" + ", ".join(f"{count} {state}" for state, count in counts.most_common())


def report(folder: Path) -> str:
    """Write the report of the finished jobs and the manifest of all; returns a line with its path."""
    design = stored_design(folder)
    jobs = jobs_of(design)
    write_manifest(folder, progress_of(folder, jobs, still_impossible(design, jobs)))
    return f"Report: {write_report(folder, design)}"


def _work(folder: Path | None, asked: Asked) -> _Work:
    given = chosen_design(asked.preset, asked.design, asked.assigned)
    design = known_design(folder, given, asked.update)
    everything = jobs_of(design)
    chosen = matching(everything, design, **asked.filters)
    jobs = with_needs(everything, chosen)
    places = places_of(design)
    reasons = impossible_jobs(design, everything, places)
    impossible = {job.name: reasons[job.name] for job in jobs if job.name in reasons}
    return _Work(design, everything, reasons, chosen, jobs, impossible, places)


def _possible(work: _Work, allow_missing: bool) -> tuple[Job, ...]:
    """The possible jobs; all must be possible unless ``allow_missing``."""
    if work.impossible and not allow_missing:
        name, reason = next(iter(work.impossible.items()))
        raise PtychoError(
            f"{name}: {reason.rstrip('.')}; change the design, or give --allow-missing to skip such jobs."
        )
    return tuple(job for job in work.jobs if job.name not in work.impossible)


def _states(folder: Path | None, jobs: Sequence[Job], impossible: Mapping[str, str]) -> dict[str, str]:
    known: dict[str, str] = {}
    states = {job.name: "to do" if folder is None else state_of(folder, job, known) for job in jobs}
    return states | dict.fromkeys(impossible, "impossible")
