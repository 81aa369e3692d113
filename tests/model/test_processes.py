"""What torchrun sets in the environment, and what else may have set it."""

import pytest

from ptychopinn.errors import PtychoError
from ptychopinn.model import processes


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK"])
@pytest.mark.parametrize("text", ["", "x", "-1", "1.5"])
def test_what_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(PtychoError, match=f"^{name}: '{text}' in the environment; a number"), processes.team():
        pass


def test_processes_that_nobody_has_started_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with (
        pytest.raises(PtychoError, match="^WORLD_SIZE: 2 in the environment, .*MASTER_ADDR.*unset it"),
        processes.team(),
    ):
        pass
