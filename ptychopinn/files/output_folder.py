"""Output folders: what a command may replace, marks of ours, tables and JSON in them."""

import csv
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from ptychopinn.errors import PtychoError
from ptychopinn.files.atomic import is_part, writing
from ptychopinn.files.naming import check_plain
from ptychopinn.json_reader import read_json


def check_new(path: Path, overwrite: bool) -> None:
    """Refuse to replace a file without ``overwrite``."""
    if path.is_dir():
        raise PtychoError(f"{path}: is a folder; the name of a file is needed.")
    if path.exists() and not path.is_file():
        raise PtychoError(f"{path}: is a device or a pipe; the name of a plain file is needed.")
    if path.exists() and not overwrite:
        raise PtychoError(f"{path}: exists already; give another name, or --overwrite to replace it.")


def check_apart(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse a file or folder that is read and would be replaced, under whatever name.

    Args:
        outputs: files, or a folder that is to be filled.
        inputs: what is read; one that is not there is no fault here.

    Raises:
        PtychoError: naming the input.
    """
    read = [path for path in inputs if path.exists()]
    for out in outputs:
        for path in read if out.exists() else ():
            if out.samefile(path):
                raise PtychoError(f"{out}: is read by this call, and would be replaced; give another name.")
            if out.is_dir() and path.resolve().is_relative_to(out.resolve()):
                raise PtychoError(f"{path}: lies in {out}, which is to be filled; give another --out.")


PROVENANCE = "provenance.json"
"""Marks a folder as ours: only such a folder is replaced."""

LOCK = ".lock"

LIVE = "live.png"
"""Picture of a growing scan."""

LIVE_PAGE = "live.html"
"""What a run knows so far; it may be replaced like what a killed process left."""

BESIDE = "network_and_refined.png"
"""Picture of the demo: two images of one scan and their error bars."""

VIEW = "view.html"

DROPPED = "dropped_frames.txt"
"""Numbers of the frames that `reconstruct` left out, as ``--drop-frames`` takes them."""

"""Page to look at images, beside them."""

CHECKPOINTS = "checkpoints/*.ckpt"
"""Checkpoints from which a training resumes."""

CHECKPOINT = "checkpoint.pt"
"""Progress of a refinement, from which it resumes."""

PICTURE: Final = (
    "reconstruction.h5",
    "reconstruction.npz",
    "reconstruction.png",
    "patterns.png",
    "frames.csv",
    "frames.png",
)
RUN: Final = (
    *("settings.json", "wts.h5.zip", "metrics.csv", "loss.png", "probe.png", "mlflow.db"),
    *(CHECKPOINTS, "tensorboard/events.out.tfevents.*", "tensorboard/hparams.yaml"),
)
FITTED: Final = (*PICTURE, "loss.csv", "loss.png", "probe.png")
OURS: Final = {
    "train": RUN,
    "pretrain": RUN,
    "infer": (*PICTURE, LIVE),
    "baseline": FITTED,
    "refine": (*FITTED, CHECKPOINT),
    "reconstruct": (*PICTURE, "settings.json", "probe.png", "report.html", VIEW, DROPPED),
    "compare": (
        *("comparison_metrics.csv", "comparison_metrics.json", "frc_curves.csv", "comparison.png"),
        *(VIEW, "reconstructions.npz", "reconstructions_aligned.npz"),
    ),
    "overlap": ("metrics_bundle.json",),
    "demo": (
        *("star.npz", "lines.npz", "scan.png", "scores.json", "scores.md"),
        *(f"run/{name}" for name in RUN),
        *(f"{kind}/{name}" for kind in ("star", "lines") for name in PICTURE),
        f"star/{BESIDE}",
    ),
}
"""What each command writes into its folder, besides ``files`` of its provenance; nothing else is removed."""


def leads() -> bool:
    """Whether this process is the only or the first one of its program: it writes files and messages."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK"))


def _check_above(folder: Path) -> None:
    """Refuse a folder below a file."""
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir():
        raise PtychoError(f"{folder}: cannot be made, {above.name} is a file; give another --out.")


