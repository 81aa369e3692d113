"""What the commands share: options made from the settings, and one way to speak."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ptychopinn.cli import applicable
from ptychopinn.config import Settings, describe, read_assignments, resolve
from ptychopinn.errors import WARNING, PtychoError

CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""A help text as wide as the terminal up to this, so that an option has one line."""


def setting(name: str, *flags: str) -> Any:
    """The option of a setting: helped by its description; ``None`` means not given."""
    return typer.Option(*flags, help=describe(name), show_default=False)


Out = Annotated[Path, typer.Option("--out", "-o", help="folder for the results; must be new or empty")]
Config = Annotated[Path | None, typer.Option("--config", help="JSON file of settings; flags win over it")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what this command wrote to --out before")]
Crop = Annotated[int | None, setting("crop")]
FlipX = Annotated[bool | None, setting("flip_x")]
FlipY = Annotated[bool | None, setting("flip_y")]
SwapXY = Annotated[bool | None, setting("swap_xy")]
Every = Annotated[int | None, setting("every")]
Measurement = Annotated[str | None, setting("measurement")]
Photons = Annotated[float | None, setting("nphotons")]
ScanIndex = Annotated[int | None, setting("scan_index")]
Format = Annotated[str | None, setting("format")]
Map = Annotated[str | None, setting("map")]
FramesFile = Annotated[str | None, setting("frames")]
ProbeFile = Annotated[str | None, setting("probe")]
Mask = Annotated[str | None, setting("mask")]
DropFrames = Annotated[str | None, setting("drop_frames")]
PixelSize = Annotated[float | None, setting("pixel_size")]
Subsample = Annotated[int | None, setting("n_subsample")]
Accelerator = Annotated[str | None, setting("accelerator")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="any other setting of 'config schema'")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print warnings and the last line only")]


def given(ctx: typer.Context) -> dict[str, Any]:
    """Settings that were given as flags or by ``--set``, by name."""
    names = Settings().flat()
    flags = {name: value for name, value in ctx.params.items() if name in names and value is not None}
    assigned = read_assignments(ctx.params.get("assigned") or ())
    if both := sorted(flags.keys() & assigned):
        raise PtychoError(f"--set {both[0]}: given as a flag too.")
    Settings.of(assigned, "--set")
    applicable.check_assigned(str(ctx.info_name), assigned)
    return flags | assigned


def written(ctx: typer.Context) -> dict[str, str]:
    """How the user wrote the settings that were given as flags or by ``--set``, by name."""
    return applicable.written(ctx, given(ctx))


def resolved(ctx: typer.Context) -> tuple[Settings, dict[str, str]]:
    """Settings of a command from its flags and its ``--config``, and where each came from."""
    called = {str(option.name): option.opts[0] for option in ctx.command.params if _renames(option)}
    settings, sources = resolve(given(ctx), ctx.params.get("config"), called)
    applicable.check_needs(str(ctx.info_name), settings, written(ctx))
    return settings, sources


def _renames(option: Any) -> bool:
    """Whether a flag has another name than its setting."""
    return option.opts[0].lstrip("-").replace("-", "_") != option.name


def speaker(quiet: bool) -> Callable[[str], None]:
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


def new_app() -> typer.Typer:
    """A Typer application for one command, in plain text."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=CONTEXT)
