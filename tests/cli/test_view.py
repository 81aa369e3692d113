"""``view``: a page from what ``refine`` wrote, and what can be wrong."""

import pytest

from tests.cli.refusing import assert_refused, call

pytestmark = pytest.mark.usefixtures("quick_pictures")


@pytest.fixture
def fitted(place):
    done = call(place, "refine scan.npz --out fit --epochs 4 --error-draws 2")
    assert done.exit_code == 0, done.output
    return place


def test_a_page_of_two_results_with_frames(fitted):
    assert call(fitted, "refine scan.npz --out other --epochs 4 --error-draws 0").exit_code == 0
    done = call(fitted, "view fit other/reconstruction.npz --scan scan.npz --out page.html")
    assert done.exit_code == 0, done.output
    text = (fitted / "page.html").read_text(encoding="utf-8")
    assert '<h2 id="result-1">other</h2>' in text
    assert '"rows"' in text
    assert call(fitted, "view fit --out page.html").exit_code == 2
    assert call(fitted, "view fit --out page.html --overwrite").exit_code == 0
    assert '"frames": null' in (fitted / "page.html").read_text(encoding="utf-8")


def test_what_is_wrong_is_said(fitted):
    assert_refused(fitted, "view fit --out page.png", ("page.png: the name of the page must end in .html",))
    assert_refused(fitted, "view scan.npz --out page.html", ("scan.npz: is a scan, no image",))
    assert_refused(fitted, "view empty --out page.html", ("holds no reconstruction.h5",))
    assert_refused(fitted, "view fit --scan notes.txt --out page.html", ("notes.txt",))
    assert call(fitted, "subset scan.npz --n 4 --out few.npz").exit_code == 0
    assert_refused(fitted, "view fit --scan few.npz --out page.html", ("--scan: holds no frame",))
    assert not (fitted / "page.html").exists()
