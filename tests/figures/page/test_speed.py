"""A page of a large result in a real browser: what it costs to open and to drag."""

import math

import numpy as np
import pytest

from ptychopinn.figures.page.page import LARGEST, draw_page, frames_that_fit
from tests.browser import browsing, needs_browser
from tests.figures.page.test_page import result

SIZE = 2000
STEPS = 30


def large():
    rng = np.random.default_rng(0)
    rows, cols = (each.ravel() for each in np.meshgrid(*[np.linspace(60, 1940, 89)] * 2))
    count = frames_that_fit(128, 1)
    return result(
        (SIZE, SIZE),
        positions=np.stack([rows, cols], axis=1),
        numbers=np.arange(rows.size),
        frames=np.arange(count),
        measured=rng.poisson(30, (count, 128, 128)).astype(np.float32),
        fitted=np.full((count, 128, 128), 30, np.float32),
    )


@pytest.mark.slow
@needs_browser
def test_a_page_of_a_large_result_opens_and_is_dragged_with_ease(tmp_path):
    draw_page(tmp_path / "page.html", [large()], "large")
    assert (tmp_path / "page.html").stat().st_size < LARGEST
    with browsing(tmp_path / "home") as [page]:
        page.call("Performance.enable", timeDomain="threadTicks")
        page.look(1300, 900)

        def spent() -> dict[str, float]:
            return {each["name"]: each["value"] for each in page.call("Performance.getMetrics")["metrics"]}

        def mouse(kind: str, x: float, y: float, pressed: bool = True) -> None:
            page.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=int(pressed), clickCount=1
            )

        page.go((tmp_path / "page.html").as_uri())
        page.until("document.body.dataset.ready")
        page.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert spent()["TaskDuration"] < 3
        place = "document.querySelector('.plots figure').getBoundingClientRect()"
        x, y = page.value(f"[{place}.x + 150, {place}.y + 180]")
        start = "Bokeh.documents[0].get_model_by_name('x').start"
        page.value(f"window.drags = 0; window.before = {start}; 0")
        page.value("Bokeh.documents[0].get_model_by_name('x').change.connect(() => window.drags++); 0")
        mouse("mouseMoved", x, y, pressed=False)
        mouse("mousePressed", x, y)
        before = spent()
        for step in range(STEPS):
            mouse("mouseMoved", x + 60 * math.sin(step / 8), y + 40 * math.cos(step / 8))
        drags, after = page.value("window.drags"), spent()
        mouse("mouseReleased", x, y, pressed=False)
    assert drags > STEPS / 2
    # With Bokeh as it is they are 34, most of the time of a step.
    assert (after["RecalcStyleCount"] - before["RecalcStyleCount"]) / drags < 10
