"""Numbers and lengths as people read them."""

import pytest

from ptychopinn.text import readable, readable_length


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
