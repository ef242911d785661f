"""No visitor and no stranger shuts the webhook out: on the web process as `keystone up` starts it.

Streams, half-sent heads and bodies are held, from one address and from several, while pushes
arrive; each must be taken before GitHub gives up.
"""

import os
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.processes.web_server import web_command
from jobs.settings import WebSettings
from jobs.states import Role
from jobs.storage.database import KEPT_READERS, READERS
from receiver.api.streams import MOST, MOST_OF_ONE
from receiver.app import create_app
from receiver.connections import Bounds, bounds_for, raise_file_limit
from receiver.protocol import MOST_AHEAD, BoundedHttp
from tests.builders import (
    WebRuntime,
    make_app,
    make_token,
    signed_push,
    webhook_secret,
)
from tests.conftest import SECRET_KEY
from tests.haproxy import free_ports
from tests.receiver.live import connected, head, read_answer, serving

WEBHOOK = "/webhooks/github"
JSON = "application/json"
STREAMS, HEADS, PUSHES = 799, 830, 50
GITHUB_WAITS_S = 10.0
WITHIN_S = 120.0
SEVERAL = [f"127.0.0.{number}" for number in range(2, 12)]


@pytest.fixture(autouse=True, scope="module")
def files() -> None:
    """Let this process hold both ends of two thousand connections."""
    assert raise_file_limit() >= 4096


@pytest.fixture
def secret(runtime: WebRuntime) -> SecretStr:
    return webhook_secret(make_app(runtime))


@pytest.fixture
def port(runtime: WebRuntime, secret: SecretStr) -> Iterator[int]:
    """Where the web process listens, with the file limit that a shell gives it."""
    assert secret
    with web_process(runtime.settings) as port:
        yield port


@contextmanager
def web_process(settings: WebSettings, *, ulimit: str = "-Sn 1024") -> Iterator[int]:
    (port,) = free_ports(1)
    command = web_command(settings.model_copy(update={"port": port}))
    environment = {
        "PATH": os.environ["PATH"],
        "KEYSTONE_DATA_DIR": str(settings.data_dir),
        "KEYSTONE_REDIS_URL": settings.redis_url,
        "KEYSTONE_SECRET_KEY": SECRET_KEY.get_secret_value(),
        "KEYSTONE_PORT": str(port),
    }
    limited = ["sh", "-c", f'ulimit {ulimit}; exec "$@"', "sh", *command]
    log = Path(settings.data_dir, "web.log")
    with log.open("wb") as output, subprocess.Popen(limited, env=environment, stderr=output) as web:
        try:
            wait_until_served(port, web, log)
            yield port
        finally:
            web.terminate()
            web.wait(30)


def wait_until_served(port: int, web: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + WITHIN_S
    while True:
        assert web.poll() is None, log.read_text()
        assert time.monotonic() < end, "the web process did not come up"
        try:
            with connected(port) as connection:
                connection.sendall(head("GET", "/healthz"))
                assert read_answer(connection).status == 200
                return
        except OSError:
            time.sleep(0.1)


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), WITHIN_S, source_address=(source, 0))


def hold(
    stack: ExitStack, port: int, data: bytes, count: int, *sources: str
) -> list[socket.socket]:
    """Open connections, each with something sent and never finished."""
    held = []
    for number in range(count):
        source = sources[number % len(sources)] if sources else "127.0.0.1"
        held.append(stack.enter_context(closing(connect(port, source))))
        held[-1].sendall(data)
    return held


def push(port: int, secret: SecretStr, number: int) -> tuple[int, float]:
    """Send a push as GitHub does; gives the answer's status and how long it took."""
    sha = f"{number + 1:040x}"
    request = signed_push(secret, after=sha, head_commit__id=sha)
    given = {name.replace("-", "_"): value for name, value in request.headers.items()}
    began = time.monotonic()
    with closing(connect(port)) as connection:
        length = str(len(request.body))
        connection.sendall(head("POST", WEBHOOK, Content_Length=length, **given) + request.body)
        return read_answer(connection).status, time.monotonic() - began


