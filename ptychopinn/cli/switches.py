"""Flags that take no value, and what is said where one is given."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any


def flags_of(ctx: Any) -> dict[str, bool]:
    """The flags of the command of a call, and whether each takes a value."""
    return {
        flag: not option.is_flag and not option.count
        for option in ctx.command.get_params(ctx)
        if option.param_type_name == "option"
        for flag in (*option.opts, *option.secondary_opts)
    }


def switch_with_value(known: Mapping[str, bool], args: Sequence[str]) -> str | None:
    """A sentence where a switch is followed by true or false, as other programs write it."""
    for flag, value in pairwise(args):
        if known.get(flag) is False and value.lower() in ("true", "false", "0", "1", "yes", "no"):
            other = f"--no-{flag.removeprefix('--')}"
            off = f", or {other}" if other in known else ""
            return f"{flag}: is a switch and takes no value, {value} given; type {flag}{off}."
    return None
