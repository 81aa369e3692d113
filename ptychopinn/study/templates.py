"""Files made from the templates beside this one."""

from pathlib import Path
from typing import Any

import jinja2

from ptychopinn.files.atomic import writing


def render(path: Path, autoescape: bool, **values: Any) -> Path:
    """Write a file from the template ``<its name>.j2``, whole or not at all; returns its path."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ptychopinn.study", "."),
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template(f"{path.name}.j2").render(values)
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