def all_are_taken(port: int, secret: SecretStr, *, pushes: int = PUSHES) -> None:
    with ThreadPoolExecutor(pushes) as pool:
        found = list(pool.map(lambda number: push(port, secret, number), range(pushes)))
    assert Counter(status for status, _ in found) == {202: pushes}
    assert max(took for _, took in found) < GITHUB_WAITS_S


def heads_of(held: Sequence[socket.socket]) -> list[str]:
    """Read the head of each answer; a stream has no end to wait for."""
    found = []
    for connection in held:
        data = b""
        while b"\r\n\r\n" not in data and (piece := connection.recv(65536)):
            data += piece
        found.append(data.decode("latin-1").lower())
    return found


def statuses(heads: Sequence[str]) -> Counter[int]:
    return Counter(int(each.split(" ", 2)[1]) for each in heads)


@pytest.mark.parametrize("sources", [[], SEVERAL], ids=["one address", "several addresses"])
def test_streams_and_half_sent_heads_keep_no_push_out(
    port: int, runtime: WebRuntime, secret: SecretStr, sources: list[str]
) -> None:
    token = make_token(runtime, name="eyes", role=Role.VIEWER)
    with ExitStack() as stack:
        stream = head("GET", "/api/events", Authorization=f"Bearer {token}")
        streams = hold(stack, port, stream, STREAMS, *sources)
        heads = hold(stack, port, b"GET /login HTTP/1.1\r\nHost: x\r\nX-Half: ", HEADS, *sources)
        all_are_taken(port, secret)
        assert statuses(heads_of(streams))[200] <= MOST_OF_ONE
        with closing(connect(port)) as person:
            person.sendall(head("GET", "/login"))
            assert read_answer(person).status == 200
    assert len(heads) == HEADS


@pytest.mark.parametrize("sources", [[], SEVERAL], ids=["one address", "several addresses"])
def test_half_sent_deliveries_keep_no_push_out(
    port: int, secret: SecretStr, sources: list[str]
) -> None:
    begun = head(
        "POST",
        WEBHOOK,
        Content_Type=JSON,
        Content_Length="1000000",
        X_Hub_Signature_256="sha256=" + "0" * 64,
    )
    with ExitStack() as stack:
        hold(stack, port, begun + b"{" * 100_000, 2 * Bounds().deliveries, *sources)
        all_are_taken(port, secret)


def test_a_process_that_may_open_few_files_serves_fewer_and_says_so(
    runtime: WebRuntime, secret: SecretStr
) -> None:
    with web_process(runtime.settings, ulimit="-n 400") as port, ExitStack() as stack:
        hold(stack, port, b"GET /login HTTP/1.1\r\nHost: x\r\n", 300, *SEVERAL)
        all_are_taken(port, secret, pushes=bounds_for(400).deliveries_of_one)
    log = Path(runtime.settings.data_dir, "web.log").read_text()
    assert "only 100 connections are served at once" in log


def test_half_sent_requests_keep_no_push_and_no_person_out(port: int, secret: SecretStr) -> None:
    begun = head("POST", "/login", Content_Type=JSON, Content_Length="1000")
    with ExitStack() as stack:
        hold(stack, port, begun + b"{", 2 * Bounds().requests_of_one, "127.0.0.2")
        all_are_taken(port, secret)
        with closing(connect(port, "127.0.0.3")) as person:
            person.sendall(head("GET", "/login"))
            assert read_answer(person).status == 200