def check_folder(folder: Path, command: str, overwrite: bool = False, own: str | None = None) -> None:
    """Refuse a folder that holds anything, or with ``overwrite`` anything that ``command`` did not write.

    Args:
        folder: to check.
        command: that is to write there.
        overwrite: replace what it wrote.
        own: name of a file that this process has written.

    Raises:
        PtychoError: naming what is there.
    """
    if not folder.exists():
        _check_above(folder)
        return
    if not folder.is_dir():
        raise PtychoError(f"{folder}: is a file; --out needs a folder.")
    if is_vacant(folder, own):
        return
    reason = _not_to_replace(folder, command)
    if overwrite and reason is not None:
        raise PtychoError(reason)
    if not overwrite:
        ways = ["another --out"] + (["--overwrite to replace it"] if reason is None else [])
        kept = {"train": CHECKPOINTS, "refine": CHECKPOINT}.get(command)
        if kept is not None and reason is None and any(folder.glob(kept)):
            ways.append("--resume to go on with it")
        raise PtychoError(f"{folder}: is not empty; give {', or '.join(ways)}.")


def _not_to_replace(folder: Path, command: str) -> str | None:
    """Why a command may not replace a folder that holds something; None where it may."""
    if command == "refine" and all(entry.name == CHECKPOINT or _is_left_over(entry.name) for entry in folder.iterdir()):
        return None
    try:
        record = read_provenance(folder)
    except PtychoError:
        return f"{folder}: was not written by ptychopinn and is not replaced; give another --out."
    writer = record.get("command")
    if writer != command:
        return f"{folder}: was written by '{writer}', and '{command}' does not replace it; give another --out."
    if command not in OURS:
        return f"{folder}: '{command}' never replaces what it wrote; give another --out."
    listed = record.get("files")
    own = (PROVENANCE, *(listed if isinstance(listed, list) else ()))
    for path in sorted(folder.rglob("*")):
        if any(is_part(part) for part in path.relative_to(folder).parts):
            continue
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            continue
        if name not in own and not _is_left_over(path.name) and not any(fnmatch(name, mine) for mine in OURS[command]):
            return f"{folder}: ptychopinn did not write {name}; move it away, or give another --out."
    return None


def is_vacant(folder: Path, own: str | None = None) -> bool:
    """Whether a folder holds at most what a killed process left, and ``own``."""
    return all(_is_left_over(entry.name) or entry.name == own for entry in folder.iterdir())


def _is_left_over(name: str) -> bool:
    """Whether a killed process may have left the file: a lock, its live page, or a file under a temporary name."""
    return name in (LOCK, LIVE_PAGE) or is_part(name)


def read_provenance(folder: Path) -> dict[str, Any]:
    """Read what :func:`write_provenance` wrote.

    Raises:
        PtychoError: when it is no folder of ours.
    """
    try:
        return read_json(folder / PROVENANCE, "provenance", finite=False)
    except PtychoError:
        raise PtychoError(f"{folder}: holds no {PROVENANCE}; a folder that ptychopinn wrote is needed.") from None


STOPPED: Final = "stopped"
"""What ``provenance.json`` names the signal by that ended a command before its result was finished."""


def is_finished(folder: Path) -> bool:
    """Whether a folder holds the result of a command that no signal ended."""
    try:
        return STOPPED not in read_provenance(folder)
    except PtychoError:
        return False


def provenance_of(command: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Command, date, version and all else that determines the content of a folder, for ``provenance.json``."""
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "ptychopinn": metadata.version("ptychopinn"),
        **values,
    }


def write_provenance(folder: Path, command: str, values: Mapping[str, Any]) -> None:
    """Write ``provenance.json``, see :func:`provenance_of`."""
    write_json(folder / PROVENANCE, provenance_of(command, values))


def versions(*libraries: str) -> dict[str, str]:
    """Versions of Python and of those libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in libraries:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def write_json(path: Path, values: Any) -> None:
    """Write JSON whole or not at all."""
    with writing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV whole or not at all; a column for every name, empty where a row lacks it."""
    with writing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)))
        table.writeheader()
        table.writerows(rows)


def is_run(path: Path) -> bool:
    """Whether a path is a run folder or its bundle, by its name."""
    return path.name.endswith("wts.h5.zip") or (path / "wts.h5.zip").is_file()


def write_columns(path: Path, columns: Mapping[str, Iterable[Any]]) -> None:
    """Write columns of equal length, by their titles, as CSV whole or not at all; rows are made one by one."""
    with writing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(columns)
        table.writerows(zip(*columns.values(), strict=True))


def file_in(path: Path) -> Path | None:
    """The reconstruction in a folder, None where it holds none; any other path as it is."""
    if not path.is_dir():
        return path
    found = (path / name for name in ("reconstruction.h5", "reconstruction.npz"))
    return next((file for file in found if file.is_file()), None)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or of the reconstruction in a folder, as hex digits."""
    check_plain(path)
    with (file_in(path) or path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hashes(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files by their paths as they were given."""
    return {str(path): file_hash(path) for path in paths}
