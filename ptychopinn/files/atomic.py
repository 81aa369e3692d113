"""Files appear under their final name whole, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ptychopinn.errors import RunFailedError


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
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
