"""The page in a real browser: what it shows is what the result holds."""

import base64
import csv
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.figures.page.maps import BLANK, binned, coded
from ptychopinn.figures.page.page import LARGEST, Shown, draw_page, frames_that_fit

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PIXEL = 2e-8

needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


def result(shape=(30, 40), name="fit", seed=0, **more) -> Shown:
    rng = np.random.default_rng(seed)
    phase = rng.uniform(-1, 1, shape)
    bars = tuple(rng.uniform(0.01, 0.02, shape).astype(np.float32) for _ in range(2))
    values = {
        "object": (rng.uniform(0.8, 1, shape) * np.exp(1j * phase)).astype(np.complex64),
        "coverage": rng.uniform(900, 1000, shape).astype(np.float32),
        "origin": (-3, 12),
        "positions": np.array([[5.0, 20.0], [10.0, 30.0], [15.0, 40.0]]),
        "numbers": np.array([4, 7, 9]),
        "pixel_size_m": PIXEL,
        "bars": bars,
        "facts": {"made by": "<script>alert(1)</script>"},
        "frames": np.array([0, 2]),
        "measured": rng.poisson(9, (2, 8, 8)).astype(np.float32),
        "fitted": np.full((2, 8, 8), 9, np.float32),
    }
    return Shown(name, **values | more)


