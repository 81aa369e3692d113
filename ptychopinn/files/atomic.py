"""Files and folders appear under their final name whole, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptychopinn.errors import PtychoError, RunFailedError


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` and rename it to ``path`` when the block ends well.

    Raises:
        RunFailedError: when the file system refuses (full disk, read-only folder).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise RunFailedError(f"{path}: cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder that becomes ``path`` when the block ends well.

    Args:
        path: final name; must be new or empty, unless ``overwrite``.
        overwrite: replace what is there, but only once the new content is whole.

    Raises:
        PtychoError: when ``path`` is in use and ``overwrite`` is not given.
    """
    refuse_existing(path, overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as error:
        raise RunFailedError(f"{path}: cannot be written: {error.strerror}.") from error
    try:
        temporary.chmod(0o755)
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(path: Path, overwrite: bool = False) -> None:
    """Complain when ``path`` is a file, or a folder with something in it, unless ``overwrite``."""
    if path.is_dir() and (overwrite or not any(path.iterdir())):
        return
    if path.exists() and not (overwrite and path.is_file()):
        raise PtychoError(f"{path}: exists already; give another --out, or --overwrite to replace it.")
