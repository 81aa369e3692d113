"""The options of a command: its own, those of its settings, and what all commands share."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from ptychopinn.cli import applicable, older_names, screen
from ptychopinn.cli.help import GroupedCommand
from ptychopinn.cli.switches import flags_of, switch_with_value
from ptychopinn.commands.shared.request import Request
from ptychopinn.config import Settings, read_assignments, resolve
from ptychopinn.errors import PtychoError
from ptychopinn.files.output_folder import leads
from ptychopinn.text import Report

ARGS: Final = "ptychopinn.args"
"""Where a call keeps its arguments, for what is said of a wrong one."""

CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Help as wide as the terminal up to this width, so that an option takes one line."""

Scan = Annotated[Path, typer.Argument(help="scan file")]
Run = Annotated[Path, typer.Argument(help="folder that 'train' wrote, or its wts.h5.zip")]
Init = Annotated[Path | None, typer.Option("--init", help="image to start from (its image alone)")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print warnings and the last line only")]
Assigned = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="any other setting of 'config schema'")
]
Config = Annotated[Path | None, typer.Option("--config", help="JSON file of settings; flags win over it")]


def out_option(text: str) -> Any:
    """The option ``--out`` with its help."""
    return typer.Option("--out", "-o", help=text)


SERVE: Final = "offer live.html at 127.0.0.1:PORT, any free one without PORT; ADDRESS:PORT puts a token in the address"
Serve = Annotated[str | None, typer.Option("--serve", metavar="[PORT]", help=SERVE)]
"""Offers the live page; what it needs as a value may be left out, see :class:`ptychopinn.cli.help.GroupedCommand`."""

OUT: Final = out_option("folder for the results; must be new or empty")
OVERWRITE: Final = "replace what this command wrote to --out before"


def new_app() -> typer.Typer:
    """A Typer application in plain text."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=CONTEXT)


def command(
    example: str, out: Any = OUT, overwrite: str = OVERWRITE, quiet: bool = True, working: str = "", live: bool = False
) -> Callable[[Callable[..., str | None]], typer.Typer]:
    """Make a function the command of its name; it takes its own arguments and ``request``.

    ``request`` holds all other options; settings have the flags of :data:`applicable.FLAGS`. The text that the function
    returns is printed last.

    Args:
        example: a call, for the end of the help.
        out: the argument or option ``out``.
        overwrite: help of ``--overwrite``.
        quiet: offer ``--quiet``.
        working: what the command does, beside a progress bar; no bar when empty.
        live: offer ``--serve``.
    """

    def application(body: Callable[..., str | None]) -> typer.Typer:
        own = dict(inspect.signature(body).parameters)
        del own["request"]

        def run(ctx: typer.Context, **values: Any) -> None:
            with screen.reporting(values.get("quiet", False), working) as report:
                last_line = body(request=_request(ctx, report), **{name: values[name] for name in own})
            if last_line and leads():
                typer.echo(last_line)

        shown = [_parameter("ctx", typer.Context), *own.values()]
        if "out" not in own:
            shown.append(_parameter("out", Annotated[Path, out]))
        shown += _settings(body.__name__)
        shown += [_parameter("assigned", Assigned, None), _parameter("config", Config, None)]
        shown.append(_parameter("overwrite", Annotated[bool, typer.Option("--overwrite", help=overwrite)], False))
        if live:
            shown.append(_parameter("serve", Serve, None))
        if quiet:
            shown.append(_parameter("quiet", Quiet, False))
        app = new_app()
        app.command(cls=GroupedCommand, epilog=f"Example: ptychopinn {example}")(presented(run, body, shown))
        return app

    return application


def presented(run: Callable[..., None], body: Callable[..., Any], shown: Iterable[inspect.Parameter]) -> Any:
    """``run`` with the name and help of ``body``, and with the parameters that Typer is to show."""
    run.__name__, run.__doc__ = body.__name__, body.__doc__
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in shown]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def fields() -> dict[str, FieldInfo]:
    """Every setting by name."""
    return {name: info for _, section in Settings() for name, info in type(section).model_fields.items()}


def describe(name: str) -> str:
    """Help text of a setting: its meaning, choices and default."""
    info = fields()[name]
    text, _, derived = str(info.description).partition("; None: ")
    default = derived if info.default is None else info.default
    kind = _kind(info)
    listed = f" [{'|'.join(map(str, get_args(kind)))}]" if get_origin(kind) is Literal else ""
    return f"{text}{listed}" + ("" if default is False or default in ("", "all") else f" [default: {default}]")


def type_of(name: str) -> type:
    """Type of the flag of a setting: ``int``, ``float``, ``bool`` or ``str``."""
    kind = _kind(fields()[name])
    return type(get_args(kind)[0]) if get_origin(kind) is Literal else kind


def _kind(info: FieldInfo) -> Any:
    """The type of a setting without its None."""
    kind = info.annotation
    return kind if get_origin(kind) is Literal else next(iter(get_args(kind)), kind)


def _settings(command: str) -> Iterator[inspect.Parameter]:
    """The options of the settings of a command; None means not given."""
    for name in applicable.FLAGS[command].split():
        key = f"{command} {name}"
        flags = applicable.SPELLINGS.get(key, applicable.SPELLINGS.get(name, "")).split()
        option = typer.Option(*flags, help=applicable.MEANINGS.get(key) or describe(name), show_default=False)
        yield _parameter(name, Annotated[type_of(name) | None, option], None)


def _request(ctx: typer.Context, report: Report) -> Request:
    """The request of a call; its settings are resolved and checked here, once."""
    name, values = str(ctx.info_name), ctx.params
    # A command that takes several files would take the value for one.
    if said := switch_with_value(flags_of(ctx), ctx.meta.get(ARGS, [])):
        raise PtychoError(said)
    options = {str(option.name): option.opts[0] for option in ctx.command.params}
    flags = {key: values[key] for key in applicable.FLAGS[name].split() if values[key] is not None}
    assigned = read_assignments(values["assigned"] or ())
    if both := sorted(flags.keys() & assigned):
        raise PtychoError(f"--set {both[0]}: given as a flag too.")
    for key in assigned.keys() - fields().keys():
        if meant := older_names.RENAMED.get(older_names.plain(key)):
            raise PtychoError(f"--set {key}: not a setting. Did you mean '{meant}'?")
    Settings.of(assigned, "--set")
    applicable.check_assigned(name, assigned)
    renamed = {key: flag for key, flag in options.items() if flag.lstrip("-").replace("-", "_") != key}
    settings, sources = resolve(flags | assigned, values["config"], renamed)
    written = {key: options[key] for key in flags} | {key: f"--set {key}" for key in assigned}
    applicable.check_needs(name, settings, written)
    return Request(
        settings,
        sources,
        written,
        config=values["config"],
        out=values["out"] or Path(),
        overwrite=values["overwrite"],
        report=report,
        progress_bar=screen.has_bar(values.get("quiet", False)),
        serve=values.get("serve"),
    )
