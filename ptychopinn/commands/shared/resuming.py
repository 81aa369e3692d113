"""The checkpoint of a refinement: what it belongs to, and how a later call goes on from it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ptychopinn.commands.shared.request import Request
from ptychopinn.config import Settings
from ptychopinn.engines.progress import Progress, Running
from ptychopinn.errors import WARNING, PtychoError, RunFailedError
from ptychopinn.files.checkpoint import load_checkpoint, save_checkpoint
from ptychopinn.files.output_folder import CHECKPOINT, file_hash
from ptychopinn.files.signals import Interruption
from ptychopinn.model.execution import device_of
from ptychopinn.model.processes import Team
from ptychopinn.scan.scan import Scan

MAY_CHANGE: Final = frozenset(("epochs", "refine_seconds", "tolerance", "error_draws", "memory", "accelerator"))
"""Settings that may change when a refinement goes on."""


UNREADABLE: Final = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    RecursionError,
)
"""Errors of parts of a checkpoint that are something else than they should be."""


class Checkpoints:
    """Keeps the progress of a refinement in its folder.

    Args:
        request: settings and folder.
        source: scan file.
        resume: go on from the checkpoint in the folder.

    Attributes:
        request: with the settings of the checkpoint, where it resumes.

    Raises:
        PtychoError: when the folder holds no checkpoint, or for a setting that decided the fit so far.
    """

    def __init__(self, request: Request, source: Path, resume: bool) -> None:
        self.request, self.resume, self._source, self._path = request, resume, source, request.out / CHECKPOINT
        self._kept: dict[str, Any] = {}
        self._told, self._folder = False, _identity(request.out)
        self._before: dict[str, Any] = {}
        if resume:
            self._load()

    @cached_property
    def sha256(self) -> str:
        """Of the scan file."""
        return file_hash(self._source)

    def running(self, scan: Scan, team: Team, stop: Interruption | None = None) -> Running:
        """How the fit of a scan runs; its signals are taken from now on.

        Raises:
            PtychoError: when the checkpoint is of another scan.
        """
        if self.resume and self._before["sha256"] != self.sha256:
            raise PtychoError(
                f"{self._source}: is not the scan that {self.request.out} was fitted to; --resume needs the same file."
            )
        self._folder = _identity(self.request.out)
        if stop is not None:
            stop.take()
        device = device_of(self.request.settings)
        progress = None
        if self.resume:
            with self._reading():
                progress = Progress.of(self._kept["progress"], device)
                progress.check(scan)
        return Running(team, progress, self._keep, stop)

    def remove(self) -> None:
        """The fit has ended: nothing is to be resumed."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say of a checkpoint that holds something else that it cannot be read."""
        try:
            yield
        except UNREADABLE:
            raise PtychoError(f"{self._path}: cannot be read as a checkpoint; start again with --overwrite.") from None

    def _keep(self, progress: Progress) -> None:
        request = self.request
        origin = {"sha256": self.sha256, "settings": request.settings.flat(), "sources": dict(request.sources)}
        try:
            if _identity(request.out) not in (None, self._folder):
                raise RunFailedError(f"{request.out}: is another folder than before.")
            save_checkpoint(self._path, {"origin": json.dumps(origin), "progress": progress.state()})
        except RunFailedError as error:
            if not self._told:
                request.report(f"{WARNING}no checkpoint, so that --resume will not go on from here: {error}")
            self._told = True

    def _load(self) -> None:
        request, out = self.request, self.request.out
        if request.config or request.overwrite:
            raise PtychoError("--resume: goes on with the settings of the fit; omit --config and --overwrite.")
        self._kept = load_checkpoint(self._path)
        with self._reading():
            self._before = json.loads(self._kept["origin"])
            before, sources = Settings.of(self._before["settings"]), dict(self._before["sources"])
        changes = request.given
        for name, value in changes.items():
            if value != (old := before.flat()[name]) and name not in MAY_CHANGE:
                raise PtychoError(f"--resume: {name} {value!r} given, but {out} was begun with {old!r}; start anew.")
        sources |= dict.fromkeys(changes, "flag")
        self.request = replace(request, settings=before.changed(**changes), sources=sources)


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from any other one; None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
