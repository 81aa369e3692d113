"""Output folders that are held: new results are made whole beside the older ones and exchanged for them.

Older results stay until new ones are there, whatever ends the command: a full disk, an error, a signal. What was
computed and cannot be put in its place is kept elsewhere, and the error says where.
"""

import ctypes
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn

from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.atomic import locked, make_folder, names, remove, remove_parts, reserved
from ptychopinn.files.output_folder import LOCK, PROVENANCE, check_folder, is_finished, is_vacant

Write = Callable[[Path], object]

RENAME_EXCHANGE: Final = 2
AT_FDCWD: Final = -100


class Place:
    """An output folder of one command.

    Args:
        folder: it exists.
        command: that writes.
        overwrite: replace what it wrote there before.
        begun: write beside what is there.
        own: name of a file that the command writes there at once, and that stays.
    """

    def __init__(
        self, folder: Path, command: str, overwrite: bool = False, begun: bool = True, own: str | None = None
    ) -> None:
        self.folder, self._path = folder, Path(os.path.abspath(folder))
        self._command, self._overwrite, self._begun, self._own = command, overwrite, begun, own
        self.waits = False
        """Whether older results are there, and new ones not ready yet."""
        self._pending: dict[str, Write] = {}
        self._after: list[Callable[[], None]] = []
        self._locks: list[int] = []

    def put(self, name: str, write: Write, ready: bool = False) -> None:
        """Write a file, or where older results are there, have it written when the first one is ``ready``.

        Args:
            name: in the folder.
            write: writes the file of the path that it gets.
            ready: whether it is worth more than the older results.
        """
        if not self.waits:
            self._begun = True
            write(self.folder / name)
            return
        self._pending[name] = write
        if ready:
            with self.staging() as folder:
                for each, make in self._pending.items():
                    make(folder / each)
            self._pending.clear()

    def when_begun(self, act: Callable[[], None]) -> None:
        """Call ``act`` when older results are gone."""
        self._after.append(act)

    def publish(self, write: Write, finished: bool = True) -> Path:
        """Have a result written, and put it in place of the older ones as a whole.

        Args:
            write: writes all of it into the folder that it gets; is called again for another one when this fails.
            finished: whether it may take the place of an older one that is.

        Returns:
            Where it is: the folder, or ``FOLDER-unfinished`` beside it.

        Raises:
            RunFailedError: when it cannot be put there; it says where the result is.
        """
        if not finished and is_finished(self.folder):
            given = self._path if self.folder.name in ("", "..") else self.folder
            beside = given.with_name(f"{given.name}-unfinished")
            try:
                with holding(beside, self._command, overwrite=True) as place:
                    return place.publish(write)
            except PtychoError as error:
                self.keep_elsewhere(write, error)
        try:
            with self.staging() as folder:
                write(folder)
        except (PtychoError, OSError) as error:
            self.keep_elsewhere(write, error)
        return self.folder

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield an empty folder; its content takes the place of the older results when the block succeeds.

        Beside what this command has written already, it takes the place of files of the same names only.

        Raises:
            PtychoError: when somebody has put something else there.
            RunFailedError: when the file system refuses.
        """
        try:
            path = self._there()
            apart = _is_apart(path)
            with reserved(path if apart else path / "results", folder=True) as (folder, descriptor):
                try:
                    yield folder
                except PtychoError as error:  # of a file that is to be in the folder
                    raise type(error)(str(error).replace(str(folder), str(self.folder))) from error
                if not self._begun:
                    check_folder(self._there(), self._command, self._overwrite, self._own)
                self._move(folder, path, apart)
                with suppress(OSError):
                    os.fsync(descriptor)
        except OSError as error:
            raise RunFailedError(f"{self.folder}: cannot be written: {error.strerror or error}.") from error
        self._begun, self.waits = True, False
        for act in self._after:
            act()

    def keep_elsewhere(self, write: Write, error: Exception) -> NoReturn:
        """Have a finished result written where there is room, and say so.

        Raises:
            RunFailedError: always; it begins with ``error``.
        """
        begin = f"{str(error).rstrip('.')}; what was there is intact"
        for parent in _shelters():
            with suppress(OSError):
                parent.mkdir(parents=True, exist_ok=True)
                place = Path(tempfile.mkdtemp(prefix=f"ptychopinn-{self._command}-", dir=parent))
                try:
                    write(place)
                except (PtychoError, OSError):
                    remove(place)
                    continue
                raise RunFailedError(f"{begin}, and the new result is in {place}.") from error
        raise RunFailedError(f"{begin}; no other folder took the new result, and it is lost.") from error

    def _there(self) -> Path:
        """The folder without symbolic links; made again where somebody removed it."""
        with suppress(FileExistsError):
            self._path.mkdir()
        return self._path.resolve()

    def _move(self, new: Path, path: Path, apart: bool) -> None:
        if apart and not self._begun:
            os.chmod(new, path.stat().st_mode & 0o7777)
            self._hold(new)
            if self._own is not None and (path / self._own).is_file():
                os.link(path / self._own, new / self._own, follow_symlinks=False)
            if _exchanged(new, path):
                return
            (new / LOCK).unlink()
        made = {entry.name for entry in new.iterdir()}
        for name in sorted(made, key=lambda name: name == PROVENANCE):
            if (path / name).is_dir():
                remove(path / name)
            (new / name).rename(path / name)
        for entry in () if self._begun else list(path.iterdir()):
            if entry.name not in made | {LOCK, new.name, self._own}:
                remove(entry)

    def _hold(self, folder: Path) -> None:
        """Lock a folder.

        Raises:
            PtychoError: when another process holds it.
        """
        while True:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            if not locked(descriptor):
                os.close(descriptor)
                raise PtychoError(f"{self.folder}: another process writes here; wait, or give another --out.")
            if names(folder / LOCK, descriptor):
                self._locks.append(descriptor)
                return
            os.close(descriptor)  # its holder removed it just now

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder during the block; the lock ends with the process."""
        self._hold(self._path)
        remove_parts(self._path)
        remove_parts(self._path.resolve().parent, self._path.resolve().name)
        self.waits = not self._begun and not is_vacant(self._path)
        try:
            yield
        finally:
            with suppress(OSError):
                (self._path / LOCK).unlink(missing_ok=True)
            for descriptor in self._locks:
                os.close(descriptor)


