"""Text from templates: the one set-up of Jinja, and the style that all pages share."""

from pathlib import Path
from typing import Any, Final

import jinja2

from ptychopinn.files.atomic import writing

SHARED: Final = "ptychopinn.figures.page"
"""Where ``style.css`` is, which every page includes."""


def write_from(path: Path, package: str, template: str = "", *, autoescape: bool = True, **values: Any) -> Path:
    """Write a file from a template, whole or not at all.

    Args:
        path: of the file.
        package: that holds the template.
        template: its name; ``<name of the file>.j2`` when empty.
        autoescape: quote values for HTML.
        **values: all that the template names; a missing one is an error.

    Returns:
        The path.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, ".") for name in dict.fromkeys((package, SHARED))]),
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template(template or f"{path.name}.j2").render(values)
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
