"""The options of every command are those of the table of settings, beside its own."""

from typing import Any

import pytest
from pydantic.fields import FieldInfo
from typer.main import get_command

from ptychopinn.cli import options
from ptychopinn.cli.app import COMMANDS, _Commands, app
from ptychopinn.cli.applicable import FLAGS, MEANINGS, NEEDS, NOT_NEEDED, SPELLINGS, USED, spelling
from ptychopinn.config import Settings

NAMES = set(Settings().flat())


def parameters(command: str) -> dict[str, Any]:
    """Arguments and options of a command by name."""
    group = get_command(app)
    assert isinstance(group, _Commands)
    return {str(option.name): option for option in group.get_command(None, command).params}


def test_every_command_says_which_settings_it_takes() -> None:
    assert {command for command in COMMANDS if "assigned" in parameters(command)} == set(USED) == set(FLAGS)
    assert set().union(*USED.values()) == NAMES, "a setting that no command takes"
    assert set(NEEDS) <= NAMES
    assert set(NOT_NEEDED) <= set(USED)
    known = {*NAMES, *(f"{command} {name}" for command, names in FLAGS.items() for name in names.split())}
    assert set(SPELLINGS) | set(MEANINGS) <= known


@pytest.mark.parametrize("command", FLAGS)
def test_a_command_offers_the_flags_of_its_table(command: str) -> None:
    names, found = FLAGS[command].split(), parameters(command)
    assert set(names) <= USED[command] <= NAMES
    own = {"refine"} if command == "compare" else set()
    assert (NAMES & set(found)) - set(names) == own
    for name in names:
        assert found[name].opts == spelling(command, name)
        assert found[name].help == MEANINGS.get(f"{command} {name}", options.describe(name))
        assert found[name].default is None


def test_a_switch_can_be_turned_off_unless_it_is_spelt() -> None:
    assert parameters("infer")["synchronise"].secondary_opts == ["--no-synchronise"]
    assert parameters("infer")["refine"].secondary_opts == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gridsize", int), ("crop", int), ("measurement", str), ("nphotons", float), ("map", str), ("flip_x", bool)],
)
def test_a_flag_takes_the_type_of_its_setting(name: str, expected: type) -> None:
    assert options.type_of(name) is expected


@pytest.mark.parametrize(("name", "info"), options.fields().items(), ids=options.fields())
def test_every_setting_is_described_with_its_default(name: str, info: FieldInfo) -> None:
    assert info.description
    text, _, derived = str(info.description).partition("; None: ")
    assert options.describe(name).startswith(text)
    assert "None" not in options.describe(name)
    default = derived if info.default is None else info.default
    # An option that is off, or takes all, unless it is given needs no words for that.
    silent = default is False or default in ("", "all")
    assert options.describe(name).endswith(f"[default: {default}]") != silent


def test_what_a_setting_may_be_is_described() -> None:
    assert options.describe("scheduler").count("|") == 4
    assert "[1|2|3]" in options.describe("gridsize")
    assert "[counts|amplitude]" in options.describe("measurement")
