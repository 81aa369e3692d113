"""Every command of the how-to pages runs as it is printed, and makes what the page says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

MADE = {
    "beamline": (
        "fit/reconstruction.h5",
        "fit.html",
        "profile.pdf",
        "quick/reconstruction.h5",
        "final/reconstruction.h5",
    ),
    "microscope": ("image/reconstruction.h5", "image.html"),
    "methods": ("compared/comparison_metrics.csv", "compared/view.html"),
    "facility": ("settings.json",),
}


def test_every_page_is_run():
    assert {path.stem for path in (DOCS / "tasks").glob("*.md")} == set(MADE)


@pytest.mark.slow
@pytest.mark.parametrize("page", MADE)
def test_a_page_runs(page, tmp_path):
    blocks = BLOCK.findall((DOCS / f"tasks/{page}.md").read_text(encoding="utf-8"))
    assert blocks
    for kind, text in blocks:
        if kind == "python":
            calls = [[sys.executable, "-c", text]]
        else:
            lines = [shlex.split(line) for line in text.replace("\\\n", " ").strip().splitlines()]
            assert {line[0] for line in lines} == {"ptychopinn"}
            calls = [[sys.executable, "-m", *line] for line in lines]
        for call in calls:
            done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
            assert done.returncode == 0, (call, done.stderr)
    for name in MADE[page]:
        assert (tmp_path / name).is_file(), name


def test_the_pictures_of_bad_images_are_there_and_named():
    text = (DOCS / "bad_images.md").read_text(encoding="utf-8")
    blocks = set(re.findall(r"```sh\n# (\w+)", text))
    shown = re.findall(r"!\[([^\]]{20,})\]\(images/bad/(\w+)\.png\)", text)
    assert {name for _, name in shown} == blocks == {path.stem for path in (DOCS / "images/bad").glob("*.png")}
    assert all((DOCS / f"images/bad/{name}.png").stat().st_size < 40_000 for name in blocks)
