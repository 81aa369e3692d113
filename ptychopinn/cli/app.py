"""``ptychopinn``: finds commands by name and turns errors into one line and an exit code."""

import difflib
import errno
import re
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from ptychopinn.cli.options import ARGS, CONTEXT
from ptychopinn.cli.streams import keep_streams
from ptychopinn.cli.switches import flags_of, switch_with_value
from ptychopinn.errors import PtychoError, RunFailedError
from ptychopinn.files.output_folder import leads
from ptychopinn.memory import in_gib, keep_freed, memory

COMMANDS = (
    *("simulate", "train", "pretrain", "infer", "reconstruct", "refine", "overlap", "baseline", "compare", "study"),
    *("view", "inspect", "probe", "convert", "subset", "export", "config", "demo", "doctor"),
)

FITTING = ("reconstruct", "probe")
"""Commands whose files lie in ``commands/fitting/``."""

ELSEWHERE: Final = {"pretrain": "train"}
"""Commands that stand in the module of another one."""

PRINTING: Final = ("inspect", "config", "doctor", "--help", "-h", "--version")
"""Calls whose work is what they print."""

OF_A_NAME: Final = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EACCES)
"""Errors of the system that another name in the call would avoid."""

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


def _wrong_call(error: Any, args: list[str]) -> str:
    """What is wrong with a call, and what to type instead where a flag is not known."""
    if getattr(error, "ctx", None) is None:
        return str(error.format_message())
    from ptychopinn.cli import unknown_flags

    known = flags_of(error.ctx)
    if (flag := getattr(error, "option_name", None)) is not None and hasattr(error, "possibilities"):
        path = " ".join(error.ctx.command_path.split()[1:])
        return unknown_flags.in_place_of(error.ctx.info_name, path, known, args, flag)
    return switch_with_value(known, args) or str(error.format_message())


def _is_of_memory(error: Exception) -> bool:
    """Whether there was no memory, which PyTorch says by a RuntimeError, and the loader of libraries in its own way."""
    signs = ("allocate memory", "failed to map segment")
    return (
        isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or any(x in str(error) for x in signs)
    )


def _out_of_memory(error: Exception, args: list[str]) -> str:
    """What needed more memory than there is, of which how much is there, and what needs less."""
    told = re.search(r"(you tried to|[Tt]ried to|Unable to) allocate [^.;]*(\.\d+ \w+)?", str(error))
    what = f" ({told[0]})" if told else ""
    return (
        f"{' '.join(args[:2])}: out of memory{what}; {in_gib(memory())} are there. Fewer frames (--n-subsample), a "
        "smaller --crop or another machine may do."
    )


def _as_ours(error: Exception, args: list[str]) -> PtychoError | None:
    """An error of the system in our words; None for one that is a fault of the program."""
    if isinstance(error, PtychoError) or getattr(error, "exit_code", None) is not None:
        return error if isinstance(error, PtychoError) else None
    if isinstance(error, OSError):
        text = f"{error.filename or 'the system'}: {error.strerror or error}."
        return PtychoError(text) if error.filename and error.errno in OF_A_NAME else RunFailedError(text)
    if _is_of_memory(error):
        return RunFailedError(_out_of_memory(error, args))
    return None


class _Commands(TyperGroup):
    """Imports the module of a command on first use."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except WrongCall as error:
            if (flag := getattr(error, "option_name", None)) is None:
                raise
            text = f"ptychopinn: {flag}: no flag here; flags stand after the command: ptychopinn COMMAND {flag}."
            typer.echo(_one_line(text), err=True)
            raise typer.Exit(error.exit_code) from None

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not args[0].startswith("-") and args[0] not in COMMANDS:
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Commands: {', '.join(COMMANDS)}."
            raise PtychoError(f"{args[0]}: no such command. {hint}")
        _check_empty(args)
        ctx.meta[ARGS] = list(args)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        room = "fitting." if cmd_name in FITTING else ""
        module = import_module(f"ptychopinn.cli.commands.{room}{ELSEWHERE.get(cmd_name, cmd_name)}")
        command = get_command(getattr(module, "app", None) or getattr(module, cmd_name))
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (PtychoError, WrongCall, OSError, MemoryError, RuntimeError, ImportError) as error:
            args = ctx.meta.get(ARGS, [])
            said = error if isinstance(error, WrongCall) else _as_ours(error, args)
            if ctx.params.get("debug") or said is None:
                raise
            text = str(said) if isinstance(said, PtychoError) else _wrong_call(said, args)
            if leads():
                typer.echo(f"ptychopinn: {_one_line(text)}", err=True)
            raise typer.Exit(said.exit_code) from None


app = typer.Typer(
    cls=_Commands,
    add_completion=True,
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
    output = keep_streams()
    keep_freed()
    try:
        app(prog_name="ptychopinn")
    except SystemExit as stop:
        sys.stdout.flush()
        if stop.code or output.error is None or not set(PRINTING) & set(sys.argv[1:2]):
            raise
        reason = output.error.strerror or output.error
        typer.echo(f"ptychopinn: standard output: cannot be written: {reason}; lines are missing.", err=True)
        raise SystemExit(RunFailedError.exit_code) from None


if __name__ == "__main__":
    main()
