"""A page on the own machine: ``--serve``."""

import hmac
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from ptychopinn.errors import PtychoError

HERE: Final = "127.0.0.1"

NAMES: Final = (HERE, "localhost")
"""Under which a browser may ask for the page of this machine: others are those of a foreign page that found it."""

PATIENCE: Final = 5.0
"""Seconds that the last state of a page is offered to a browser that has asked for it lately."""


@dataclass
class Visits:
    """When the page was asked for, and its token; None where everybody on this machine may see it."""

    token: str | None
    asked: float = field(default=-1e9)


@contextmanager
def serving(page: Path, where: str | None) -> Iterator[str | None]:
    """Offer a page while the block runs, and for a moment longer to those who watch it.

    Args:
        page: HTML file; it may appear later.
        where: ``PORT``, or ``ADDRESS:PORT``; port 0: a free one; None: nowhere.

    Yields:
        Its address for a browser; None where it is offered nowhere. Any other address than that of this machine has a
        token in it, without which the page is refused.

    Raises:
        PtychoError: when there is no such port or address, or it is taken.
    """
    if where is None:
        yield None
        return
    address, port = parsed(where)
    visits = Visits(None if address in NAMES else secrets.token_urlsafe(24))
    try:
        server = _Server((address, port), _handler(page, visits))
    except OSError as error:
        raise PtychoError(f"--serve {where}: cannot be used: {error.strerror or error}; give another port.") from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    query = "" if visits.token is None else f"?token={visits.token}"
    try:
        yield f"http://{address}:{server.server_address[1]}/{query}"
    finally:
        end = time.monotonic()
        while end - visits.asked < PATIENCE and time.monotonic() < end + PATIENCE and visits.asked < end:
            time.sleep(0.05)
        time.sleep(0.1 if visits.asked >= end else 0.0)  # its answer is on the way
        server.shutdown()
        server.server_close()


def parsed(where: str) -> tuple[str, int]:
    """Address and port of ``PORT`` or ``ADDRESS:PORT``.

    Raises:
        PtychoError: when it is neither.
    """
    address, _, port = where.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise PtychoError(f"--serve {where}: a port from 0 to 65535 is needed, or ADDRESS:PORT; 0 takes a free one.")
    return address or HERE, int(port)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser that turned away in the middle of an answer is no matter of the run."""


def _handler(page: Path, visits: Visits) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers with the page, and nothing else of this machine."""

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
            given = parse_qs(asked.query).get("token", [""])[0]
            if visits.token is None and host not in NAMES:
                self._answer(403, "text/plain", b"Not under this name.")
            elif visits.token is not None and not hmac.compare_digest(given.encode(), visits.token.encode()):
                self._answer(403, "text/plain", b"The token in the address is missing or wrong.")
            elif asked.path != "/" or not page.is_file():
                self._answer(404, "text/plain", b"Not here, or not yet.")
            else:
                self._answer(200, "text/html; charset=utf-8", page.read_bytes())
                visits.asked = time.monotonic()

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: lines of the run are what is to be read."""

    return Handler