def embedded(path: Path) -> list[dict]:
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def in_browser(path: Path, actions: str = "") -> str:
    """The text of the page after some JavaScript ran in it."""
    copy = path.with_name(f"acted-{path.name}")
    wait = f"const t = setInterval(() => {{ if (document.body.dataset.ready) {{ clearInterval(t); {actions} }} }}, 10);"
    copy.write_text(path.read_text(encoding="utf-8").replace("</body>", f"<script>{wait}</script></body>"), "utf-8")
    assert BROWSER is not None
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom")
    found = subprocess.run([BROWSER, *options, copy.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return found.stdout


def said(dom: str, name: str) -> str:
    found = re.search(rf'<output id="{name}"[^>]*>(.*?)</output>', dom, re.DOTALL)
    assert found is not None
    return found[1]


def test_codes_are_exact_to_their_step_and_keep_blanks():
    values = np.random.default_rng(1).normal(size=(5, 7))
    values[2, 3] = np.nan
    stored = coded(values)
    codes = np.frombuffer(base64.b64decode(stored["data"]), "<u2").reshape(stored["shape"])
    assert codes[2, 3] == BLANK
    read = np.where(codes == BLANK, np.nan, stored["low"] + codes * stored["step"])
    np.testing.assert_allclose(read, values, atol=stored["step"])
    assert stored["step"] < 1e-4 * np.nanstd(values)


def test_bins_are_means_of_what_is_known():
    values = np.arange(24.0).reshape(4, 6)
    values[0, 0] = np.nan
    assert binned(values, 2)[0, 0] == pytest.approx(np.nanmean(values[:2, :2]))
    assert binned(values, 2).shape == (2, 3)
    assert np.isnan(binned(np.full((2, 2), np.nan), 2)).all()


def test_the_page_is_whole_by_itself_and_quotes_what_it_is_given(tmp_path):
    path = tmp_path / "page.html"
    draw_page(path, [result()], "title")
    text = path.read_text(encoding="utf-8")
    tags = re.sub(r"(<script[^>]*>).*?</script>", r"\1", text, flags=re.DOTALL)
    assert not re.search(r"(src|href)=", tags)
    assert "<script>alert(1)" not in text
    [shown] = embedded(path)
    assert set(shown["maps"]) == {"amplitude", "phase", "coverage", "amplitude_std", "phase_std"}


@pytest.mark.parametrize("results", [1, 3])
def test_a_large_image_is_binned_until_the_page_is_small(tmp_path, results):
    many = [result((1500, 1300), f"fit{i}", measured=None, fitted=None, frames=None) for i in range(results)]
    draw_page(tmp_path / "page.html", many, "title")
    assert (tmp_path / "page.html").stat().st_size < LARGEST
    shape = embedded(tmp_path / "page.html")[0]["maps"]["phase"]["shape"]
    assert 100 < shape[0] < 1500


def test_room_for_frames_is_shared():
    assert frames_that_fit(64, 1) > frames_that_fit(64, 4) > 4
    assert frames_that_fit(256, 1) == frames_that_fit(64, 1)


@needs_browser
@pytest.mark.slow
def test_the_browser_shows_the_values_of_the_file(tmp_path):
    first, second = result(), result(name="other", seed=5)
    draw_page(tmp_path / "page.html", [first, second], "title")
    row, col = 12, 17
    x, y = (first.origin[1] + col) * PIXEL / 1e-9, (first.origin[0] + row) * PIXEL / 1e-9
    dom = in_browser(tmp_path / "page.html", f"ptychopinn.tap(0, 'phase', 0, 0); ptychopinn.tap(0, 'phase', {x}, {y});")
    parts = said(dom, "values").split("other:")
    for shown, text in zip((first, second), parts, strict=True):
        turn = np.exp(-1j * np.angle(shown.object.astype(complex).sum()))
        phase, amplitude = (
            float(re.search(rf"{name} (-?[\d.]+)", text)[1]) for name in (r"phase \(rad\)", "amplitude")
        )
        assert phase == pytest.approx(np.angle(shown.object * turn)[row, col], abs=1e-3)
        assert amplitude == pytest.approx(abs(shown.object[row, col]), abs=1e-3)


@needs_browser
@pytest.mark.slow
def test_the_values_along_a_line_can_be_kept(tmp_path):
    shown = result(name='a "name"')
    draw_page(tmp_path / "page.html", [shown, result(name="other")], "title")
    y, x0, x1 = ((value * PIXEL) / 1e-9 for value in (shown.origin[0] + 9, shown.origin[1], shown.origin[1] + 39))
    ends = "".join(
        f"document.getElementById('{name}').value = {value};"
        for name, value in {"x0": x0, "y0": y, "x1": x1, "y1": y}.items()
    )
    code = f"{ends} document.getElementById('x0').onchange();"
    code += "document.getElementById('frame-said').textContent = ptychopinn.table();"
    rows = list(csv.reader(html.unescape(said(in_browser(tmp_path / "page.html", code), "frame-said")).splitlines()))
    assert rows[0] == ["result", "distance (nm)", "phase (rad)", "standard deviation"]
    assert {row[0] for row in rows[1:]} == {'a "name"', "other"}
    bars = [float(row[3]) for row in rows[1:] if row[0] == 'a "name"']
    assert bars[0] == pytest.approx(shown.bars[1][9, 0], abs=1e-4)
    assert bars[len(bars) - 1] == pytest.approx(shown.bars[1][9, 39], abs=1e-4)


@needs_browser
@pytest.mark.slow
def test_a_click_on_a_position_and_its_number_show_its_frame(tmp_path):
    draw_page(tmp_path / "page.html", [result()], "title")
    x, y = (value * PIXEL / 1e-9 for value in (41.0, 15.5))
    assert said(in_browser(tmp_path / "page.html", f"ptychopinn.tap(0, 'coverage', {x}, {y});"), "frame-said") == (
        "Frame 9 of fit."
    )
    typed = "const f = document.getElementById('frame'); f.value = 7; f.onchange();"
    nearest = said(in_browser(tmp_path / "page.html", typed), "frame-said")
    assert "frame 7 is not in the page" in nearest
    gone = said(in_browser(tmp_path / "page.html", typed.replace("7", "5")), "frame-said")
    assert gone == "No frame 5 in fit."


@needs_browser
@pytest.mark.slow
def test_keys_zoom_all_images(tmp_path):
    draw_page(tmp_path / "page.html", [result()], "title")
    actions = (
        "const range = () => Bokeh.documents[0].get_model_by_name('x'); const before = range().end - range().start;"
        "document.getElementById('move-in').click(); const inside = range().end - range().start;"
        "document.getElementById('move-all').click(); const after = range().end - range().start;"
        "document.getElementById('frame-said').textContent = [inside / before, after / before].join(' ');"
    )
    inside, after = map(float, said(in_browser(tmp_path / "page.html", actions), "frame-said").split())
    assert inside == pytest.approx(0.7)
    assert after == pytest.approx(1.0)
