"""Every page in light, dark and narrow: axe-core finds nothing serious, and nothing is wider than the window."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ptychopinn.figures.page.live import Now, write_live
from ptychopinn.study.report import write_report
from tests.browser import Page, browsing, needs_axe, needs_browser
from tests.cli.refusing import call
from tests.study.test_report import DESIGN, JOBS, fill

pytestmark = [pytest.mark.slow, needs_browser, needs_axe]

MANUAL = Path(__file__).parents[2] / "build/site"
CHAPTERS = sorted(path.relative_to(MANUAL).as_posix() for path in MANUAL.rglob("*.html"))
LOOKS = {"light": (1300, False), "dark": (1300, True), "narrow": (400, False), "narrow and dark": (400, True)}
DRAWN = "!document.getElementById('data') || document.body.dataset.ready || document.body.dataset.shown"

SCHEME = "document.body.dataset.mdColorScheme"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browsing(tmp_path_factory.mktemp("home")) as [page]:
        yield page


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Path:
    """A folder with all pages that commands write."""
    folder = tmp_path_factory.mktemp("pages")
    flags = "--N 32 --object-size 96 --probe-radius 7 --nphotons 1e6"
    for line in (
        f"simulate scan.npz {flags}",
        "reconstruct scan.npz --out image --epochs 5",
        "refine scan.npz --out refined --epochs 3",
        "view image refined --scan scan.npz --out both.html",
        "compare image refined --out compared",
    ):
        done = call(folder, line)
        assert done.exit_code == 0, done.output
    for job in JOBS:
        fill(folder / "study", job)
    write_report(folder / "study", DESIGN)
    now = Now("Study", "failed", 75, 1.7e9, 1, "the disk is full", 0.4, {"jobs done": "3 of 9"}, ["one", "two"])
    curves = {"loss": [(1, 0.5), (2, 0.25)]}
    write_live(folder / "failed.html", replace(now, warnings=["wild"], curves=curves, links=[("a", "b")]))
    return folder


def assert_open_to_all(page: Page, path: Path) -> None:
    for look, (width, dark) in LOOKS.items():
        page.look(width, dark=dark)
        page.go(path.as_uri())
        page.until(DRAWN)
        # The theme of the manual remembers how it was seen first.
        page.value(f"{SCHEME} && ({SCHEME} = '{'slate' if dark else 'default'}')")
        page.value("Promise.all(document.getAnimations().map(each => each.finished.catch(() => 0))).then(() => 0)")
        assert page.barriers() == [], look
        assert page.value("document.documentElement.scrollWidth") <= width, look


@pytest.mark.parametrize(
    "name",
    [
        "both.html",
        "image/view.html",
        "image/report.html",
        "image/live.html",
        "compared/view.html",
        "study/report.html",
        "failed.html",
    ],
)
def test_a_page_of_a_command(page, pages, name):
    assert_open_to_all(page, pages / name)


@pytest.mark.skipif(not CHAPTERS, reason="no manual here: make docs")
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_page_of_the_manual(page, name):
    assert_open_to_all(page, MANUAL / name)
