"""``ptychopinn config``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ptychopinn.cli import applicable, options
from ptychopinn.config import Settings, read_settings
from ptychopinn.errors import PtychoError
from ptychopinn.files.output_folder import write_json

app = options.new_app()


@app.callback(epilog="Example: ptychopinn config init settings.json")
def config() -> None:
    """Write, check and describe JSON files of settings."""


@app.command(epilog="Example: ptychopinn config init settings.json")
def init(file: Annotated[Path, typer.Argument(help="JSON file to write; must be new")]) -> None:
    """Write every setting with its default."""
    if file.exists():
        raise PtychoError(f"{file}: exists already; give another name.")
    write_json(file, Settings().flat())
    typer.echo(f"Settings: {file}")


@app.command(epilog="Example: ptychopinn config validate settings.json")
def validate(file: Annotated[Path, typer.Argument(help="JSON file of settings")]) -> None:
    """Check a file of settings, as every --config does."""
    typer.echo(f"{file}: {len(read_settings(file))} settings, all valid.")


@app.command(epilog="Example: ptychopinn config schema")
def schema() -> None:
    """Print the JSON schema: names, types, limits, descriptions, and the flag of each command that sets it."""
    described = Settings.schema_of_all()
    for name, about in described["properties"].items():
        about["flags"] = applicable.how_to_give(name)
    typer.echo(json.dumps(described, indent=1))
