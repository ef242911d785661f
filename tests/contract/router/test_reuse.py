"""Which requests share connections to the app, and that none is lost or processed twice."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.rules.container_values import Route
from tests.contract.router.conftest import House, house
from tests.contract.router.kept import Kept, Received, answers
from tests.contract.router.raw import Http2, Way
from tests.contract.router.visits import wait_for
from tests.haproxy import LOCALHOST, RunningRouter, running_router

REPEATABLE = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(scope="module")
def running_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRouter]:
    with running_router(tmp_path_factory.mktemp("reuse")) as router:
        yield router


@pytest.fixture(scope="module")
def own_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest.fixture
def router(running_once: RunningRouter) -> HAProxyRouter:
    return running_once.adapter


@pytest.fixture
def port(running_once: RunningRouter) -> int:
    return running_once.ports[0]


@pytest.fixture
def app(router: HAProxyRouter, port: int) -> Iterator[Kept]:
    with Kept() as app:
        router.switch(Route(port, "a", app.address))
        yield app
        router.close(port)


def ask(
    port: int, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
) -> int:
    """Send a request as a new visitor, and give the status."""
    with closing(http.client.HTTPConnection(LOCALHOST, port, timeout=60)) as connection:
        connection.request(method, "/", body, headers or {})
        answer = connection.getresponse()
        answer.read()
        return answer.status


def closes_second(received: Received) -> bytes | None:
    """Behave as an app that has just closed an idle connection when a request comes over it."""
    return answers(received) if received.number == 1 else None


class TestWhatIsReused:
    @pytest.mark.parametrize("method", REPEATABLE)
    def test_what_may_be_repeated_shares_a_connection(
        self, app: Kept, port: int, method: str
    ) -> None:
        # A connection that nothing uses is closed soon, so these two must come quickly.
        wait_for(lambda: (ask(port), ask(port, method)) and app.seen[-1].number > 1)
        assert app.seen[-1].method == method
        assert not app.seen[-1].asks_to_close

    @pytest.mark.parametrize(
        ("method", "body"), [("POST", b""), ("POST", b"x"), ("PATCH", b"x"), ("BREW", None)]
    )
    def test_what_must_not_be_repeated_has_a_connection_of_its_own(
        self, app: Kept, port: int, method: str, body: bytes | None
    ) -> None:
        for _ in range(20):
            assert (ask(port), ask(port, method, body), ask(port)) == (200, 200, 200)
        found = [each for each in app.seen if each.method == method]
        assert [each.number for each in found] == [1] * 20
        assert all(each.asks_to_close for each in found)
        theirs = {each.connection for each in found}
        assert all(each.method == method for each in app.seen if each.connection in theirs)

    @pytest.mark.parametrize("method", REPEATABLE)
    def test_a_body_never_goes_over_a_shared_connection(
        self, app: Kept, port: int, method: str
    ) -> None:
        """An app that ignores the body would take it for the next visitor's request."""
        for _ in range(10):
            assert (ask(port), ask(port, method, b"GET /evil HTTP/1.1\r\n\r\n")) == (200, 200)
        found = [each for each in app.seen if each.body]
        assert [(each.number, each.asks_to_close) for each in found] == [(1, True)] * 10

    def test_a_handshake_of_a_websocket_has_a_connection_of_its_own(
        self, app: Kept, port: int
    ) -> None:
        for _ in range(10):
            assert (ask(port), ask(port, headers=UPGRADE)) == (200, 200)
        found = [each for each in app.seen if b"\r\nupgrade: websocket" in each.head]
        assert [each.number for each in found] == [1] * 10

    def test_http_2_announces_no_body_in_a_header(self, own_house: House) -> None:
        way, port = own_house.ways["https"], own_house.ways["port"].port
        with Kept() as app:
            own_house.router.adapter.switch(Route(port, "b", app.address))
            with Http2(way) as browser:
                for _ in range(10):
                    assert browser.status(browser.ask()) == 200
                    assert browser.status(_stream(browser, way)) == 200
        found = [each for each in app.seen if each.body]
        assert [(each.number, each.body) for each in found] == [(1, b"helloworld")] * 10


