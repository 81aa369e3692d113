"""The README's Python example runs as it is printed."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_first_example_runs(tmp_path, monkeypatch):
    found = re.search(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found, f"{README} has no python block"
    monkeypatch.chdir(tmp_path)
    exec(compile(found[1], "README.md", "exec"), {"__name__": "__main__"})
