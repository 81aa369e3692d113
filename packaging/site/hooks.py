"""What the site needs beyond Markdown: equations as MathML, and no links to files outside ``docs/``."""

import re
from typing import Any

from latex2mathml.converter import convert

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:[A-Z]+\.md|benchmarks|ptychopinn|tests|pyproject)[^)]*\)")
"""Links that work in the repository and not in the site."""

CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
SCROLLS = re.compile(r'(<pre(?=[^>]*>(?:<span></span>)?<code)|<div class="highlight-ipynb[^"]*"|<div class="scrolls")')
"""What scrolls when it is wider than the page; the style of the site says so, because the theme forgets keys."""

TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)

EQUATION = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Equations between ``$`` or ``$$`` as MathML, which browsers draw themselves; code stays as it is."""
    parts = CODE.split(OUTSIDE.sub(r"\1", markdown))
    return "".join(part if index % 2 else EQUATION.sub(_mathml, part) for index, part in enumerate(parts))


def on_post_page(output: str, **_: Any) -> str:
    """Code and tables that are wider than the page can be scrolled with keys, too."""
    return SCROLLS.sub(r'\1 tabindex="0"', TABLE.sub(r'<div class="scrolls">\g<0></div>', on_post_template(output)))


def on_post_template(output: str, **_: Any) -> str:
    """The search of the theme has a name."""
    return output.replace('id="__search"', 'id="__search" aria-label="Search"').replace(
        'role="dialog">', 'role="dialog" aria-label="Search">'
    )


def _mathml(found: re.Match[str]) -> str:
    block, inline = found.groups()
    # Within a span: Markdown would take a line that begins with an unknown tag for a paragraph of its own.
    if block:
        return f'<div class="scrolls">{convert(block.strip(), display="block")}</div>'
    return f"<span>{convert(inline)}</span>"