def test_streams_have_a_bound_for_each_visitor_and_in_all(port: int, runtime: WebRuntime) -> None:
    tokens = [
        make_token(runtime, name=f"eyes-{number}", role=Role.VIEWER)
        for number in range(MOST // MOST_OF_ONE + 1)
    ]
    with ExitStack() as stack:
        answers: list[str] = []
        for token in tokens:
            stream = head("GET", "/api/events", Authorization=f"Bearer {token}")
            held = hold(stack, port, stream, MOST_OF_ONE + 2)
            answers += heads_of(held)
        assert statuses(answers) == {
            200: MOST,
            429: 2 * (len(tokens) - 1),
            503: MOST_OF_ONE + 2,
        }
        refused = 2 * (len(tokens) - 1) + MOST_OF_ONE + 2
        assert sum("retry-after: 10" in answer for answer in answers) == refused


def test_a_stream_that_is_closed_gives_its_place_back(port: int, runtime: WebRuntime) -> None:
    token = make_token(runtime, name="eyes", role=Role.VIEWER)
    stream = head("GET", "/api/events", Authorization=f"Bearer {token}")
    with ExitStack() as stack:
        assert statuses(heads_of(hold(stack, port, stream, MOST_OF_ONE))) == {200: MOST_OF_ONE}
        assert statuses(heads_of(hold(stack, port, stream, 1))) == {429: 1}
    end = time.monotonic() + WITHIN_S
    while True:
        with ExitStack() as stack:
            if statuses(heads_of(hold(stack, port, stream, 1))) == {200: 1}:
                return
        assert time.monotonic() < end
        time.sleep(0.1)


# --- In one process, where the parts can be watched -------------------------------------------


class Hogged:
    """The application, and an address whose requests hold a thread of the shared pool."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.holding = threading.Semaphore(0)
        self.let_go = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != "/hog":
            await self.app(scope, receive, send)
            return
        await run_in_threadpool(self._hold)
        await PlainTextResponse("held")(scope, receive, send)

    def _hold(self) -> None:
        self.holding.release()
        self.let_go.wait(WITHIN_S)


def test_a_delivery_waits_for_no_thread_that_others_hold(
    runtime: WebRuntime, secret: SecretStr
) -> None:
    app = Hogged(create_app(runtime))
    with serving(app) as port, ExitStack() as stack:
        hold(stack, port, head("GET", "/hog"), 60)
        for _ in range(40):
            assert app.holding.acquire(timeout=WITHIN_S)
        try:
            status, _ = push(port, secret, 1)
        finally:
            app.let_go.set()
    assert status == 202


def test_a_delivery_waits_for_no_connection_to_the_database_that_others_hold(
    runtime: WebRuntime, secret: SecretStr
) -> None:
    with serving(create_app(runtime)) as port, ExitStack() as others:
        for _ in range(READERS - KEPT_READERS):
            others.enter_context(runtime.database.reading())
        assert push(port, secret, 1)[0] == 202


class TestPipelining:
    """Requests sent ahead on one connection."""

    def test_a_few_are_answered_one_after_the_other(self, port: int) -> None:
        with connected(port) as connection:
            connection.sendall(head("GET", "/healthz") * MOST_AHEAD)
            data = b""
            while data.count(b'{"status":"ok"}') < MOST_AHEAD:
                piece = connection.recv(65536)
                assert piece
                data += piece

    def test_thousands_in_one_packet_are_refused(self, port: int) -> None:
        with connected(port) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3000)
            data = b""
            while piece := connection.recv(65536):
                data += piece
        assert data.count(b"HTTP/1.1 ") <= MOST_AHEAD + 2


def test_what_is_no_http_is_refused_as_json_and_not_logged(
    runtime: WebRuntime, secret: SecretStr
) -> None:
    assert secret
    with web_process(runtime.settings) as port:
        for _ in range(20):
            with connected(port) as connection:
                connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
                answer = read_answer(connection)
                assert (answer.status, b'"bad_request"' in answer.body) == (400, True)
    assert Path(runtime.settings.data_dir, "web.log").read_text().count("Invalid HTTP") == 0


class QuickLooks(BoundedHttp):
    look_every_s = 0.2


def test_a_client_that_reads_almost_nothing_is_disconnected() -> None:
    is_over = threading.Event()

    async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = {"type": "http.response.body", "body": b"x" * 65_536, "more_body": True}
        for _ in range(1000):
            await send(piece)
        await send({"type": "http.response.body", "body": b""})
        is_over.set()

    with serving(endless, protocol=QuickLooks) as port, connected(port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head("GET", "/"))
        connection.settimeout(1)
        end = time.monotonic() + WITHIN_S
        while not is_over.wait(0.3):  # some hundred bytes a second are read
            assert time.monotonic() < end
            with suppress(OSError):
                connection.recv(100)
