"""What a user sees while a command works."""

import sys

import typer

from ptychopinn.errors import WARNING
from ptychopinn.text import Report


def speaker(quiet: bool) -> Report:
    """A function that prints a line at once; when quiet only a warning, on standard error."""

    def speak(line: str) -> None:
        if not quiet:
            typer.echo(line)
        elif line.startswith(WARNING):
            typer.echo(line, err=True)

    return speak


def shows_bar(quiet: bool) -> bool:
    """Whether a progress bar makes sense."""
    return not quiet and sys.stdout.isatty()
