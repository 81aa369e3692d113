"""Run the unfinished jobs of a study, several at a time, each in its own process."""

import os
import platform
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.output_folder import file_hash, versions
from ptychopinn.files.replacing import set_aside
from ptychopinn.files.signals import StopRequest
from ptychopinn.study.jobs import Job, unmet
from ptychopinn.study.records import LIBRARIES, LOG, PATIENCE, held, input_hashes, read_record, state_of, write_record
from ptychopinn.text import Report

THREADS = "OMP_NUM_THREADS"
GLANCE = 0.1
"""Seconds between two checks of a running command."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: the job.
        status: ``skipped`` where it could not begin.
        reason: of a failure or a skip.
        seconds: of wall time; None where nothing ran.
        kept: whether it was finished before.
    """

    job: Job
    status: Literal["done", "failed", "interrupted", "skipped"]
    reason: str = ""
    seconds: float | None = None
    kept: bool = False


@dataclass
class _Study:
    """State shared by the threads of a run.

    Attributes:
        folder: of the study.
        threads: CPU threads of every job.
        stop: set when no further job may begin and running ones must end.
        known: hashes of files that were read.
    """

    folder: Path
    threads: int
    stop: threading.Event
    known: dict[str, str] = field(default_factory=dict)


def threads_per_job(parallel: int) -> int:
    """``OMP_NUM_THREADS`` where it is set, else cores per parallel job."""
    told = os.environ.get(THREADS, "")
    return int(told) if told.isdecimal() and int(told) else max(1, (os.cpu_count() or 1) // parallel)


def run_jobs(
    folder: Path,
    jobs: Sequence[Job],
    parallel: int = 1,
    impossible: Mapping[str, str] | None = None,
    report: Report = lambda line: None,
) -> list[Outcome]:
    """Run jobs, except finished and unchanged ones; a failure stops only the jobs that need it.

    Args:
        folder: of the study.
        jobs: each after those that it needs.
        parallel: number of jobs at a time.
        impossible: reasons, by name, why jobs must not begin.
        report: receives a line per job.

    Returns:
        An outcome per job, in the given order.

    Raises:
        RunFailedError: when a signal ended the run.
    """
    by_name = {job.name: job for job in jobs}
    outcomes: dict[str, Outcome] = {
        name: Outcome(by_name[name], "skipped", reason)
        for name, reason in (impossible or {}).items()
        if name in by_name
    }
    sorter = TopologicalSorter({job.name: [name for name in job.needs if name in by_name] for job in jobs})
    sorter.prepare()
    with StopRequest() as request, ThreadPoolExecutor(parallel) as pool:
        study = _Study(folder, threads_per_job(parallel), request.event)
        running: dict[Future[Outcome], str] = {}
        while sorter.is_active() and not study.stop.is_set():
            for name in sorter.get_ready():
                running[pool.submit(_one, study, by_name[name], outcomes)] = name
            ended, _ = wait(running, timeout=GLANCE, return_when=FIRST_COMPLETED)
            for future in ended:
                name = running.pop(future)
                outcomes[name] = future.result()
                sorter.done(name)
                report(_line(outcomes[name], len(outcomes), len(jobs)))
        for future in running:
            future.cancel()
    if request.name:
        raise RunFailedError(f"study: ended by {request.name}; run it again to continue; finished jobs are kept.")
    return [outcomes[job.name] for job in jobs]


def run_one(folder: Path, job: Job) -> Outcome:
    """Run one job, as :func:`run_jobs` does; Snakemake runs the others."""
    with StopRequest() as request:
        outcome = _one(_Study(folder, threads_per_job(os.cpu_count() or 1), request.event), job, {})
    if request.name:
        raise RunFailedError(f"{job.name}: ended by {request.name}; run the same command to start it again.")
    return outcome


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _one(study: _Study, job: Job, before: Mapping[str, Outcome]) -> Outcome:
    """Run a job unless it is finished, or a job that it needs has failed."""
    if job.name in before:
        return before[job.name]
    if study.stop.is_set():
        return Outcome(job, "interrupted")
    if lost := unmet(job, {name: outcome.status for name, outcome in before.items()}):
        return Outcome(job, "skipped", lost)
    try:
        with held(study.folder, job) as descriptor:
            if state_of(study.folder, job, study.known) == "done":
                return Outcome(job, "done", kept=True)
            return _execute(study, job, descriptor)
    except (PtychoError, OSError) as error:
        return Outcome(job, "failed", str(error))


def _execute(study: _Study, job: Job, descriptor: int) -> Outcome:
    """Run the command of a job and record its result."""
    folder = study.folder
    try:
        inputs = input_hashes(folder, job, study.known)
    except OSError as error:
        return Outcome(job, "failed", f"{error.filename}: {error.strerror}")
    finished = read_record(folder, job).status == "done"
    about: dict[str, Any] = {
        "inputs": inputs,
        "started": _now(),
        "host": platform.node(),
        "study_pid": os.getpid(),
        "threads": study.threads,
        "versions": versions(*LIBRARIES),
    }
    with set_aside(folder / job.out, finished) as accept:
        outcome = _ended(study, job, descriptor, about)
        if outcome.status == "done":
            about["outputs"] = {name: file_hash(folder / name) for name in job.outputs}
            accept()
    ended = {"status": outcome.status} | ({"reason": outcome.reason} if outcome.reason else {})
    write_record(folder, job, {**about, **ended})
    return outcome


def _ended(study: _Study, job: Job, descriptor: int, about: dict[str, Any]) -> Outcome:
    """Run the command of a job to its end; what it took is added to ``about``."""
    folder = study.folder
    write_record(folder, job, {**about, "status": "running"})
    began = time.monotonic()
    with (folder / job.folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", *job.command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, THREADS: str(study.threads)},
            pass_fds=(descriptor,),
            start_new_session=True,
        )
        write_record(folder, job, {**about, "status": "running", "pid": process.pid})
        code, usage = _watch(process, study.stop)
    seconds = time.monotonic() - began
    del about["host"], about["study_pid"]
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    about |= {"exit_code": code, "seconds": seconds, "peak_memory_gib": peak / 2**30}
    about["cpu_seconds"] = usage.ru_utime + usage.ru_stime
    reason = _failure(folder, job, code)
    outcome = Outcome(job, "failed" if reason else "done", reason, seconds)
    if study.stop.is_set() and code:
        outcome = Outcome(job, "interrupted", seconds=seconds)
    return outcome


def _watch(process: "subprocess.Popen[bytes]", stop: threading.Event) -> tuple[int, resource.struct_rusage]:
    """Exit code and resource use of a process; SIGTERM once ``stop`` is set, SIGKILL after PATIENCE."""
    told, limit = False, 0.0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage
        if stop.wait(GLANCE) and not told:
            told, limit = True, time.monotonic() + PATIENCE
            _signal_group(process.pid, signal.SIGTERM)
        if told:
            time.sleep(GLANCE)
            if time.monotonic() > limit:
                _signal_group(process.pid, signal.SIGKILL)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def _failure(folder: Path, job: Job, code: int) -> str:
    """Why a command failed: its last line; empty when it did not."""
    absent = [name for name in job.outputs if not (folder / name).is_file()]
    if code == 0 and not absent:
        return ""
    if code == 0:
        return f"exit code 0, but it did not write {absent[0]}"
    lines = (folder / job.folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = lines[-1] if lines else "no output"
    return f"signal {-code}: {said}" if code < 0 else said


def _line(outcome: Outcome, done: int, total: int) -> str:
    """One line about a job that ended."""
    what = "kept" if outcome.kept else outcome.status
    seconds = "" if outcome.seconds is None else f" in {outcome.seconds:.0f} s"
    return f"[{done}/{total}] {outcome.job.name}: {what}{seconds}" + (f": {outcome.reason}" if outcome.reason else "")
