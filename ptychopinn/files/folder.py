"""Output folders: who made them, from what, with which settings."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.atomic import writing

PROVENANCE = "provenance.json"
"""Marks a folder as ours: only such a folder is ever replaced."""

LOCK = ".lock"


def prepare_folder(folder: Path, overwrite: bool = False) -> None:
    """Make an empty output folder, or empty one of ours when ``overwrite`` is given.

    Raises:
        PtychoError: when something is there that may not be replaced.
        RunFailedError: when the file system refuses.
    """
    if folder.exists():
        if not folder.is_dir():
            raise PtychoError(f"{folder}: is a file; --out needs a folder.")
        if any(folder.iterdir()):
            if not overwrite:
                raise PtychoError(f"{folder}: is not empty; give another --out, or --overwrite to replace it.")
            if not (folder / PROVENANCE).is_file():
                raise PtychoError(f"{folder}: was not written by ptychopinn and is not replaced; give another --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The folder itself stays: it may be a mount, a link or where the user stands. Its mark goes last.
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == PROVENANCE):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError as error:
        raise RunFailedError(f"{folder}: cannot be made: {error.strerror or error}.") from None


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a folder while it is written to; the lock ends with the process, however that ends.

    Raises:
        PtychoError: when another process holds it.
    """
    with (folder / LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PtychoError(f"{folder}: another process writes here; wait, or give another --out.") from None
        yield
    (folder / LOCK).unlink(missing_ok=True)


def read_provenance(folder: Path) -> dict[str, Any]:
    """What ``write_provenance`` left in a folder.

    Raises:
        PtychoError: when it is no folder of ours.
    """
    try:
        record = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise PtychoError(f"{folder}: holds no {PROVENANCE}; a folder that ptychopinn wrote is needed.")
    return record


def write_provenance(folder: Path, command: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``provenance.json``: command, date, version and whatever else decides the content of a folder.

    Returns:
        What was written.
    """
    record = {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "ptychopinn": metadata.version("ptychopinn"),
        **values,
    }
    write_json(folder / PROVENANCE, record)
    return record


def write_json(path: Path, values: Any) -> None:
    """Write JSON whole or not at all."""
    with writing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def file_hash(path: Path) -> str:
    """SHA-256 of a file as hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
