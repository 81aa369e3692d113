"""``ptychopinn export``: a program, what it takes and gives; wrong calls leave nothing."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ptychopinn.cli.app import app
from tests.cli.refusing import SIZE


def call(place: Path, line: str) -> Any:
    with contextlib.chdir(place):
        return CliRunner().invoke(app, line.split())


def test_the_program_says_what_it_takes_and_gives(place: Path) -> None:
    line = "export run --scan scan.npz --out programs/net.pt2"
    done = call(place, line)
    assert (done.exit_code, done.stderr) == (0, "")
    note, *lines = done.stdout.splitlines()
    assert note.startswith("Probe of ")
    assert [text.split()[:2] for text in lines[:-1]] == [
        ["input", "counts"],
        ["input", "offsets"],
        ["output", "real"],
        ["output", "imag"],
    ]
    assert lines[-1] == "Program: programs/net.pt2"
    program = torch.export.load(place / "programs/net.pt2").module()
    with torch.no_grad():
        real, imag = program(torch.ones(3, 4, SIZE, SIZE), torch.zeros(3, 4, 2))
    # The network of this run was never trained: it answers vacuum.
    torch.testing.assert_close(torch.complex(real, imag), torch.ones(3, 4, SIZE, SIZE, dtype=torch.complex64))
    again = call(place, line)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "programs/net.pt2: exists already" in again.stderr
    assert call(place, line + " --overwrite").exit_code == 0
    assert [path.name for path in (place / "programs").iterdir()] == ["net.pt2"]


def test_of_several_processes_the_first_writes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    before = sorted(place.rglob("*"))
    done = call(place, "export run --scan scan.npz --out second.pt2")
    assert (done.exit_code, done.stdout) == (0, "")
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("export run --out net.pt2", "--scan: groups of 4 frames"),
        ("export run --scan scan.npz --out net.txt", "--out: net.txt ends in .txt; .pt2 or .onnx is needed"),
        ("export foreign --out net.pt2", "foreign/wts.h5.zip: no such file"),
        ("export run --scan none.npz --out net.pt2", "none.npz"),
        ("export run --out empty", "empty: is a folder"),
    ],
)
def test_wrong_calls_leave_nothing(place: Path, line: str, words: str) -> None:
    before = sorted(place.rglob("*"))
    done = call(place, line)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert sorted(place.rglob("*")) == before
