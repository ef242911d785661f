"""Keystone's own address, on a real HAProxy: who gets there, with what, and how long they wait."""

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.adapters.haproxy.frontends import DomainDoors, Policy
from jobs.adapters.haproxy.own_address import OwnAddress
from jobs.processes.router_control import reload_router
from jobs.rules.container_values import Route
from tests.certificates import Authority
from tests.contract.router.raw import END_OF_HEAD, Mirror, Way, status
from tests.contract.router.visits import wait_for
from tests.haproxy import LOCALHOST, PLACES, RunningRouter, Upstream, free_ports, running_router
from tests.kept_router import KeptRouter, kept_router

NAME, ADDRESS = "keystone.example.org", "203.0.113.5"
KEY = SecretStr("r0uter-key_" + "k" * 32)
COOKIE = b"__Host-keystone_session_abcdef=s3cret"
HOOK = "/webhooks/github"
REFUSED_AFTER_S = 9.0
GITHUB_WAITS_S = 10.0


@dataclass
class Place:
    """A router that serves Keystone's own address, and an app with a wildcard that covers it."""

    router: RunningRouter
    web: Mirror
    app: Mirror
    http: Way
    https: Way


@contextmanager
def place(folder: Path, *, host: str = NAME, is_https: bool = True) -> Iterator[Place]:
    http_port, https_port = free_ports(2)
    authority = Authority()
    with Mirror() as web, Mirror() as app, ExitStack() as stack:
        own = OwnAddress(host, web.address, KEY, is_https=is_https)
        router = stack.enter_context(
            running_router(
                folder,
                doors=DomainDoors(LOCALHOST, http=http_port, https=https_port),
                policy=Policy(PLACES, address=own),
            )
        )
        port = router.ports[0]
        router.adapter.switch(Route(port, "a", app.address))
        router.adapter.serve_domains({"*.example.org": port, NAME: port, "other.example.net": port})
        certified = authority.issue(NAME).bundle
        router.adapter.serve_certificates({NAME: certified})
        http_way = Way(http_port, host, "example.org")
        https_way = Way(https_port, NAME, "example.org", authority.trust)
        yield Place(router, web, app, http_way, https_way)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("own")) as found:
        yield found


@pytest.fixture
def there(shared: Place) -> Place:
    for mirror in (shared.web, shared.app):
        mirror.seen.clear()
        mirror.adds.clear()
    return shared


class TestWhoGetsThere:
    def test_its_name_wins_over_every_domain_of_an_app(self, there: Place) -> None:
        assert status(there.https.get()) == 200
        assert status(there.https.get(host=b"KEYSTONE.example.org.:8443")) == 200
        assert (len(there.web.seen), len(there.app.seen)) == (2, 0)

    def test_other_names_get_to_the_app(self, there: Place) -> None:
        assert status(there.http.get(host=b"other.example.org")) == 200
        assert status(there.http.get(host=b"x.keystone.example.org")) == 421
        assert (len(there.web.seen), len(there.app.seen)) == (0, 1)

    def test_an_apps_own_port_never_leads_there(self, there: Place) -> None:
        port = Way(there.router.ports[0], NAME, "example.org")
        assert status(port.get()) == 200
        assert (len(there.web.seen), len(there.app.seen)) == (0, 1)

    def test_with_a_certificate_http_leads_to_https(self, there: Place) -> None:
        answer = there.http.get(target=b"/apps?x=1")
        assert status(answer) == 308
        where = f"https://{NAME}:{there.https.port}/apps?x=1"
        assert f"location: {where}\r\n".encode() in answer.lower()

    def test_a_public_url_by_http_is_served_by_http(self, tmp_path: Path) -> None:
        with place(tmp_path, is_https=False) as found:
            assert status(found.http.get()) == 200
            assert status(found.https.get()) == 200
            assert len(found.web.seen) == 2

    def test_it_may_be_an_ip_address(self, tmp_path: Path) -> None:
        with place(tmp_path, host=ADDRESS, is_https=False) as found:
            assert status(found.http.get()) == 200
            assert status(found.http.get(host=b"203.0.113.6")) == 421
            assert len(found.web.seen) == 1


