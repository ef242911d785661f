"""Who is believed to be Keystone's own router: only who knows its key."""

import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from jobs.errors import StorageError
from jobs.rules.naming import ROUTER_SOURCE
from jobs.system.router_key import ROUTER_KEY, ensure_router_key, known_router_key
from receiver import protocol
from receiver.app import create_app
from receiver.own_router import OwnRouter
from receiver.proxies import Proxies
from tests.builders import WebRuntime
from tests.receiver.asking import Asked, ask
from tests.receiver.live import connected, head, read_answer, serving
from tests.receiver.test_proxies import CLIENT, addresses, fail_to_log_in

KEY = SecretStr("k" * 43)
SENT = {"x_keystone_router": KEY.get_secret_value(), "x_forwarded_for": CLIENT}
LOCAL = {"host": "127.0.0.1:8000"}


@pytest.fixture
def client(runtime: WebRuntime) -> Iterator[TestClient]:
    """A Keystone that knows its router, and no other proxy."""
    runtime.settings.run_dir.mkdir(mode=0o700, exist_ok=True)
    (runtime.settings.run_dir / ROUTER_KEY).write_text(KEY.get_secret_value())
    with TestClient(create_app(runtime), follow_redirects=False) as client:
        yield client


class TestWho:
    def test_the_router_names_the_visitor(self, client: TestClient, admin: TestClient) -> None:
        fail_to_log_in(client, ROUTER_SOURCE, **SENT)
        fail_to_log_in(client, "10.0.0.5", **SENT)
        assert addresses(admin) == [CLIENT, CLIENT]

    @pytest.mark.parametrize("key", ["", "k" * 42, "k" * 44, "K" * 43, "é" * 43])
    def test_nobody_else_does_from_any_address(
        self, client: TestClient, admin: TestClient, key: str
    ) -> None:
        for peer in (ROUTER_SOURCE, "127.0.0.1"):
            fail_to_log_in(client, peer, **{**SENT, "x_keystone_router": key})
            fail_to_log_in(client, peer, x_forwarded_for=CLIENT)
        assert addresses(admin) == [ROUTER_SOURCE] * 2 + ["127.0.0.1"] * 2

    def test_without_a_key_on_record_an_empty_one_proves_nothing(
        self, runtime: WebRuntime, admin: TestClient
    ) -> None:
        (runtime.settings.run_dir / ROUTER_KEY).unlink()
        with TestClient(create_app(runtime)) as client:
            fail_to_log_in(client, ROUTER_SOURCE, **{**SENT, "x_keystone_router": ""})
            fail_to_log_in(client, ROUTER_SOURCE, **SENT)
        assert addresses(admin) == [ROUTER_SOURCE] * 2

    def test_two_keys_are_none(self) -> None:
        header = (b"x-keystone-router", KEY.get_secret_value().encode())
        assert OwnRouter(KEY).has_sent([header])
        assert not OwnRouter(KEY).has_sent([header, header])
        assert not OwnRouter(KEY).has_sent([header, (header[0], b"")])

    def test_a_trusted_proxy_in_front_of_the_router_is_looked_behind(
        self, runtime: WebRuntime, client: TestClient, admin: TestClient
    ) -> None:
        assert client
        settings = runtime.settings.model_copy(update={"trusted_proxies": ("10.0.0.0/8",)})
        settings = type(settings).model_validate(settings.model_dump())
        with TestClient(create_app(replace(runtime, settings=settings))) as behind:
            chain = f"192.0.2.99, {CLIENT}, 10.0.0.7"
            fail_to_log_in(behind, ROUTER_SOURCE, **{**SENT, "x_forwarded_for": chain})
        assert addresses(admin) == [CLIENT]

    def test_through_the_router_nobody_is_local(self, client: TestClient) -> None:
        key = {"x-keystone-router": KEY.get_secret_value()}
        for headers in (key, {**key, "x-forwarded-for": "127.0.0.1"}):
            asked = Asked("GET", "/metrics", {**LOCAL, **headers}, peer="127.0.0.1")
            assert ask(client, asked).status == 401
        # The header alone does not take anybody's place on this machine away.
        wrong = {**LOCAL, "x-keystone-router": "wrong"}
        assert ask(client, Asked("GET", "/metrics", wrong, peer="127.0.0.1")).status == 200

    @pytest.mark.parametrize("key", [KEY.get_secret_value(), "wrong"])
    def test_the_key_is_passed_on_to_nobody(self, key: str) -> None:
        async def show(scope: Scope, receive: Receive, send: Send) -> None:
            shown = JSONResponse(dict(Request(scope).headers))
            await shown(scope, receive, send)

        app = Proxies(show, trusted=(), router=OwnRouter(KEY))
        shown = TestClient(app).get("/", headers={"X-Keystone-Router": key}).json()
        assert "x-keystone-router" not in shown
        assert "host" in shown


def test_trailers_add_nothing_to_the_headers() -> None:
    """A router passes trailers on without looking at them, and uvicorn mixes them in."""
    seen: list[dict[str, str]] = []

    async def show(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        await request.body()
        seen.append(dict(request.headers))
        await JSONResponse({})(scope, receive, send)

    with serving(show) as port, connected(port) as connection:
        chunks = b"1\r\nx\r\n0\r\nX-Forwarded-For: 192.0.2.9\r\nX-Other: 1\r\n\r\n"
        for _ in range(2):
            begun = head("POST", "/", Transfer_Encoding="chunked", X_Forwarded_For=CLIENT)
            connection.sendall(begun + chunks)
            assert read_answer(connection).status == 200
    assert [each["x-forwarded-for"] for each in seen] == [CLIENT] * 2
    assert all("x-other" not in each for each in seen)


def test_a_server_that_stops_still_answers_a_request_that_was_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "FIRST_REQUEST_WITHIN_S", 60)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await JSONResponse({})(scope, receive, send)

    opened = threading.Event()
    statuses: list[int] = []

    def visit(port: int) -> None:
        with connected(port) as first, connected(port) as second:
            # An answer on the first connection shows that the second one has been accepted, too.
            first.sendall(head("GET", "/"))
            read_answer(first)
            opened.set()
            with suppress(ConnectionError):
                while True:
                    with connected(port):
                        time.sleep(0.01)
            second.sendall(head("POST", "/login", Content_Length="0"))
            statuses.append(read_answer(second).status)

    with serving(answer, stops_within_s=60) as port:
        visitor = threading.Thread(target=visit, args=(port,))
        visitor.start()
        assert opened.wait(60)
    visitor.join(60)
    assert statuses == [200]


class TestKey:
    def test_it_is_made_once_and_readable_to_us_alone(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        assert known_router_key(folder) is None
        key = ensure_router_key(folder)
        assert ensure_router_key(folder) == key == known_router_key(folder)
        (file,) = folder.iterdir()
        assert file.name == ROUTER_KEY
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_an_empty_file_is_replaced_and_any_other_is_reported(self, tmp_path: Path) -> None:
        file = tmp_path / ROUTER_KEY
        file.touch()
        assert ensure_router_key(tmp_path) == known_router_key(tmp_path)
        file.write_text("not a key")
        assert known_router_key(tmp_path) is None
        with pytest.raises(StorageError, match=r"router\.key does not hold"):
            ensure_router_key(tmp_path)
