"""Files and folders that appear whole or not at all, made under temporary names that no other process takes.

A temporary name is new for sure (``O_EXCL``), random, and says on which machine it was made. Its maker holds a lock
(``flock``) on it as long as it lives, also for processes in other containers of the machine. What no living process
holds is removed by the next one that writes under the same final name; what another machine made, where locks may not
be seen, only after a day.
"""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

from ptychopinn.errors import RunFailedError

PART: Final = ".part"
"""Ending of temporary names."""

LONGEST: Final = 200
"""Bytes of a name that its temporary names repeat; a file system allows 255 in all."""

DEEPEST: Final = 256
"""Folders in one another that are made: each one costs the program a call in a call."""

DAY: Final = 86400.0
"""Seconds without a change after which a temporary file of another machine counts as left behind."""


_PLAIN: Final = os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | _PLAIN


def make_folder(path: Path) -> None:
    """Make a folder and those that it lies in, where they are not there yet.

    Raises:
        OSError: when the file system refuses, or for more levels than any has.
    """
    if len(path.parts) > DEEPEST:
        raise OSError(errno.ENAMETOOLONG, f"more than {DEEPEST} folders in one another")
    path.mkdir(parents=True, exist_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path``; rename it to ``path`` when the block succeeds.

    The block writes into the file that is there. It must not put another one in its place.

    Raises:
        RunFailedError: when the file system refuses (full disk, read-only folder), or ``path`` is no plain file.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError("a folder, device or pipe has this name")
        make_folder(path.parent)
        with reserved(path) as (temporary, descriptor):
            yield temporary
            if not os.fstat(descriptor).st_size:
                raise OSError("nothing was written")
            if not names(temporary, descriptor):
                raise OSError("another program took its temporary file away")
            os.fsync(descriptor)
            os.replace(temporary, path)
    except OSError as error:
        raise RunFailedError(f"{path}: cannot be written: {error.strerror or error}.") from error


@contextmanager
def reserved(path: Path, folder: bool = False) -> Iterator[tuple[Path, int]]:
    """Make and lock a temporary file or folder beside ``path``; remove at the end what then has its name.

    Yields:
        Its path and its open descriptor.

    Raises:
        OSError: when it cannot be made.
    """
    remove_parts(path.parent, path.name)
    temporary, descriptor = _made(path, folder)
    try:
        yield temporary, descriptor
    finally:
        remove(temporary)
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder as far as possible."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def remove_parts(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left in a folder under temporary names, of any file or of one."""
    stem = ".*" if name is None else re.escape(_stem(name))
    own = re.compile(rf"\.{stem}\.([0-9a-f]{{8}})-[0-9a-f]{{16}}{re.escape(PART)}", re.DOTALL)
    with suppress(OSError), os.scandir(folder) as entries:
        found = [(Path(entry.path), match[1]) for entry in entries if (match := own.fullmatch(entry.name))]
        for part, machine in found:
            _remove_dead(part, machine)


def is_part(name: str) -> bool:
    """Whether a name is a temporary one, of this or an earlier version."""
    return name.startswith(".") and name.endswith(PART)


def locked(descriptor: int) -> bool:
    """Lock an open file or folder; False where another process holds it.

    A file system without locks counts as free: its temporary names are unique all the same.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def names(path: Path, descriptor: int) -> bool:
    """Whether a path still is the name of an open file or folder."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


def _made(path: Path, folder: bool) -> tuple[Path, int]:
    """A new temporary file or folder and its descriptor, locked."""
    while True:
        temporary = path.with_name(f".{_stem(path.name)}.{_machine()}-{secrets.token_hex(8)}{PART}")
        if folder:
            temporary.mkdir()
        try:
            descriptor = os.open(temporary, _FOLDER if folder else os.O_RDWR | os.O_CREAT | os.O_EXCL | _PLAIN, 0o666)
        except FileNotFoundError:
            if folder:
                continue
            raise
        # Until it is locked, another process may take it for left behind.
        if locked(descriptor) and names(temporary, descriptor):
            return temporary, descriptor
        os.close(descriptor)


def _remove_dead(part: Path, machine: str) -> None:
    """Remove a temporary file or folder unless its maker may live."""
    try:
        descriptor = os.open(part, _FOLDER if part.is_dir() else os.O_RDWR | os.O_NONBLOCK | _PLAIN)
    except OSError:
        return
    try:
        age = time.time() - os.fstat(descriptor).st_mtime
        if locked(descriptor) and (machine == _machine() or age > DAY):
            remove(part)
    finally:
        os.close(descriptor)


def _stem(name: str) -> str:
    """A name as its temporary names repeat it."""
    raw = os.fsencode(name)
    return name if len(raw) <= LONGEST else os.fsdecode(raw[: LONGEST - 16]) + hashlib.sha256(raw).hexdigest()[:16]


@cache
def _machine() -> str:
    """Eight hexadecimal digits for the running machine, the same in its containers."""
    try:
        seed = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        seed = str(uuid.getnode())
    return hashlib.sha256(seed.encode()).hexdigest()[:8]
