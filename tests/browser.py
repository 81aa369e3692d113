"""Headless Chromium for tests that look at a page while it lives: its own protocol over Tornado, which Bokeh needs."""

import asyncio
import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")

LARGEST = 100_000_000
"""Bytes of an answer."""

AXE = Path(__file__).parents[1] / "node_modules/axe-core/axe.min.js"

needs_axe = pytest.mark.skipif(not AXE.is_file(), reason="no axe-core here: npm install --no-save axe-core")


class Page:
    """One page of a browser."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: WebSocketClientConnection) -> None:
        self._loop, self._socket, self._number = loop, socket, 0

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """One command of the protocol and its answer."""
        self._number += 1

        async def asked() -> dict[str, Any]:
            await self._socket.write_message(json.dumps({"id": self._number, "method": method, "params": values}))
            while True:
                text = await self._socket.read_message()
                assert text is not None, "the browser has gone"
                answer = json.loads(text)
                if answer.get("id") == self._number:
                    assert "error" not in answer, answer
                    return answer["result"]

        return self._loop.run_until_complete(asyncio.wait_for(asked(), 120))

    def value(self, code: str) -> Any:
        """What an expression of JavaScript gives; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, code: str, wanted: Callable[[Any], Any] = bool, patience: float = 240.0) -> Any:
        """The value of an expression once it is as wanted."""
        end = time.monotonic() + patience
        while not wanted(found := self.value(code)):
            assert time.monotonic() < end, f"{code}: {found}"
            time.sleep(0.1)
        return found

    def go(self, address: str) -> None:
        """Load a page."""
        self.call("Page.navigate", url=address)
        self.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(address[:8])})")

    def front(self) -> None:
        """Bring the page to the front: others count as hidden."""
        self.call("Page.bringToFront")

    def look(self, width: int = 1200, height: int = 1000, dark: bool = False) -> None:
        """Set size and colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=size | {"scale": 1})["data"]
        path.write_bytes(base64.b64decode(data))

    def barriers(self) -> list[str]:
        """What keeps people out, as axe-core finds it in the page as it is now: all that is serious or critical."""
        self.value(AXE.read_text(encoding="utf-8"))
        found = self.value("axe.run(document, {iframes: false}).then(({violations}) => violations)")
        return [
            f"{each['id']}: {node['html'][:200]}: {node['failureSummary']}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]


@contextmanager
def browsing(home: Path, pages: int = 1) -> Iterator[list[Page]]:
    """Empty pages of a browser that ends with the block.

    Args:
        home: folder for what it keeps.
        pages: how many.
    """
    assert BROWSER is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}", "--no-first-run"]
    options += ["--disable-background-networking", "--remote-debugging-port=0", "--remote-allow-origins=*"]
    loop = asyncio.new_event_loop()
    with subprocess.Popen([BROWSER, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 60
            while not (home / "DevToolsActivePort").is_file() or not (home / "DevToolsActivePort").read_text():
                assert time.monotonic() < end
                time.sleep(0.1)
            port = (home / "DevToolsActivePort").read_text().split()[0]
            opened = []
            for _ in range(pages):
                request = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
                with urllib.request.urlopen(request, timeout=60) as answer:
                    address = json.loads(answer.read())["webSocketDebuggerUrl"]

                async def connect(address: str = address) -> WebSocketClientConnection:
                    return await websocket_connect(address, max_message_size=LARGEST)

                opened.append(Page(loop, loop.run_until_complete(connect())))
            yield opened
        finally:
            process.terminate()
            loop.close()