@contextmanager
def holding(
    folder: Path, command: str, overwrite: bool = False, keep: bool = False, own: str | None = None
) -> Iterator[Place]:
    """Make an output folder and hold it while the block computes what goes into it.

    A new folder that stays empty because the block failed is removed.

    Args:
        folder: new or empty, or of ours with ``overwrite`` or ``keep``.
        command: name of the command; it replaces only its own results.
        overwrite: replace what is there.
        keep: write beside older files.
        own: name of a file that the command writes there at once, and that stays.

    Raises:
        PtychoError: when the folder may not be replaced, or another process writes into it.
        RunFailedError: when the file system refuses.
    """
    if not keep:
        check_folder(folder, command, overwrite)
    path = Path(os.path.abspath(folder))
    made = [place for place in (path, *path.parents) if not place.exists()]
    failed = True
    try:
        with ExitStack() as stack:
            try:
                make_folder(folder)
                place = Place(folder, command, overwrite, keep, own)
                stack.enter_context(place.held())
            except OSError as error:
                raise RunFailedError(f"{folder}: cannot be made: {error.strerror or error}.") from None
            if not keep:
                check_folder(folder, command, overwrite)
            yield place
            failed = False
    finally:
        for place_made in made if failed else ():
            with suppress(OSError):
                place_made.rmdir()  # does so with an empty folder only


@contextmanager
def set_aside(folder: Path, whole: bool) -> Iterator[Callable[[], None]]:
    """Have the block make a folder anew while an older one waits beside it; yields what accepts the new one.

    An older folder comes back when the block does not accept, also in a later call where this one was killed.

    Args:
        folder: may exist.
        whole: whether it holds a result that is worth keeping.
    """
    older, gone = (folder.with_name(f".{folder.name}.{name}") for name in ("older", "gone"))
    remove(gone)
    if older.exists():
        remove(folder)
    elif whole and folder.exists():
        folder.rename(older)
    remove(folder)

    def accept() -> None:
        if older.exists():
            older.rename(gone)  # at once: half of an older result must never come back
            remove(gone)

    try:
        yield accept
    finally:
        if older.exists():
            remove(folder)
            older.rename(folder)


def _is_apart(path: Path) -> bool:
    """Whether a folder can be exchanged for one beside it: no mount, no folder that one stands in."""
    with suppress(OSError):
        if Path.cwd().is_relative_to(path):
            return False
    return not os.path.ismount(path) and os.access(path.parent, os.W_OK | os.X_OK)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two folders at once; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    return bool(rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _shelters() -> Iterator[Path]:
    """Folders in which a result that cannot be put in its place is kept."""
    with suppress(OSError):
        yield Path(tempfile.gettempdir())
    with suppress(RuntimeError):
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ptychopinn"
    yield Path("/var/tmp")
    yield Path("/dev/shm")
