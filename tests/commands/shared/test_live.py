"""The live page: what it says while a run goes on, how it ends, and what it costs."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.commands.shared.live import COST, EVERY, Live, thinned
from ptychopinn.commands.shared.request import Request
from ptychopinn.files.output_folder import is_vacant, write_provenance
from ptychopinn.files.replacing import holding


def shown(path: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found[1], parse_constant=pytest.fail)


def until(path: Path, wanted, patience: float = 60.0, missing: str = "") -> dict:
    """What the page says once it is as wanted."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if path.is_file() and path.read_text("utf-8") != missing and wanted(shown(path)):
            return shown(path)
        time.sleep(0.05)
    raise AssertionError(shown(path) if path.is_file() else "no page")


def star(size: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.indices((size, size)) - size / 2
    light = np.hypot(y, x) < size / 2
    return np.exp(0.5j * np.sign(np.sin(8 * np.arctan2(y, x)))).astype(np.complex64), light.astype(np.float32)


def test_the_page_follows_the_run_and_says_how_it_ended(tmp_path):
    said = []
    (tmp_path / "result").write_text("of the run")
    with Live(Request(out=tmp_path, report=said.append), "fit <b>", along="step") as live:
        live.report("[1/4] first")
        live.report("Warning: half of the frames are dark")
        live.know({"frames": "30"})
        live.note("loss", 1, 0.5)
        live.note("loss", 2, float(np.float32(0.25)))
        live.picture(lambda: star(50))
        now = until(tmp_path / "live.html", lambda page: page["images"])
        assert (now["state"], now["share"], now["title"]) == ("running", 0.25, "fit <b>")
        assert now["warnings"] == ["half of the frames are dark"]
        assert dict(now["facts"])["frames"] == "30"
        assert dict(now["facts"])["time left"].startswith("about ")
        assert now["curves"] == {"loss": [[1, 0.5], [2, 0.25]]}
        assert [image["title"] for image in now["images"]] == ["amplitude", "phase"]
        live.link(("Report", "report.html"))
    last = shown(tmp_path / "live.html")
    assert (last["state"], last["links"]) == ("ended", [["Report", "report.html"]])
    assert "time left" not in dict(last["facts"])
    assert said == ["[1/4] first", "Warning: half of the frames are dark"]
    assert "fit <b>" not in (tmp_path / "live.html").read_text().split("<script")[0]


@pytest.mark.parametrize("other", [True, False])
def test_a_failed_run_leaves_the_page_only_beside_results(tmp_path, other):
    if other:
        (tmp_path / "result").write_text("older")
    with pytest.raises(ValueError, match="out of"), Live(Request(out=tmp_path), "fit"):
        until(tmp_path / "live.html", lambda page: page["state"] == "running")
        raise ValueError("out of luck")
    assert (tmp_path / "live.html").is_file() == other
    if other:
        assert (shown(tmp_path / "live.html")["state"], shown(tmp_path / "live.html")["reason"]) == (
            "failed",
            "out of luck",
        )


def test_older_results_and_their_page_are_intact_after_a_failure(tmp_path):
    write_provenance(tmp_path, "train", {})
    (tmp_path / "live.html").write_text("older")
    request = Request(out=tmp_path)
    with (
        pytest.raises(ValueError, match="luck"),
        holding(tmp_path, "train", overwrite=True) as place,
        Live(request, "fit").beside(place),
    ):
        until(tmp_path / "live.html", lambda page: page["state"] == "running", missing="older")
        raise ValueError("luck")
    assert (tmp_path / "live.html").read_text() == "older"
    with holding(tmp_path, "train", overwrite=True) as place, Live(request, "fit").beside(place):
        place.publish(lambda folder: write_provenance(folder, "train", {"new": True}))
    assert shown(tmp_path / "live.html")["state"] == "ended"


def test_a_page_alone_does_not_fill_a_folder(tmp_path):
    (tmp_path / "live.html").write_text("of a killed run")
    assert is_vacant(tmp_path)


def test_an_expensive_page_is_written_seldom(tmp_path):
    (tmp_path / "result").write_text("of the run")
    with Live(Request(out=tmp_path), "fit") as live:
        began = time.thread_time()
        star(1500)
        cost = time.thread_time() - began
        live.picture(lambda: star(1500))
        until(tmp_path / "live.html", lambda page: page["images"])
        assert live.every > max(EVERY, COST * cost / 10)
    assert (tmp_path / "live.html").stat().st_size < 600_000


def test_a_folder_that_cannot_be_written_is_said_once_and_ends_nothing(tmp_path):
    said = []
    place = tmp_path / "folder"
    place.write_text("a file")
    with Live(Request(out=place, report=said.append), "fit") as live:
        live.every = 0.01
        time.sleep(2.5)
    assert len(said) == 1
    assert said[0].startswith("Warning: no live page: ")


def test_long_curves_keep_their_end():
    points = [(float(x), x**0.5) for x in range(1234)]
    few = thinned(points)
    assert 400 < len(few) < 700
    assert few[-1] == points[-1]
    assert few == sorted(few)