class TestWhatArrives:
    def test_the_routers_key_and_the_visitors_address_and_scheme(self, there: Place) -> None:
        there.https.get()
        assert there.web.values(b"x-keystone-router") == [KEY.get_secret_value().encode()]
        assert there.web.values(b"x-forwarded-for") == [LOCALHOST.encode()]
        assert there.web.values(b"x-forwarded-proto") == [b"https"]
        assert there.web.values(b"host") == [NAME.encode()]

    @pytest.mark.parametrize(
        "name", [b"X-Keystone-Router", b"x-keystone-router", b"X_Keystone_Router"]
    )
    def test_no_visitor_can_send_the_key_or_an_address(self, there: Place, name: bytes) -> None:
        forged = (name + b": forged", b"X-Forwarded-For: 192.0.2.7", b"X-Forwarded-Proto: gopher")
        there.https.get(*forged, name + b": forged again")
        assert b"forged" not in there.web.seen[0]
        assert b"192.0.2.7" not in there.web.seen[0]
        assert b"gopher" not in there.web.seen[0]

    def test_session_cookies_pass_in_both_directions(self, there: Place) -> None:
        there.web.adds.append(b"Set-Cookie: " + COOKIE + b"; Secure; Path=/")
        answer = there.https.get(b"Cookie: a=1; " + COOKIE)
        assert there.web.values(b"cookie") == [b"a=1; " + COOKIE]
        assert COOKIE in answer

    def test_an_app_still_gets_none_and_sets_none(self, there: Place) -> None:
        there.app.adds.append(b"Set-Cookie: " + COOKIE)
        answer = there.http.get(b"Cookie: a=1; " + COOKIE, host=b"other.example.org")
        assert there.app.values(b"cookie") == [b"a=1"]
        assert COOKIE not in answer
        # Also not on its own port with Keystone's name in the request.
        there.app.seen.clear()
        port = Way(there.router.ports[0], NAME, "example.org")
        assert COOKIE not in port.get(b"Cookie: a=1; " + COOKIE)
        assert there.app.values(b"cookie") == [b"a=1"]


# --- Waiting ---------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    text: str
    headers: dict[str, str]
    took_s: float


@dataclass
class Web:
    """A router without TLS in front of a web process that starts when the test says so."""

    router: RunningRouter | KeptRouter
    port: int  # of the router
    web_port: int
    asking: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(20))

    def ask(self, method: str = "GET", path: str = "/", body: bytes | None = None) -> Answer:
        began = time.monotonic()
        with closing(http.client.HTTPConnection(LOCALHOST, self.port, timeout=60)) as connection:
            connection.request(method, path, body, {"Host": NAME})
            answer = connection.getresponse()
            text = answer.read().decode()
        took_s = time.monotonic() - began
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, text, headers, took_s)

    def later(
        self, method: str = "GET", path: str = "/", body: bytes | None = None
    ) -> Future[Answer]:
        return self.asking.submit(self.ask, method, path, body)

    def retries(self) -> int:
        """Count the router's attempts to connect after the first one of each request."""
        rows = self.router.adapter._ask("show stat keystone 4 -1").splitlines()
        names = next(row for row in rows if row.startswith("# ")).removeprefix("# ").split(",")
        web = next(row for row in rows if row.startswith("keystone,web,")).split(",")
        return int(web[names.index("wretr")])


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    router_port, web_port = free_ports(2)
    own = OwnAddress(NAME, f"{LOCALHOST}:{web_port}", KEY, is_https=False)
    doors = DomainDoors(LOCALHOST, http=router_port)
    policy = Policy(PLACES, address=own)
    with running_router(tmp_path, doors=doors, policy=policy) as router:
        found = Web(router, router_port, web_port)
        with found.asking:
            yield found


