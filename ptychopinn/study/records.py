"""State of a job: ``job.json``, whether it is finished, and the lock of the process that runs it."""

import fcntl
import os
import platform
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from ptychopinn.errors import PtychoError
from ptychopinn.files.output_folder import LOCK, file_hash, write_json
from ptychopinn.json_reader import read_json, validated
from ptychopinn.study.jobs import Job

State = Literal["done", "failed", "running", "interrupted", "changed", "to do"]

RECORD: Final = "job.json"
LOG: Final = "log.txt"

LIBRARIES: Final = ("ptychopinn", "torch", "numpy", "scipy", "lightning", "ptychi", "torchmetrics")
"""Libraries whose versions every job records."""

PATIENCE: Final = 30.0
"""Seconds that a process has to end after it was told to stop."""

GLANCE: Final = 1.0
"""Seconds after which a lock cannot be that of a process that only reads the state."""


class JobRecord(BaseModel):
    """``job.json``, as far as it is read again; what is not known yet has its default."""

    model_config = ConfigDict(extra="allow", frozen=True)

    command: tuple[str, ...] = ()
    inputs: dict[str, str] = Field({}, description="SHA-256 by name")
    status: Literal["running", "done", "failed", "interrupted"] | None = None
    reason: str = Field("", description="why it failed")
    exit_code: int | None = Field(None, description="of the command; negative: the signal that ended it")
    outputs: dict[str, str] = Field({}, description="SHA-256 by name, of a finished job")
    host: str | None = Field(None, description="where it runs")
    study_pid: int | None = Field(None, description="process of the study")
    pid: int | None = Field(None, description="process of the command")
    seconds: float | None = Field(None, description="wall time")
    cpu_seconds: float = 0.0
    peak_memory_gib: float = 0.0
    versions: dict[str, str] = Field({}, description="of Python and libraries")


def read_record(folder: Path, job: Job) -> JobRecord:
    """``job.json`` of a job; an empty record when there is none that can be read."""
    try:
        return validated(JobRecord, read_json(folder / job.folder / RECORD, "job entries", finite=False))
    except PtychoError:
        return JobRecord()


def write_record(folder: Path, job: Job, values: Mapping[str, Any]) -> None:
    """Write ``job.json``: what the job is, and ``values``."""
    about = {name: getattr(job, name) for name in ("name", "stage", "dose", "view", "split", "gridsize", "model")}
    write_json(folder / job.folder / RECORD, {**about, "command": job.command, **values})


def input_hashes(folder: Path, job: Job, known: dict[str, str]) -> dict[str, str]:
    """SHA-256 of every input, by its name in the job.

    Args:
        folder: of the study.
        job: whose inputs are read.
        known: hashes by path, size and time; new ones are added.

    Raises:
        OSError: when one is not there.
    """
    hashes = {}
    for name in job.inputs:
        about = (folder / name).stat()
        key = f"{name} {about.st_size} {about.st_mtime_ns}"
        if key not in known:
            known[key] = file_hash(folder / name)
        hashes[name] = known[key]
    return hashes


def state_of(folder: Path, job: Job, known: dict[str, str]) -> State:
    """State of a job: ``done`` only when its command and every input are unchanged since it finished."""
    record = read_record(folder, job)
    if record.status is None:
        return "to do"
    if record.status == "running":
        return "running" if _is_held(folder / job.folder) else "interrupted"
    if record.command != job.command:
        return "changed"
    if record.status != "done":
        return record.status
    try:
        unchanged = record.inputs == input_hashes(folder, job, known)
    except OSError:
        return "changed"
    there = all((folder / name).is_file() for name in job.outputs)
    return "done" if unchanged and there else "changed"


@contextmanager
def held(folder: Path, job: Job) -> Iterator[int]:
    """Lock a job while the block runs it; yields a descriptor that the process of the job must inherit.

    The lock lasts as long as any process has the descriptor open, also a command whose study was killed: such a
    command is stopped.

    Raises:
        PtychoError: when another study runs the job.
    """
    place = folder / job.folder
    place.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _locks(descriptor):
            _stop_left_over(folder, job, descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_held(place: Path) -> bool:
    try:
        descriptor = os.open(place / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _locks(descriptor)
    finally:
        os.close(descriptor)


def _stop_left_over(folder: Path, job: Job, descriptor: int) -> None:
    """End the command of a study that died; its lock proves that the recorded process still runs."""
    record = read_record(folder, job)
    orphan = record.host == platform.node() and not _is_alive(record.study_pid)
    if orphan and record.pid is not None:
        with suppress(ProcessLookupError):
            os.killpg(record.pid, signal.SIGKILL)
    # Without an orphan, another process may only be reading the state.
    limit = time.monotonic() + (PATIENCE if orphan else GLANCE)
    while time.monotonic() < limit:
        if _locks(descriptor):
            return
        time.sleep(0.05)
    raise PtychoError(f"{folder / job.folder}: another study works on this job; wait until it has ended.")


def _is_alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
