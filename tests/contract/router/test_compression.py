"""Which answers the router compresses."""

import gzip
import http.client
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from jobs.adapters.haproxy.files import RouterFiles
from jobs.rules.container_values import Route
from tests.contract.router.kept import Kept, Received
from tests.haproxy import LOCALHOST, RunningRouter, free_ports, running_router

TEXT = b"Text that is said again and again. " * 300 + b"ok"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRouter]:
    ports = free_ports(2)
    folder = tmp_path_factory.mktemp("gzip")
    with running_router(folder, ports=ports, compressed=ports[:1]) as router:
        yield router


@pytest.fixture
def app(running: RunningRouter) -> Iterator[Kept]:
    with Kept() as app:
        for port in running.ports[:2]:
            running.adapter.switch(Route(port, "a", app.address))
        yield app


def answer(app: Kept, *lines: str, status: str = "200 OK", body: bytes = TEXT) -> None:
    """Let the app answer with this from now on."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "\r\n"]
    whole = "\r\n".join(head).encode() + body

    def behave(received: Received) -> bytes:
        return whole.removesuffix(body) if received.method == "HEAD" else whole

    app.behaviour = behave


def get(
    port: int, accepted: str = "gzip, deflate, br", method: str = "GET"
) -> tuple[dict[str, str], bytes]:
    """Ask as a browser, and give the answer's headers and body."""
    with closing(http.client.HTTPConnection(LOCALHOST, port, timeout=60)) as connection:
        connection.request(method, "/", headers={"Accept-Encoding": accepted})
        found = connection.getresponse()
        return {name.lower(): value for name, value in found.getheaders()}, found.read()


@pytest.mark.parametrize(
    "kind",
    ["text/html; charset=utf-8", "text/css", "application/json", "image/svg+xml", "TEXT/PLAIN"],
)
def test_text_is_compressed(running: RunningRouter, app: Kept, kind: str) -> None:
    answer(app, f"Content-Type: {kind}", 'ETag: "1"', "Set-Cookie: a=b")
    headers, body = get(running.ports[0])
    assert headers["content-encoding"] == "gzip"
    assert headers["vary"].lower() == "accept-encoding"
    assert (headers["content-type"], headers["etag"]) == (kind, 'W/"1"')
    assert gzip.decompress(body) == TEXT
    assert len(body) < len(TEXT) / 10
    assert b"accept-encoding: gzip, deflate, br\r\n" in app.seen[-1].head.lower()


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Type: image/png"],
        ["Content-Type: application/octet-stream"],
        ["Content-Type: text/event-stream"],
        [],
        ["Content-Type: text/html", "Content-Encoding: br"],
        ["Content-Type: text/html", "Cache-Control: public, no-transform"],
    ],
)
def test_anything_else_stays_as_it_is(running: RunningRouter, app: Kept, lines: list[str]) -> None:
    answer(app, *lines)
    headers, body = get(running.ports[0])
    given = {name.lower(): value for name, value in (line.split(": ") for line in lines)}
    assert headers == {"content-length": str(len(TEXT)), **given}
    assert body == TEXT


@pytest.mark.parametrize("accepted", ["", "identity", "br", "gzip;q=0"])
def test_nobody_gets_it_who_does_not_want_it(
    running: RunningRouter, app: Kept, accepted: str
) -> None:
    answer(app, "Content-Type: text/html")
    headers, body = get(running.ports[0], accepted)
    assert "content-encoding" not in headers
    assert body == TEXT


@pytest.mark.parametrize("status", ["206 Partial Content", "404 Not Found"])
def test_parts_and_errors_stay_as_they_are(running: RunningRouter, app: Kept, status: str) -> None:
    answer(app, "Content-Type: text/html", status=status)
    headers, body = get(running.ports[0])
    assert "content-encoding" not in headers
    assert body == TEXT


def test_an_answer_to_head_keeps_its_length(running: RunningRouter, app: Kept) -> None:
    answer(app, "Content-Type: text/html")
    headers, _ = get(running.ports[0], method="HEAD")
    assert headers["content-length"] == str(len(TEXT))


def test_what_the_app_has_sent_does_not_wait_for_the_rest(
    running: RunningRouter, app: Kept
) -> None:
    more = threading.Event()

    def slowly(_: Received) -> bytes:
        more.wait(60)
        return b"2\r\nok"

    first = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
    app.first = first + b"5\r\nfirst\r\n"
    app.behaviour = slowly
    with closing(http.client.HTTPConnection(LOCALHOST, running.ports[0], timeout=60)) as visitor:
        visitor.request("GET", "/", headers={"Accept-Encoding": "gzip"})
        found = visitor.getresponse()
        assert found.getheader("Content-Encoding") == "gzip"
        # The header of gzip has 10 bytes; what follows is the first piece.
        assert len(found.read1(4096)) > 0
        more.set()


def test_only_the_apps_that_want_it_have_it(running: RunningRouter, app: Kept) -> None:
    answer(app, "Content-Type: text/html")
    headers, body = get(running.ports[1])
    assert headers == {"content-length": str(len(TEXT)), "content-type": "text/html"}
    assert body == TEXT


def test_a_switch_changes_the_file_and_keeps_the_compression(
    running: RunningRouter, app: Kept
) -> None:
    port = running.ports[0]
    files = RouterFiles(running.folder)
    with files.locked():
        files.switch(Route(port, "b", app.address))
        assert files.routes()[port] == Route(port, "b", app.address)
    assert "compression algo gzip" in (running.folder / "haproxy.cfg").read_text()