class Flaky:
    """A web process that reads requests, loses the first ones and answers the others."""

    def __init__(self, port: int, *, loses: int) -> None:
        self.seen: list[bytes] = []
        self._loses = loses
        self._socket = socket.create_server((LOCALHOST, port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    self.seen.append(self._read(connection))
                    if len(self.seen) > self._loses:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except OSError:
            return

    def _read(self, connection: socket.socket) -> bytes:
        connection.settimeout(60)
        request = b""
        while END_OF_HEAD not in request:
            request += connection.recv(65536)
        head, _, body = request.partition(END_OF_HEAD)
        declared = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        while declared and len(body) < int(declared[1]):
            body += connection.recv(65536)
        return head + END_OF_HEAD + body

    def __enter__(self) -> "Flaky":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(60)


SMALL, TYPICAL, LARGE = b"x" * 100, b"x" * 20_000, b"x" * 3_000_000
REQUESTS = [
    ("GET", "/", None),
    ("POST", "/login", SMALL),
    ("POST", HOOK, TYPICAL),
    ("POST", HOOK, LARGE),
    ("DELETE", "/api/apps/web", None),
]


class TestWaiting:
    def test_every_request_waits_for_a_web_process_that_starts(self, web: Web) -> None:
        waiting = [web.later(*request) for request in REQUESTS]
        wait_for(lambda: web.retries() >= len(REQUESTS))
        with Flaky(web.web_port, loses=0):
            answers = [each.result() for each in waiting]
        assert [answer.status for answer in answers] == [200] * len(REQUESTS)

    def test_it_waits_nine_seconds_at_most_and_then_says_so(self, web: Web) -> None:
        # A visitor that still sends its body when the router gives up may not see the answer.
        sent = [request for request in REQUESTS if request[2] is not LARGE]
        answers = [each.result() for each in [web.later(*request) for request in sent]]
        assert {answer.status for answer in answers} == {503}
        assert {answer.headers["retry-after"] for answer in answers} == {"5"}
        assert all(answer.text.startswith("Keystone is not running") for answer in answers)
        quickest = min(answer.took_s for answer in answers)
        assert REFUSED_AFTER_S - 0.5 <= quickest < GITHUB_WAITS_S

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("GET", "/", None),
            ("HEAD", "/", None),
            ("POST", HOOK, SMALL),
            ("POST", f"{HOOK}/", SMALL),
            ("POST", HOOK, TYPICAL),
        ],
    )
    def test_a_harmless_request_that_was_lost_is_repeated(
        self, web: Web, method: str, path: str, body: bytes | None
    ) -> None:
        with Flaky(web.web_port, loses=2) as flaky:
            assert web.ask(method, path, body).status == 200
        assert len(flaky.seen) == 3
        assert all(seen.endswith(END_OF_HEAD + (body or b"")) for seen in flaky.seen)

    @pytest.mark.parametrize(
        ("method", "path"),
        [("POST", "/login"), ("POST", "/webhooks/github/x"), ("PUT", HOOK), ("DELETE", "/api/x")],
    )
    def test_any_other_request_is_sent_once(self, web: Web, method: str, path: str) -> None:
        with Flaky(web.web_port, loses=2) as flaky:
            assert web.ask(method, path, SMALL).status == 502
        assert len(flaky.seen) == 1

    def test_a_delivery_beyond_the_buffer_is_not_repeated(self, web: Web) -> None:
        with Flaky(web.web_port, loses=1) as flaky:
            assert web.ask("POST", HOOK, LARGE).status == 502
        assert len(flaky.seen) == 1

    def test_a_delivery_that_arrives_slowly_is_repeated_too(self, web: Web) -> None:
        head = f"POST {HOOK} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 4\r\n\r\n".encode()
        with (
            Flaky(web.web_port, loses=1) as flaky,
            closing(socket.create_connection((LOCALHOST, web.port), 60)) as github,
        ):
            github.sendall(head + b"ab")
            time.sleep(0.5)
            assert flaky.seen == []
            github.sendall(b"cd")
            assert status(github.recv(65536)) == 200
        assert len(flaky.seen) == 2

    def test_an_answer_may_take_longer_than_the_wait(self, web: Web) -> None:
        with socket.create_server((LOCALHOST, web.web_port)) as server:
            waiting = web.later()
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                time.sleep(REFUSED_AFTER_S + 2)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                assert waiting.result().status == 200