def _stream(browser: Http2, way: Way) -> int:
    pseudo = [(b":method", b"GET"), (b":path", b"/"), (b":scheme", b"https")]
    return browser.upload([*pseudo, (b":authority", way.host.encode())], [b"hello", b"world"])


class TestConnectionsThatTheAppCloses:
    def test_no_visitor_notices(self, app: Kept, port: int) -> None:
        app.behaviour = closes_second
        assert [ask(port, method) for method in REPEATABLE * 10] == [200] * 50
        assert max(each.number for each in app.seen) == 2

    def test_what_must_not_be_repeated_arrives_once(self, app: Kept, port: int) -> None:
        app.behaviour = closes_second
        sent = [b"%d" % number for number in range(50)]
        for body in sent:
            assert (ask(port), ask(port, "POST", body)) == (200, 200)
        assert [each.body for each in app.seen if each.method == "POST"] == sent

    def test_a_post_that_gets_no_answer_is_not_sent_again(self, app: Kept, port: int) -> None:
        app.behaviour = lambda _: None
        assert ask(port, "POST", b"x") == 502
        assert len(app.seen) == 1

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("half", [b"", b"HTTP/1.1 200 OK\r\nContent-Len"])
    def test_an_app_that_dies_before_its_answer_begins_is_a_502(
        self, app: Kept, port: int, method: str, half: bytes
    ) -> None:
        app.behaviour = lambda _: half
        assert ask(port, method) == 502
        assert len(app.seen) == (1 if method == "POST" else 4)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_an_answer_that_has_begun_is_never_asked_for_again(
        self, app: Kept, port: int, method: str
    ) -> None:
        app.behaviour = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
        with pytest.raises(http.client.IncompleteRead):
            ask(port, method)
        assert len(app.seen) == 1

    def test_idle_connections_close_by_themselves(self, app: Kept, port: int) -> None:
        visits = [threading.Thread(target=ask, args=(port,)) for _ in range(20)]
        for visit in visits:
            visit.start()
        for visit in visits:
            visit.join(60)
        wait_for(lambda: not app.open)


class TestSwitching:
    @pytest.fixture
    def lasting(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningRouter]:
        """A router whose idle connections stay."""
        monkeypatch.setattr("jobs.adapters.haproxy.config.IDLE_MS", 60_000)
        with running_router(tmp_path) as router:
            yield router

    def test_an_idle_connection_to_the_old_slot_is_neither_used_nor_counted_nor_left(
        self, lasting: RunningRouter
    ) -> None:
        port, adapter = lasting.ports[0], lasting.adapter
        with Kept() as old, Kept() as new:
            adapter.switch(Route(port, "a", old.address))
            assert ask(port) == 200
            assert len(old.open) == 1
            assert adapter.in_flight(port, "a") == 0
            adapter.switch(Route(port, "b", new.address))
            assert [ask(port) for _ in range(5)] == [200] * 5
            assert (len(old.seen), len(new.seen)) == (1, 5)
            adapter.detach(port, "a")
            wait_for(lambda: not old.open)
            assert new.open
            adapter.close(port)
            wait_for(lambda: not new.open)

    def test_a_slot_that_gets_another_address_forgets_its_connections(
        self, lasting: RunningRouter
    ) -> None:
        port, adapter = lasting.ports[0], lasting.adapter
        with Kept() as old, Kept() as new:
            adapter.switch(Route(port, "a", old.address))
            assert ask(port) == 200
            adapter.switch(Route(port, "a", new.address))
            assert ask(port) == 200
            wait_for(lambda: not old.open)
            assert (len(old.seen), len(new.seen)) == (1, 1)
