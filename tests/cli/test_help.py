"""Help lists options by subject, and the schema names the flag of every setting."""

import json
import re

import pytest
from typer.testing import CliRunner

from ptychopinn.cli.app import app
from ptychopinn.cli.applicable import FLAGS, USED
from ptychopinn.cli.help import ELSEWHERE, SECTIONS, heading
from ptychopinn.config import Settings

MOST_IN_A_GROUP = 24


def groups(command: str) -> dict[str, list[str]]:
    """Flags by heading, as the help shows them."""
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "100"}).output
    found: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if title := re.fullmatch(r"(\S.*):", line):
            found[title[1]] = []
        elif flag := re.match(r"  (?:-\w, )?(--[\w-]+)", line):
            found[list(found)[-1]].append(flag[1])
    return found


@pytest.mark.parametrize("command", FLAGS)
def test_options_are_listed_by_subject(command: str) -> None:
    found = groups(command)
    assert list(found)[-1] == "Output and settings"
    assert {"--set", "--config", "--overwrite", "--help"} <= set(found["Output and settings"])
    assert all(0 < len(flags) <= MOST_IN_A_GROUP for title, flags in found.items() if title != "Arguments"), found
    assert not {"--crop", "--seed", "--accelerator"} & set(found.get("Options", []))


def test_flags_of_a_training_stand_where_one_looks_for_them() -> None:
    found = groups("train")
    assert "--crop" in found["Reading the scan"]
    assert "--gridsize" in found["Groups of frames"]
    assert {"--learning-rate", "--scheduler", "--validate-on", "--early-stop-patience"} <= set(found["Training"])
    assert {"--precision", "--deterministic", "--num-workers", "--devices"} <= set(found["Running"])


def test_every_section_of_the_settings_has_a_heading() -> None:
    assert {section for section, _ in Settings()} == set(SECTIONS)
    assert {name.split()[-1] for name in ELSEWHERE} <= set(Settings().flat())
    assert heading("simulate", "nphotons") == "Simulation"
    assert heading("train", "nphotons") == "Reading the scan"


def test_the_schema_names_the_flag_of_every_setting() -> None:
    described = json.loads(CliRunner().invoke(app, ["config", "schema"]).output)["properties"]
    for name, about in described.items():
        assert set(about["flags"]) == {command for command, used in USED.items() if name in used}, name
    assert described["max_seconds"]["flags"] == {"train": "--max-seconds", "pretrain": "--max-seconds"}
    assert described["refine_seconds"]["flags"]["refine"] == "--max-seconds"
    assert described["tv_weight"]["flags"] == {"train": "--set tv_weight=VALUE"}
    assert described["n_subsample"]["flags"]["overlap"] == "--s-img or --n-subsample"
