"""The health check's probe, against servers that behave well and badly."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from jobs.adapters.http_probe import HttpProbe
from jobs.rules.container_values import HealthRequest, ProbeResult

LOCALHOST = "127.0.0.1"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Behaviour = Callable[[socket.socket], None]


@contextmanager
def server(behave: Behaviour) -> Iterator[int]:
    """Listen for the length of the block, treat one visitor as told; give the port."""
    with socket.create_server((LOCALHOST, 0)) as listener:
        listener.settimeout(60)
        thread = threading.Thread(target=_serve_one, args=(listener, behave))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(timeout=60)


def _serve_one(listener: socket.socket, behave: Behaviour) -> None:
    # The probe may close the connection once it has seen enough.
    with suppress(OSError):
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(60)
            behave(connection)


def answers(*pieces: bytes, pause_s: float = 0.0) -> Behaviour:
    """Read the request, then send the pieces."""

    def behave(connection: socket.socket) -> None:
        connection.recv(4096)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)

    return behave


def status(code: int) -> bytes:
    return f"HTTP/1.1 {code} Whatever\r\nContent-Length: 0\r\n\r\n".encode()


def look(behave: Behaviour, path: str | None = "/", *, timeout_s: float = 30.0) -> ProbeResult:
    with server(behave) as port:
        return HttpProbe().look(LOCALHOST, port, HealthRequest(path), timeout_s=timeout_s)


@pytest.mark.parametrize("code", [200, 204, 301, 399])
def test_from_200_to_399_is_healthy(code: int) -> None:
    assert look(answers(status(code))) == ProbeResult(
        healthy=True, status=code, seen=f"status {code}"
    )


@pytest.mark.parametrize("code", [400, 404, 500, 503])
def test_from_400_on_is_not_healthy(code: int) -> None:
    assert look(answers(status(code))) == ProbeResult(
        healthy=False, status=code, seen=f"status {code}"
    )


def test_a_redirect_is_not_followed() -> None:
    with socket.create_server((LOCALHOST, 0)) as elsewhere:
        elsewhere.settimeout(0.3)
        to = f"http://{LOCALHOST}:{elsewhere.getsockname()[1]}/"
        result = look(answers(f"HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n".encode()))
        assert (result.healthy, result.status) == (True, 302)
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_informational_answers_are_skipped() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert look(answers(hints, status(503), pause_s=0.05)).status == 503
    assert look(answers(hints + OK)).status == 200


def test_an_answer_in_small_pieces_is_put_together() -> None:
    pieces = [bytes([byte]) for byte in status(200)]
    assert look(answers(*pieces, pause_s=0.001)).healthy


def test_a_bare_http_1_0_answer_is_enough() -> None:
    assert look(answers(b"HTTP/1.0 200\n\nhello")).healthy


def test_nobody_listening_is_connection_refused() -> None:
    with socket.socket() as taken:  # so that no other program can listen there
        taken.bind((LOCALHOST, 0))
        for path in ("/", None):
            result = HttpProbe().look(
                LOCALHOST, taken.getsockname()[1], HealthRequest(path), timeout_s=30
            )
            assert result == ProbeResult(healthy=False, seen="connection refused")


def test_silence_is_no_answer_within_the_time() -> None:
    def behave(connection: socket.socket) -> None:
        while connection.recv(
            4096
        ):  # until the probe closes the connection; nothing else ends this loop
            pass

    result = look(behave, timeout_s=0.25)
    assert result == ProbeResult(healthy=False, seen="no answer within 0.25 s")


@pytest.mark.parametrize(
    "pieces",
    [[b"HTTP/1.1 200 "] + [b"x"] * 40, [b"HTTP/1.1 102 Processing\r\n\r\n"] * 40],
)
def test_the_deadline_is_for_the_whole_answer_not_for_each_piece(pieces: list[bytes]) -> None:
    result = look(answers(*pieces, pause_s=0.03), timeout_s=0.3)
    assert result == ProbeResult(healthy=False, seen="no answer within 0.3 s")


def test_a_connection_that_is_never_accepted_is_no_answer() -> None:
    with socket.create_server((LOCALHOST, 0)) as listener:
        port = listener.getsockname()[1]
        result = HttpProbe().look(LOCALHOST, port, HealthRequest("/"), timeout_s=0.2)
    assert result.seen == "no answer within 0.2 s"


def test_a_connection_closed_without_an_answer_is_reported() -> None:
    expected = ProbeResult(healthy=False, seen="closed the connection without an answer")
    assert look(answers()) == expected
    assert look(lambda connection: connection.close()) == expected


@pytest.mark.parametrize(
    "noise",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x00\x00",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200" + b"x" * 10,
        b"HTTP/2 200 OK\r\n\r\n",
        b"\xff" * 100_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 4000,
    ],
)
def test_an_answer_that_is_not_http_is_reported(noise: bytes) -> None:
    assert look(answers(noise)) == ProbeResult(healthy=False, seen="an answer that is not HTTP")


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    sent = 0

    def behave(connection: socket.socket) -> None:
        nonlocal sent
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1000):
            sent += connection.send(b"x" * 1_000_000)

    started = time.monotonic()
    assert look(behave, timeout_s=60).healthy
    assert time.monotonic() - started < 50
    assert sent < 100_000_000


def test_without_a_path_a_connection_is_enough() -> None:
    assert look(lambda connection: connection.close(), None) == ProbeResult(
        healthy=True, seen="accepts connections"
    )


def test_the_request_is_one_plain_get() -> None:
    seen = request_for("/health?deep=1")
    assert seen[0] == "GET /health?deep=1 HTTP/1.1"
    assert {"Host: localhost", "X-Forwarded-Proto: http", "Connection: close"} <= set(seen)
    assert not any(line.lower().startswith("x-forwarded-for") for line in seen)


def test_the_request_is_as_from_a_visitor_of_the_apps_domain() -> None:
    seen = request_for("/", host="app.example.com", is_https=True)
    assert {"Host: app.example.com", "X-Forwarded-Proto: https"} <= set(seen)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            b"HTTP/1.1 400 Bad\r\nContent-Length: 19\r\n\r\nInvalid host header",
            "Invalid host header",
        ),
        (b"HTTP/1.0 403\n\n\n  Blocked hosts: x\nmore", "Blocked hosts: x"),
        (
            (
                b"HTTP/1.1 500 Bad\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"6;x=1\r\nno suc\r\n8\r\nh table\n\r\n0\r\n\r\n"
            ),
            "no such table",
        ),
        (b"HTTP/1.1 500 Bad\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\ncut", "cut"),
        (
            (
                b"HTTP/1.1 400 Bad\r\nContent-Type: text/html\r\n\r\n<html><head><style>p{}</style>"
                b"<title>\n Bad Request\n (400) &amp; more</title></head><body><p>x</p></body>"
            ),
            "Bad Request (400) & more",
        ),
        (
            b"HTTP/1.1 400 Bad\r\n\r\n<!doctype html><body><script>1</script><h1>Not Found</h1>",
            "Not Found",
        ),
        (b"HTTP/1.1 400 Bad\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8bxyz", ""),
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 400 Bad\r\n\r\n\xff\xfe", "\N{REPLACEMENT CHARACTER}" * 2),
    ],
)
def test_an_unhealthy_answer_is_quoted_by_its_first_line(answer: bytes, said: str) -> None:
    for pieces in ([answer], [answer[:40], answer[40:]]):
        assert look(answers(*pieces, pause_s=0.02)).said == said


def test_a_healthy_answer_is_not_read_on() -> None:
    assert look(answers(OK)).said == ""


def test_an_unhealthy_body_that_never_ends_is_given_up_soon() -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 503 Busy\r\n\r\nbusy\n")
        with suppress(OSError):
            while True:
                connection.sendall(b"x")
                time.sleep(0.01)

    started = time.monotonic()
    result = look(behave)
    assert (result.status, result.said) == (503, "busy")
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("body", [b"<script" * 1200, b"<" * 8000, b"1\r\n" * 2000, b"<!--" * 2000])
def test_a_hostile_body_costs_little(body: bytes) -> None:
    head = b"HTTP/1.1 500 Bad\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
    for sent in (head + body, head.replace(b"chunked", b"x") + body):
        started = time.monotonic()
        assert look(answers(sent)).status == 500
        assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("health", "/health"),
        ("/a b", "/a%20b"),
        ("/x HTTP/1.1\r\nX-Evil: 1", "/x%20HTTP/1.1%0D%0AX-Evil:%201"),
        ("/übung", "/%C3%BCbung"),
        ("/%20done", "/%20done"),
        ("/x#part", "/x"),
        ("http://example.com/", "/http://example.com/"),
    ],
)
def test_a_path_cannot_add_lines_to_the_request(path: str, target: str) -> None:
    seen = request_for(path)
    assert seen[0] == f"GET {target} HTTP/1.1"
    assert not any(line.startswith("X-Evil") for line in seen)


def test_a_proxy_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((LOCALHOST, 0)) as proxy:
        proxy.settimeout(0.3)
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{LOCALHOST}:{proxy.getsockname()[1]}")
        assert look(answers(OK)).healthy
        with pytest.raises(TimeoutError):
            proxy.accept()


@pytest.mark.parametrize("host", ["", "localhost", "app.example", "a" * 300])
def test_only_addresses_are_probed_never_names(host: str) -> None:
    result = HttpProbe().look(host, 80, HealthRequest("/"), timeout_s=1)
    assert result == ProbeResult(healthy=False, seen="no IP address to connect to")


def test_ipv6_is_probed_too() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=_serve_one, args=(listener, answers(OK)))
        thread.start()
        assert HttpProbe().look("::1", port, HealthRequest("/"), timeout_s=30).healthy
        thread.join(timeout=60)


def request_for(path: str, **about: Any) -> list[str]:  # noqa: ANN401 - of a `HealthRequest`
    seen = b""

    def behave(connection: socket.socket) -> None:
        nonlocal seen
        seen = connection.recv(4096)
        connection.sendall(OK)

    with server(behave) as port:
        HttpProbe().look(LOCALHOST, port, HealthRequest(path, **about), timeout_s=30)
    return seen.decode().split("\r\n")
