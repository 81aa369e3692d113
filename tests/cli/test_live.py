"""``live.html`` in a real browser, while a scan grows."""

import subprocess
import sys
import time

import pytest

from ptychopinn.commands.shared.live import Live
from ptychopinn.commands.shared.request import Request
from tests.browser import browsing, needs_browser
from tests.cli.refusing import assert_refused, call
from tests.cli.test_follow import FOLLOW, beamline, writing  # noqa: F401 - a fixture is used by its name
from tests.commands.shared.test_live import shown


@pytest.mark.slow
@needs_browser
def test_a_browser_sees_the_image_of_a_growing_scan_grow(beamline, tmp_path):  # noqa: F811
    """Served, and from the disk; neither page is loaded anew."""
    cells = "[...document.querySelectorAll('#facts tr')].map(row => [...row.children].map(each => each.innerText))"
    facts = f"Object.fromEntries({cells})"
    with browsing(tmp_path / "home", pages=2) as pages, writing(beamline, "stay"):
        command = [sys.executable, "-m", "ptychopinn", *FOLLOW.split(), "--follow-timeout", "25", "--serve", "--quiet"]
        with subprocess.Popen(command, cwd=beamline, stdout=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            address = next(line for line in follower.stdout if line.startswith("Live: ")).split()[1]
            file = beamline / "image/live.html"
            while not file.is_file():
                time.sleep(0.05)
            for page, opened in zip(pages, (address, file.as_uri()), strict=True):
                page.go(opened)
                page.value("window.mark = 'the same page'")
            for page in pages:
                page.front()
                assert page.until(f"{facts}.frames", lambda found: found == "64") == "64"
                assert page.until("[...document.images].filter(each => each.naturalWidth > 9).length", lambda n: n == 2)
                assert page.value("window.mark") == "the same page"
                assert float(page.value(f"{facts}['frames per second']")) > 0
            pictures = pages[0].value("[...document.images].map(each => each.src)")
            assert follower.wait(timeout=900) == 0
            for page in pages:
                page.front()
                assert page.until("document.getElementById('state').textContent", lambda text: "Ended after" in text)
                assert page.value("window.mark") == "the same page"
                assert page.value(f"{facts}.frames") == "64"
                last = [each["address"] for each in shown(file)["images"]]
                assert page.until("[...document.images].map(each => each.src)", lambda found, last=last: found == last)
    assert len(set(pictures)) == 2


@pytest.mark.slow
@needs_browser
def test_a_browser_follows_another_address_with_its_token_only(tmp_path):
    said = []
    request = Request(out=tmp_path, serve="127.0.0.2:0", report=said.append)
    with browsing(tmp_path / "home", pages=2) as [guest, stranger], Live(request, "fit") as live:
        address = said[0].split()[1]
        live.know({"frames": "5"})
        while not live.path.is_file():
            time.sleep(0.05)
        stranger.go(address.partition("?")[0])
        assert stranger.value("document.body.innerText") == "The token in the address is missing or wrong."
        guest.front()
        guest.go(address)
        cell = "document.querySelector('#facts td')?.innerText"
        guest.until(cell, lambda found: found == "5")
        live.know({"frames": "6"})
        guest.until(cell, lambda found: found == "6")


def test_serve_where_nothing_is_live_is_refused(place):
    assert_refused(place, "infer run scan.npz --out image --serve", ("--serve: has no effect without --follow",))
    assert_refused(place, "refine scan.npz --out image --serve", ("--serve", "refine"))
    assert_refused(place, "train scan.npz --out new --serve 70000", ("--serve 70000: a port from 0 to 65535",))
    assert_refused(place, "study run --out new --dry-run --serve", ("--serve: has no effect with --dry-run",))


@pytest.mark.slow
def test_the_port_may_be_left_out(place):
    for given in ("--serve --quiet", "--quiet --serve", "--serve 0 --quiet"):
        done = call(place, f"reconstruct scan.npz --out image --epochs 1 --set error_draws=0 --overwrite {given}")
        assert done.exit_code == 0, done.output
        first, *others = done.stdout.splitlines()
        assert first.startswith("Live: http://127.0.0.1")
        assert len(others) == 1
    assert call(place, "reconstruct scan.npz --out other --epochs 1 --serve 0").stdout.startswith(
        "Live: http://127.0.0.1"
    )
