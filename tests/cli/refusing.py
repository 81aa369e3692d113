"""A small scan, and what it means that a command refuses its input."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from ptychopinn.cli.app import app
from ptychopinn.physics.probe import curved_disc

COUNT, SIZE = 9, 16
Words = tuple[str, ...]


def scan_arrays() -> dict[str, np.ndarray]:
    """A valid scan."""
    y, x = np.divmod(np.arange(COUNT), 3)
    return {
        "diffraction": np.random.default_rng(0).poisson(50.0, (COUNT, SIZE, SIZE)).astype(np.uint16),
        "xcoords": 20.0 + 3 * x,
        "ycoords": 20.0 + 3 * y,
        "probeGuess": 100 * curved_disc(SIZE, 4.0, 1.0)[0].numpy(),
    }


def write_scan(path: Path, **changes: Any) -> None:
    """A valid scan with some arrays changed, or left out where None is given."""
    arrays = {**scan_arrays(), **changes}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, by path."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def call(folder: Path, command: str) -> Any:
    """Run a command, a line as a user types it, in a folder."""
    with contextlib.chdir(folder):
        return CliRunner().invoke(app, command.split())


def assert_one_line(done: Any) -> None:
    """A call ended with exit code 2 and one line on the terminal that a person can read."""
    assert isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code == 2, done.output
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("ptychopinn: ")
    assert done.stderr.rstrip("\n").isprintable(), repr(done.stderr)
    assert "Traceback" not in done.output
    assert "Errno" not in done.stderr
    assert len(done.stderr) < 500, done.stderr


def assert_refused(folder: Path, command: str, words: Words) -> None:
    """The command says one line that holds the words, and changes no file."""
    before = contents(folder)
    done = call(folder, command)
    assert_one_line(done)
    for word in words:
        assert word in done.stderr
    assert contents(folder) == before
