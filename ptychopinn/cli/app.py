"""``ptychopinn``: finds commands by name and turns errors into one line and an exit code."""

import difflib
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from ptychopinn.cli.options import CONTEXT
from ptychopinn.errors import PtychoError
from ptychopinn.files.output_folder import leads

COMMANDS = (
    *("simulate", "train", "infer", "refine", "overlap", "baseline", "compare", "study"),
    *("inspect", "convert", "subset", "export", "config", "demo"),
)

# Typer exports only this child of the class that means "wrong call"; where it lives depends on its version.
WrongCall: Any = typer.BadParameter.__mro__[1]


def _one_line(text: str) -> str:
    """Text as one printable line, whatever file names or keys it quotes."""
    shown = (char if char.isprintable() else char.encode("unicode_escape").decode() for char in " ".join(text.split()))
    return "".join(shown)


def _check_empty(args: list[str]) -> None:
    """Refuse empty arguments: as a path, an empty text means the current folder."""
    for before, text in zip(args, args[1:], strict=False):
        flag, sign, value = text.partition("=")
        if text and not (flag.startswith("--") and sign and not value):
            continue
        after = flag or before
        where = f"{after}: an empty text is given" if after.startswith("-") else f"an empty text is given after {after}"
        raise PtychoError(f"{where}; a name or a value is needed (is a variable of the shell empty?).")


class _Commands(TyperGroup):
    """Imports the module of a command on first use."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not args[0].startswith("-") and args[0] not in COMMANDS:
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Commands: {', '.join(COMMANDS)}."
            raise PtychoError(f"{args[0]}: no such command. {hint}")
        _check_empty(args)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"ptychopinn.cli.commands.{cmd_name}")
        command = get_command(getattr(module, "app", None) or getattr(module, cmd_name))
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (PtychoError, WrongCall) as error:
            if ctx.params.get("debug"):
                raise
            text = str(error) if isinstance(error, PtychoError) else error.format_message()
            if leads():
                typer.echo(f"ptychopinn: {_one_line(text)}", err=True)
            raise typer.Exit(error.exit_code) from None


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ptychopinn {version('ptychopinn')}")
        raise typer.Exit


@app.callback(epilog="Example: ptychopinn demo --out demo")
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn ptychography scans into images: simulate, train, infer, refine, compare."""


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="ptychopinn")


if __name__ == "__main__":
    main()
