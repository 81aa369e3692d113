"""Numbers and lengths as people read them."""

import pytest

from ptychopinn.text import counted, readable, readable_length


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (461212.9, "4.61e5"), (12.345, "12.3"), (9.996, "10.0"), (99999, "1.00e5"), (1000, "1000")]
    + [(0.00123, "0.00123"), (0.000123, "1.23e-4"), (-45.67, "-45.7"), (1e-3, "0.00100"), (float("inf"), "inf")],
)
def test_readable(value: float, text: str) -> None:
    assert readable(value) == text


@pytest.mark.parametrize(("metres", "text"), [(5e-8, "50.0 nm"), (1e-6, "1.00 µm"), (3e-12, "3.00 pm"), (2, "2.00 m")])
def test_readable_length(metres: float, text: str) -> None:
    assert readable_length(metres) == text


@pytest.mark.parametrize("line", ["[3/20] job: done", "epoch 3 of 20: loss 1", "epoch 3/20  9 s"])
def test_lines_that_count(line: str) -> None:
    assert counted(line) == (3, 20)


def test_other_lines_do_not_count() -> None:
    assert counted("deviance 3/20") is None
