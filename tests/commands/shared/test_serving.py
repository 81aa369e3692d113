"""``--serve``: the page to this machine alone; to others with the token only; nothing else of the disk."""

import http.client
import re
import socket
import struct
from urllib.parse import urlsplit

import pytest

from ptychopinn.commands.shared import serving as shared
from ptychopinn.commands.shared.serving import parsed, serving
from ptychopinn.errors import PtychoError


def get(address: str, path: str | None = None, **headers: str) -> tuple[int, bytes]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    connection.request("GET", f"{parts.path}?{parts.query}" if path is None else path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Browsers that have asked are not waited for."""
    monkeypatch.setattr(shared, "PATIENCE", 0.1)


@pytest.fixture
def page(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    path = tmp_path / "live.html"
    path.write_text("<p>so far</p>")
    return path


def test_this_machine_sees_the_page_and_nothing_else(page):
    with serving(page, "0") as address:
        assert address.startswith("http://127.0.0.1:")
        assert get(address) == (200, b"<p>so far</p>")
        page.write_text("<p>more</p>")
        assert get(address, "/?look=3") == (200, b"<p>more</p>")
        for path in ("/secret.txt", "/../secret.txt", "//secret.txt", "/%2e%2e/secret.txt"):
            assert get(address, path)[0] == 404
        page.unlink()
        assert get(address)[0] == 404
    with pytest.raises(ConnectionRefusedError):
        get(address)


def test_a_foreign_name_of_this_machine_is_refused(page):
    with serving(page, "0") as address:
        assert get(address, Host="evil.example:80")[0] == 403
        assert get(address, Host="localhost:80")[0] == 200


def test_another_address_needs_the_token(page):
    with serving(page, "127.0.0.2:0") as address:
        assert re.fullmatch(r"http://127\.0\.0\.2:\d+/\?token=[\w-]{32}", address)
        assert get(address)[0] == 200
        assert get(address, "/?" + urlsplit(address).query + "&look=1")[0] == 200
        for path in ("/", "/?token=", "/?token=guess", "/?token=%C3%A4", "/secret.txt"):
            assert get(address, path)[0] == 403


def test_a_server_of_this_machine_is_not_reached_from_others(page):
    with serving(page, "0") as address:
        port = urlsplit(address).port
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=5):
            pass


def test_a_browser_that_turns_away_is_not_heard_of(page, capfd):
    page.write_text("x" * 20_000_000)
    with serving(page, "0") as address:
        parts = urlsplit(address)
        for _ in range(3):
            with socket.create_connection((parts.hostname, parts.port), timeout=5) as asking:
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                asking.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
                asking.recv(10)
        assert get(address)[0] == 200
    assert capfd.readouterr() == ("", "")


def test_nothing_is_offered_unless_asked_for(page):
    with serving(page, None) as address:
        assert address is None


@pytest.mark.parametrize("where", ["x", "-1", "65536", "host:", "host:x", "", "8000:"])
def test_what_is_no_port_is_refused(where):
    with pytest.raises(PtychoError, match="a port from 0 to 65535 is needed"):
        parsed(where)


def test_a_port_that_is_taken_is_refused(page):
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(PtychoError, match="give another port"),
        serving(page, str(other.getsockname()[1])),
    ):
        pass
