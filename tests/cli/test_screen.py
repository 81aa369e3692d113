"""What a terminal shows beside the plain lines that a pipe gets."""

import io
import sys

import pytest

from ptychopinn.cli import screen

MARKDOWN = "| arm | phase MAE |\n|---|---|\n| PINN [1] | 0.01 |\nA and B: complex error 0.1"
ALIGNED = "job         dose\nsimulate-1  1000\n\n1 to do"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard output a terminal; not as a fixture, because pytest sets it anew for the call."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "80")
    return stream


@pytest.mark.parametrize("text", [MARKDOWN, ALIGNED])
def test_a_pipe_gets_the_text_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    screen.show(text)
    assert capsys.readouterr().out == text + "\n"


def test_a_terminal_gets_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    for text in (MARKDOWN, ALIGNED):
        screen.show(text)
    shown = terminal.getvalue()
    for words in ("phase MAE", "PINN [1]", "A and B: complex error 0.1\n", "simulate-1", "1 to do\n"):
        assert words in shown
    assert "|---|" not in shown
    assert "━" in shown


def test_rows_without_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    screen.show("file    a  b.npz\nframes  169", columns=2)
    assert "a  b.npz" in terminal.getvalue()
    assert "━" not in terminal.getvalue()


@pytest.mark.parametrize("working", ["", "Refining"])
def test_lines_stay_plain_without_a_terminal(working: str, capsys: pytest.CaptureFixture[str]) -> None:
    with screen.reporting(quiet=False, working=working) as report:
        report("epoch 3 of 20: loss 1")
    assert capsys.readouterr().out == "epoch 3 of 20: loss 1\n"


def test_a_terminal_gets_a_bar_and_every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with screen.reporting(quiet=False, working="Refining") as report:
        report("epoch 3 of 20: loss 1")
        report("[4/20] train-1e3: done")
    shown = terminal.getvalue()
    assert "epoch 3 of 20: loss 1\n" in shown
    assert "Refining" in shown


def test_quiet_keeps_warnings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = on_terminal(monkeypatch)
    with screen.reporting(quiet=True, working="Refining") as report:
        report("epoch 3 of 20: loss 1")
        report("Warning: the scan is dim")
    assert terminal.getvalue() == ""
    assert capsys.readouterr().err == "Warning: the scan is dim\n"
