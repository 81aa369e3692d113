"""What a user sees: plain lines, or on a terminal a progress bar and tables."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

import typer

from ptychopinn.errors import WARNING
from ptychopinn.files.output_folder import leads
from ptychopinn.text import LIVE, Report, counted


def has_bar(quiet: bool) -> bool:
    """Whether a progress bar makes sense: on a terminal, and drawn by one process only."""
    return not quiet and sys.stdout.isatty() and leads()


@contextmanager
def reporting(quiet: bool, working: str = "") -> Iterator[Report]:
    """Print lines of progress while the block runs; when quiet warnings, on standard error, and where a live page is.

    Args:
        quiet: print no progress.
        working: what the block does, shown beside a progress bar on a terminal; no bar when empty.

    Yields:
        A function that prints a line at once.
    """

    def speak(line: str) -> None:
        if not quiet or line.startswith(LIVE):
            typer.echo(line)
        elif line.startswith(WARNING):
            typer.echo(line, err=True)

    if not working or not has_bar(quiet):
        yield speak
        return

    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True, redirect_stdout=False, redirect_stderr=False) as progress:
        task = progress.add_task(working, total=None)

        def advance(line: str) -> None:
            progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
            if found := counted(line):
                progress.update(task, completed=found[0], total=found[1])

        yield advance


def show(text: str, columns: int = 0) -> None:
    """Print text; on a terminal its tables, in Markdown or with two spaces between columns, are drawn.

    Args:
        text: lines.
        columns: of its tables, where a cell may hold two spaces too; such a table has no header.
    """
    if not sys.stdout.isatty():
        typer.echo(text)
        return

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    def cells(line: str) -> list[str]:
        aligned = re.split(r" {2,}", line, maxsplit=max(0, columns - 1))
        found = line.strip()[1:-1].split("|") if line.startswith("|") else aligned
        return [cell.strip() for cell in found]

    console = Console()
    for count, group in groupby((cells(line) for line in text.splitlines()), len):
        rows = [row for row in group if not all(cell and not cell.strip("-") for cell in row)]
        if count == 1:
            typer.echo("\n".join(row[0] for row in rows))
            continue
        table = Table(*(() if columns else map(escape, rows.pop(0))), show_header=not columns)
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