class TestReloading:
    """A reload replaces the worker; requests that wait in the old one must not be lost."""

    def test_waiting_requests_survive_a_reload(self, tmp_path: Path) -> None:
        router_port, web_port = free_ports(2)
        own = OwnAddress(NAME, f"{LOCALHOST}:{web_port}", KEY, is_https=False)
        policy = Policy(PLACES, address=own)
        with (
            kept_router(tmp_path, http=router_port, policy=policy) as router,
            ThreadPoolExecutor(2 * len(REQUESTS)) as asking,
        ):
            web = Web(router, router_port, web_port, asking)
            waiting = [web.later(*request) for request in REQUESTS]
            wait_for(lambda: web.retries() >= len(REQUESTS))
            reload_router(router.run_dir)
            waiting += [web.later(*request) for request in REQUESTS]
            wait_for(lambda: web.retries() >= len(REQUESTS))
            with Flaky(web_port, loses=0):
                assert [each.result().status for each in waiting] == [200] * 2 * len(REQUESTS)

    def test_it_releases_new_requests(self, tmp_path: Path) -> None:
        router_port, web_port = free_ports(2)
        own = OwnAddress(NAME, f"{LOCALHOST}:{web_port}", KEY, is_https=False)
        policy = Policy(PLACES, address=own)
        with (
            kept_router(tmp_path, http=router_port, policy=policy) as router,
            Flaky(web_port, loses=0),
        ):
            router.adapter.hold()
            reload_router(router.run_dir)
            assert Web(router, router_port, web_port).ask().status == 200


class TestHolding:
    def test_requests_wait_until_they_are_released(self, web: Web) -> None:
        router = web.router.adapter
        with Flaky(web.web_port, loses=0) as flaky:
            assert web.ask().status == 200
            router.hold()
            router.hold()
            waiting = [web.later(*request) for request in REQUESTS]
            wait_for(lambda: web.retries() >= 2 * len(REQUESTS))
            assert len(flaky.seen) == 1
            router.release()
            router.release()
            assert {each.result().status for each in waiting} == {200}
            assert web.ask().status == 200

    def test_a_request_under_way_is_finished(self, web: Web) -> None:
        with socket.create_server((LOCALHOST, web.web_port)) as server:
            waiting = web.later("POST", "/login", SMALL)
            connection, _ = server.accept()
            with connection:
                web.router.adapter.hold()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                assert waiting.result().status == 200

    def test_a_router_that_starts_again_holds_nothing(self, web: Web) -> None:
        web.router.adapter.hold()
        assert isinstance(web.router, RunningRouter)
        web.router.kill()
        web.router.start()
        with Flaky(web.web_port, loses=0):
            assert web.ask().status == 200

    def test_holding_disturbs_no_app(self, web: Web) -> None:
        adapter, port = web.router.adapter, web.router.ports[0]
        with Upstream("app") as app:
            adapter.switch(Route(port, "a", app.address))
            adapter.serve_domains({"app.example.com": port})
            adapter.hold()
            with closing(http.client.HTTPConnection(LOCALHOST, web.port, timeout=60)) as visitor:
                visitor.request("GET", "/", headers={"Host": "app.example.com"})
                assert visitor.getresponse().status == 200
            assert list(adapter.routes()) == [port]
