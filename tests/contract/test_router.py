"""The router's contract, on real HAProxy processes."""

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import ioctl
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from jobs.adapters.haproxy_router import HAProxyRouter
from jobs.adapters.ports import Route
from jobs.errors import RouterError
from tests.haproxy import LOCALHOST, RunningRouter, Upstream, free_ports, running_router, websocket

Connection = http.client.HTTPConnection


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningRouter]:
    with running_router(tmp_path) as router:
        yield router


@pytest.fixture
def router(running: RunningRouter) -> HAProxyRouter:
    return running.adapter


@pytest.fixture
def port(running: RunningRouter) -> int:
    return running.ports[0]


@pytest.fixture
def one() -> Iterator[Upstream]:
    with Upstream("one") as upstream:
        yield upstream


@pytest.fixture
def two() -> Iterator[Upstream]:
    with Upstream("two") as upstream:
        yield upstream


def visit(port: int, path: str = "/", *, host: str = LOCALHOST) -> tuple[int, str]:
    with closing(Connection(host, port, timeout=60)) as connection:
        return ask(connection, path)


def ask(connection: Connection, path: str = "/") -> tuple[int, str]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def wait_for(condition: Callable[[], object], *, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class TestSwitching:
    def test_a_port_without_a_release_says_so_in_plain_words(self, port: int) -> None:
        assert visit(port) == (503, "No release of this app is live yet.\n")

    def test_a_switch_sends_visitors_to_the_address(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        assert visit(port) == (200, "one")
        assert router.routes() == {port: Route(port, "a", one.address)}

    def test_switching_again_to_the_same_changes_nothing(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        for _ in range(3):
            router.switch(Route(port, "a", one.address))
        assert visit(port) == (200, "one")

    def test_a_visitor_who_stays_connected_meets_the_new_release(
        self, router: HAProxyRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        with closing(Connection(LOCALHOST, port, timeout=60)) as visitor:
            assert ask(visitor) == (200, "one")
            router.switch(Route(port, "b", two.address))
            assert ask(visitor) == (200, "two")
        assert router.routes() == {port: Route(port, "b", two.address)}

    def test_apps_do_not_share_what_is_live(
        self, running: RunningRouter, router: HAProxyRouter, one: Upstream, two: Upstream
    ) -> None:
        first, second, third, _ = running.ports
        router.switch(Route(first, "a", one.address))
        router.switch(Route(third, "b", two.address))
        assert [visit(port)[0] for port in (first, second, third)] == [200, 503, 200]
        assert set(router.routes()) == {first, third}

    def test_a_slot_can_be_given_another_address(
        self, router: HAProxyRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        router.switch(Route(port, "a", two.address))
        assert visit(port) == (200, "two")

    def test_a_switch_that_was_cut_off_is_no_route_until_it_is_done_again(
        self, router: HAProxyRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        router.switch(Route(port, "b", two.address))
        router._ask(f"set server port_{port}/a state ready")
        assert router.routes() == {}
        router.switch(Route(port, "b", two.address))
        assert router.routes() == {port: Route(port, "b", two.address)}

    def test_a_closed_port_answers_as_before_its_first_release(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        router.close(port)
        assert visit(port) == (503, "No release of this app is live yet.\n")
        assert router.routes() == {}

    def test_a_dead_app_gets_a_plain_503(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        with Upstream("dead") as dead:
            router.switch(Route(port, "a", dead.address))
        assert visit(port) == (503, "The app does not answer.\n")
        router.switch(Route(port, "b", one.address))
        assert visit(port) == (200, "one")

    def test_a_request_that_found_nobody_is_tried_again_on_the_new_slot(
        self, router: HAProxyRouter, port: int, two: Upstream
    ) -> None:
        with Upstream("dead") as dead:
            nowhere = dead.address
        # The router tries for three seconds: a switch that came later than that shows nothing.
        is_late = True
        while is_late:
            router.switch(Route(port, "a", nowhere))
            begun, late = time.monotonic(), list[float]()

            def switch() -> None:
                router.switch(Route(port, "b", two.address))
                late.append(time.monotonic() - begun)  # noqa: B023 — joined below

            switching = threading.Timer(0.3, switch)
            switching.start()
            answer = visit(port)
            switching.join()
            is_late = late[0] > 2
        assert answer == (200, "two")


class TestDraining:
    def test_an_idle_visitor_is_not_in_flight(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        with closing(Connection(LOCALHOST, port, timeout=60)) as visitor:
            ask(visitor)
            wait_for(lambda: router.in_flight(port, "a") == 0)
            assert ask(visitor) == (200, "one")

    def test_running_requests_count_down_to_nothing_on_the_old_slot(
        self, router: HAProxyRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        answers: list[tuple[int, str]] = []
        visitors = [
            threading.Thread(target=lambda: answers.append(visit(port, "/held"))) for _ in range(3)
        ]
        for visitor in visitors:
            visitor.start()
        wait_for(lambda: router.in_flight(port, "a") == 3)
        router.switch(Route(port, "b", two.address))
        assert visit(port) == (200, "two")
        assert router.in_flight(port, "a") == 3
        one.let_go.set()
        for visitor in visitors:
            visitor.join(timeout=60)
        wait_for(lambda: router.in_flight(port, "a") == 0)
        assert answers == [(200, "halfhalf")] * 3

    def test_a_websocket_lives_through_the_switch_and_is_cut_by_the_release(
        self, router: HAProxyRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        with closing(websocket(port)) as tunnel:
            assert router.in_flight(port, "a") == 1
            router.switch(Route(port, "b", two.address))
            tunnel.sendall(b"still here")
            assert tunnel.recv(100) == b"still here"
            assert router.in_flight(port, "a") == 1
            router.release(port, "a")
            assert tunnel.recv(100) == b""
        wait_for(lambda: router.in_flight(port, "a") == 0)
        assert visit(port) == (200, "two")

    def test_a_visitor_who_leaves_is_not_waited_for(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        with closing(Connection(LOCALHOST, port, timeout=60)) as visitor:
            visitor.request("GET", "/held")
            with closing(visitor.getresponse()) as answer:
                assert answer.read(4) == b"half"  # passed on before the rest exists
            assert router.in_flight(port, "a") == 1
        wait_for(lambda: router.in_flight(port, "a") == 0)

    def test_releasing_and_closing_again_is_fine(self, router: HAProxyRouter, port: int) -> None:
        for _ in range(2):
            router.release(port, "a")
            router.close(port)
        assert visit(port)[0] == 503


@dataclass
class Load:
    """Visitors of every kind, who keep asking until told to stop, and what they met."""

    port: int
    seen: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        kinds = [self._stays, self._stays, self._comes_and_goes, self._is_slow, self._is_slow]
        kinds += [self._posts, self._posts]
        visitors = [threading.Thread(target=kind) for kind in kinds]
        for visitor in visitors:
            visitor.start()
        try:
            yield
        finally:
            self._over.set()
            for visitor in visitors:
                visitor.join(timeout=90)

    def _stays(self) -> None:
        self._repeat("GET", "/")

    def _is_slow(self) -> None:
        self._repeat("GET", "/slow")

    def _posts(self) -> None:
        self._repeat("POST", "/")

    def _comes_and_goes(self) -> None:
        self._repeat("GET", "/", stays=False)

    def _repeat(self, method: str, path: str, *, stays: bool = True) -> None:
        with closing(Connection(LOCALHOST, self.port, timeout=60)) as connection:
            while not self._over.is_set():
                try:
                    self._once(connection, method, path)
                except (OSError, http.client.HTTPException) as exc:
                    self.failed.append(f"{method} {path}: {exc!r}")
                    connection.close()
                if not stays:
                    connection.close()

    def _once(self, connection: Connection, method: str, path: str) -> None:
        body = None
        if method == "POST":
            body = f"{threading.get_ident()} {time.monotonic_ns()}".encode()
            self.sent.append(sha256(body).hexdigest())
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status == 200:
            self.seen[text] += 1
        else:
            self.failed.append(f"{method} {path}: {answer.status} {text}")


class TestUnderLoad:
    def test_twenty_swaps_lose_no_request_and_double_none(
        self, router: HAProxyRouter, port: int
    ) -> None:
        upstreams = [Upstream(f"v{number}") for number in range(21)]
        load = Load(port)
        router.switch(Route(port, "a", upstreams[0].address))
        with load.running():
            for number in range(1, len(upstreams)):
                # Each is met by somebody before it goes.
                wait_for(lambda: load.seen[upstreams[number - 1].name])  # noqa: B023 — at once
                self._swap(router, port, number, upstreams)
            wait_for(lambda: load.seen[upstreams[-1].name])
        upstreams[-1].stop()

        assert load.failed == []
        assert set(load.seen) == {upstream.name for upstream in upstreams}
        received = [body for upstream in upstreams for body in upstream.posted]
        assert sorted(received) == sorted(load.sent)

    def _swap(
        self, router: HAProxyRouter, port: int, number: int, upstreams: list[Upstream]
    ) -> None:
        """Do as the deployment does: switch, drain, release, end the old one."""
        new, old = ("b", "a") if number % 2 else ("a", "b")
        router.switch(Route(port, new, upstreams[number].address))
        wait_for(lambda: router.in_flight(port, old) == 0)
        router.release(port, old)
        upstreams[number - 1].stop()

    def test_a_big_body_arrives_whole(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        body = bytes(range(256)) * 80_000
        with closing(Connection(LOCALHOST, port, timeout=60)) as connection:
            connection.request("POST", "/", body=body)
            assert connection.getresponse().status == 200
        assert one.posted == [sha256(body).hexdigest()]


class TestStarting:
    def test_a_router_that_crashed_serves_the_live_release_at_once(
        self, running: RunningRouter, port: int, one: Upstream
    ) -> None:
        running.adapter.switch(Route(port, "b", one.address))
        routes = running.adapter.routes()
        running.kill()
        running.start(routes.values())
        assert visit(port) == (200, "one")
        assert running.adapter.routes() == routes

    def test_the_release_live_at_start_can_be_switched_away_from(
        self, running: RunningRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        running.kill()
        running.start([Route(port, "a", one.address)])
        running.adapter.switch(Route(port, "b", two.address))
        running.adapter.release(port, "a")
        assert visit(port) == (200, "two")

    def test_the_port_of_another_program_is_left_alone(self, tmp_path: Path) -> None:
        ports = free_ports(5)
        with socket.create_server((LOCALHOST, ports[2])):
            usable = ports[:2] + ports[3:]
            with running_router(tmp_path, ports=usable) as running:
                assert [visit(port)[0] for port in usable] == [503] * 4
                with pytest.raises(RouterError, match=f"does not listen on port {ports[2]}"):
                    running.adapter.switch(Route(ports[2], "a", "127.0.0.1:9"))

    def test_two_routers_never_share_a_port(self, running: RunningRouter, tmp_path: Path) -> None:
        (tmp_path / "second").mkdir()
        with (
            pytest.raises(RuntimeError, match="Address already in use"),
            running_router(tmp_path / "second", ports=running.ports),
        ):
            pytest.fail("a second router took the first one's ports")

    def test_a_whole_range_of_ports_is_up_within_the_deadline(self, tmp_path: Path) -> None:
        ports = free_ports(1000)
        routes = [Route(port, "a", "127.0.0.1:9") for port in ports]
        with running_router(tmp_path, ports=ports, routes=routes) as running:
            assert running.adapter.routes() == {route.port: route for route in routes}

    def test_an_odd_folder_is_no_problem(self) -> None:
        # Not below `tmp_path`, which is too long for a socket in a folder of that name.
        with (
            TemporaryDirectory(prefix='it\'s a "data" dir #1') as folder,
            running_router(Path(folder)) as running,
        ):
            assert running.adapter.version().startswith("2.")

    def test_the_runtime_api_is_for_this_user_only(self, running: RunningRouter) -> None:
        assert (running.folder / "router.sock").stat().st_mode & 0o777 == 0o600


class TestRefusing:
    def test_without_a_router_every_call_says_so(self, tmp_path: Path) -> None:
        router = HAProxyRouter(tmp_path / "router.sock")
        calls: list[Callable[[], object]] = [
            router.version,
            router.routes,
            lambda: router.switch(Route(20000, "a", "127.0.0.1:9")),
            lambda: router.in_flight(20000, "a"),
            lambda: router.release(20000, "a"),
            lambda: router.close(20000),
        ]
        for call in calls:
            with pytest.raises(RouterError, match="the router does not answer"):
                call()

    def test_who_is_patient_waits_for_one_that_is_started_again(
        self, running: RunningRouter
    ) -> None:
        running.kill()
        starting = threading.Timer(0.5, running.start)
        starting.start()
        patient = HAProxyRouter(running.folder / "router.sock", patience_s=60)
        assert patient.routes() == {}
        starting.join()

    def test_a_router_that_hangs_is_given_up(self, tmp_path: Path) -> None:
        path = tmp_path / "router.sock"
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(path))
            silent.listen()
            started = time.monotonic()
            with pytest.raises(RouterError, match="timed out"):
                HAProxyRouter(path, timeout_s=0.2).routes()
        assert time.monotonic() - started < 30

    def test_a_router_that_dribbles_is_given_up(self, tmp_path: Path) -> None:
        path = tmp_path / "router.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            dribble = threading.Thread(target=_dribble, args=(listener,))
            dribble.start()
            started = time.monotonic()
            with pytest.raises(RouterError, match="the router does not answer"):
                HAProxyRouter(path, timeout_s=0.3).routes()
            assert time.monotonic() - started < 30
            dribble.join(timeout=60)

    def test_a_port_the_router_does_not_listen_on(self, router: HAProxyRouter) -> None:
        with pytest.raises(RouterError, match="does not listen on port 1999"):
            router.switch(Route(1999, "a", "127.0.0.1:9"))
        router.close(1999)
        router.release(1999, "a")
        assert router.in_flight(1999, "a") == 0

    @pytest.mark.parametrize(
        "route",
        [
            Route(20000, "c", "127.0.0.1:9"),
            Route(20000, "a; shutdown", "127.0.0.1:9"),
            Route(20000, "a", "localhost:80"),
            Route(20000, "a", "127.0.0.1"),
            Route(20000, "a", "127.0.0.1:99999"),
            Route(20000, "a", "127.0.0.1:9; show info"),
            Route(20000, "a", ""),
        ],
    )
    def test_a_route_that_makes_no_sense_never_reaches_the_router(
        self, tmp_path: Path, route: Route
    ) -> None:
        with pytest.raises(RouterError, match=r"slot|dial"):
            HAProxyRouter(tmp_path / "nobody-listens").switch(route)

    def test_what_the_router_refuses_is_told_in_its_own_words(
        self, tmp_path: Path, port: int
    ) -> None:
        """A router of another configuration: the port is there, its slots are not."""
        file = tmp_path / "refusing.sock"
        table = (
            f"1\n# be_id be_name srv_name srv_addr srv_port srv_admin_state\n3 port_{port} x - 0 0"
        )
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(file))
            listener.listen()
            answer = f"No such server.\n\n{table}\n\n".encode()
            refusing = threading.Thread(target=_answer_once, args=(listener, answer))
            refusing.start()
            with pytest.raises(RouterError, match=r"did not switch port \d+: No such server\."):
                HAProxyRouter(file).switch(Route(port, "a", "127.0.0.1:9"))
            refusing.join(timeout=60)


class TestForwarding:
    def test_each_request_has_a_connection_of_its_own_that_the_app_cannot_close_too_soon(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        assert headers_seen(LOCALHOST, port, {})["connection"] == "close"

    def test_a_large_cookie_gets_through(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        assert headers_seen(LOCALHOST, port, {"Cookie": "x" * 24_000})["cookie"] == "x" * 24_000

    def test_a_proxy_on_this_machine_is_believed(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        seen = headers_seen(LOCALHOST, port, {"X-Forwarded-For": "203.0.113.9"})
        assert seen["x-forwarded-for"] == "203.0.113.9"
        seen = headers_seen(LOCALHOST, port, {"X-Forwarded-Proto": "https"})
        assert (seen["x-forwarded-proto"], seen["x-forwarded-for"]) == ("https", LOCALHOST)

    def test_a_visitor_from_elsewhere_cannot_claim_to_be_another(
        self, tmp_path: Path, one: Upstream
    ) -> None:
        address = own_address()
        claims = {
            "X-Forwarded-For": "127.0.0.1",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "admin.example",
            "X-Forwarded-Port": "443",
            "X-Real-IP": "127.0.0.1",
            "Forwarded": "for=127.0.0.1",
            "Proxy": "http://evil.example",
        }
        with running_router(tmp_path, bind="0.0.0.0") as running:
            port = running.ports[0]
            running.adapter.switch(Route(port, "a", one.address))
            seen = headers_seen(address, port, claims)
        assert seen["x-forwarded-for"] == address
        assert seen["x-forwarded-proto"] == "http"
        assert seen["x-forwarded-host"] == seen["host"] == f"{address}:{port}"
        assert not {"x-forwarded-port", "x-real-ip", "forwarded", "proxy"} & set(seen)


def headers_seen(host: str, port: int, headers: dict[str, str]) -> dict[str, str]:
    with closing(Connection(host, port, timeout=60)) as connection:
        connection.request("GET", "/headers", headers=headers)
        found: dict[str, str] = json.loads(connection.getresponse().read())
        return found


def own_address() -> str:
    """Give an address of this machine that is not a loopback one."""
    get_address = 0x8915  # SIOCGIFADDR, from <linux/sockios.h>
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = ioctl(asking, get_address, name.encode().ljust(40, b"\0"))
                address = socket.inet_ntoa(answer[20:24])
                if not address.startswith("127."):
                    return address
    raise RuntimeError("this test needs a network interface besides the loopback one, say docker0")


def _answer_once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(answer)


def _dribble(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection, suppress(OSError):
        while True:  # until nobody listens any more
            connection.sendall(b"#")
            time.sleep(0.02)
