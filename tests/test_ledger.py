"""``docs/ledger.md``: every command line in it is understood, and its flags are those of the command."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from ptychopinn.cli.app import app
from ptychopinn.cli.applicable import FLAGS, USED, check_assigned
from ptychopinn.config import Settings, read_assignments
from ptychopinn.study.commands import Asked, plan

LEDGER = Path(__file__).parents[1] / "docs" / "ledger.md"
TEXT = LEDGER.read_text(encoding="utf-8")
SPAN = re.compile(r"`([^`]+)`")


def command_lines() -> list[str]:
    """Every ``ptychopinn ...`` in the ledger that is a whole call."""
    found = dict.fromkeys(span for span in SPAN.findall(TEXT) if span.startswith("ptychopinn "))
    return [line for line in found if len(line.split()) > 2 and line != "ptychopinn study run"]


def flags_by_command(cell: int = -1) -> Iterator[tuple[str, str]]:
    """Command and flags, from a cell (0: there, -1: here) of tables whose heading names a command."""
    command = None
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            command = None
        elif heading := re.fullmatch(r"here, of `ptychopinn ([a-z ]+)`", cells[-1]):
            command = heading[1]
        elif command is not None:
            yield from ((command, span) for span in SPAN.findall(cells[cell]) if span.startswith("--"))


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Name of the command and its parameters; refuses what a call would refuse."""
    command: Any = get_command(app)
    while hasattr(command, "commands") or hasattr(command, "get_command"):
        while words[0].startswith("-"):
            words = words[1:]
        name, *words = words
        found = command.get_command(None, name)
        assert found is not None, f"{name}: no such command"
        command = found
    context = command.make_context(name, list(words))
    return name, context.params


def check(name: str, values: dict[str, Any]) -> None:
    """Refuse values that a setting does not take."""
    if name not in USED:
        return
    assigned = read_assignments(values["assigned"] or ())
    check_assigned(name, assigned)
    flags = {key: values[key] for key in FLAGS[name].split() if values[key] is not None}
    Settings.of({**flags, **assigned})


def test_the_ledger_has_lines_to_check() -> None:
    assert len(command_lines()) > 35
    assert len(list(flags_by_command())) > 90


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_is_understood(line: str) -> None:
    check(*parsed(shlex.split(line)[1:]))


@pytest.mark.parametrize(("command", "flags"), sorted(set(flags_by_command())))
def test_every_flag_is_one_of_its_command(command: str, flags: str) -> None:
    needed = {"train": "s", "infer": "r s", "compare": "s", "baseline": "s", "simulate": "s.npz", "study run": ""}
    name, *_ = parsed([*command.split(), *needed[command].split(), *complete(command, flags)])
    assert name == command.split()[-1]


def complete(command: str, flags: str) -> list[str]:
    """Words of a call: the flags, and ``--out`` where the command needs one that is not among them."""
    words = shlex.split(flags)
    return words if "--out" in words or command == "simulate" else [*words, "--out", "o"]


@pytest.mark.parametrize("flags", sorted({flags for name, flags in flags_by_command() if name != "study run"}))
def test_the_values_of_flags_are_taken(flags: str) -> None:
    for command in sorted({name for name, each in flags_by_command() if each == flags and name != "study run"}):
        needed = {"infer": ["r", "s"], "simulate": ["s.npz"]}.get(command, ["s"])
        check(*parsed([command, *needed, *complete(command, flags)]))


def test_fields_of_studies_are_fields_of_the_design() -> None:
    for command, flags in flags_by_command():
        if flags.startswith("--set ") and command == "study run":
            assert "train" in plan(None, Asked(preset="quick", assigned=read_assignments([flags.split()[1]])))


@pytest.mark.parametrize(("command", "flags"), sorted({row for row in flags_by_command(0) if row[0] != "study run"}))
def test_a_flag_of_the_older_program_is_answered_with_what_the_ledger_says(command: str, flags: str) -> None:
    """Not by the list of all flags, and not by a guess."""
    result = CliRunner().invoke(app, [command, *shlex.split(flags), "7"])
    assert result.exit_code == 2
    assert not any(words in result.output for words in ("lists them", "did you mean")), result.output
