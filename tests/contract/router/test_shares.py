"""No visitor and no app can use up the router's places: limits, on a router with few places."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from jobs.adapters.haproxy.frontends import Policy
from jobs.adapters.haproxy.shares import FEWEST_PLACES, OWN_SOURCE, SOURCES, Shares
from jobs.adapters.http_probe import HttpProbe
from jobs.rules.container_values import HealthRequest, Route
from tests.contract.router.conftest import House, house
from tests.contract.router.raw import Http2, Mirror, Way, status
from tests.contract.router.visits import wait_for
from tests.haproxy import LOCALHOST

PLACES = FEWEST_PLACES
BOUND = Shares(PLACES)
SOMEBODY = "127.9.9.9"
SETTLED_WITHIN_S = 40.0  # the router disconnects idle visitors after 60 s


@pytest.fixture
def small(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path, policy=Policy(PLACES)) as found:
        yield found


@pytest.fixture
def crowd() -> Iterator["Crowd"]:
    with ExitStack() as stack:
        yield Crowd(stack)


class Crowd:
    """Visitors who hold connections as long as the router allows."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.held: list[socket.socket] = []

    def idle(self, way: Way, sources: Sequence[str], each: int) -> None:
        """Connect and stay idle: after a refused request, or before the TLS handshake."""
        refused = b"" if way.trust else b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n"
        self._come(replace(way, trust=None), sources, each, refused)

    def dawdle(self, way: Way, sources: Sequence[str], each: int) -> None:
        """Connect and send half of a request's head."""
        self._come(way, sources, each, f"GET / HTTP/1.1\r\nHost: {way.host}\r\nX-".encode())

    def wait(self, way: Way, sources: Sequence[str], each: int, *, host: str = "") -> None:
        """Send requests to an app that does not answer."""
        head = f"GET / HTTP/1.1\r\nHost: {host or way.host}\r\n\r\n"
        self._come(way, sources, each, head.encode())

    def tunnel(self, way: Way, sources: Sequence[str], each: int) -> list[int]:
        """Open WebSockets one after another, and give the statuses; 0: refused without one."""
        return [self._tunnel(way, source) for source in sources for _ in range(each)]

    def _tunnel(self, way: Way, source: str) -> int:
        with suppress(ConnectionError):
            connection = self._stack.enter_context(way.connect(source=source))
            connection.sendall(upgrade(way))
            found = status(connection.recv(65536))
            if found == 101:
                self.held.append(connection)
            else:
                connection.close()
            return found
        return 0

    def _come(self, way: Way, sources: Sequence[str], each: int, sends: bytes) -> None:
        for source in sources:
            for _ in range(each):
                with suppress(OSError):
                    connection = self._stack.enter_context(way.connect(source=source))
                    self.held.append(connection)
                    connection.sendall(sends)

    def stay(self) -> int:
        """Count the open connections."""
        return sum(_is_open(connection) for connection in self.held)

    def settle(self, house: House, count: int) -> None:
        """Wait until exactly that many connections are open, and the router counts as many."""
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while (stay := (self.stay(), counted(house))) != (count, count):
            assert time.monotonic() < deadline, f"{stay} are connected, not {count}"
            time.sleep(0.01)

    def leave(self) -> None:
        """Close all connections."""
        self._stack.close()
        self.held.clear()


def _is_open(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def counted(house: House) -> int:
    """Count the connections in the router's table of sources."""
    table = house.router.adapter._ask(f"show table {SOURCES}")
    return sum(int(found) for found in re.findall(r"conn_cur=(\d+)", table))


def sources(count: int, net: int = 1) -> list[str]:
    """Give that many loopback addresses."""
    return [f"127.{net}.{number // 250}.{number % 250 + 1}" for number in range(count)]


def upgrade(way: Way) -> bytes:
    """Give the request for a WebSocket."""
    lines = (
        "GET / HTTP/1.1",
        f"Host: {way.host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    return "\r\n".join((*lines, "\r\n")).encode()


def is_turned_away(way: Way, source: str = SOMEBODY) -> bool:
    """Whether the router closes a new connection from that address at once."""
    try:
        with way.plain(source) as connection:
            connection.settimeout(5)
            return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def answers(way: Way, source: str = SOMEBODY) -> bool:
    """Whether a visitor from that address gets an answer."""
    request = f"GET / HTTP/1.1\r\nHost: {way.host}\r\nConnection: close\r\n\r\n"
    return status(way.send(request.encode(), source=source)) == 200


def test_one_source_cannot_exceed_its_share(small: House, crowd: Crowd) -> None:
    way = small.ways["port"]
    crowd.idle(way, [LOCALHOST], BOUND.source + 20)
    crowd.settle(small, BOUND.source)
    assert is_turned_away(way, LOCALHOST)
    assert answers(way)
    for each in small.ways.values():  # the limit of a source is the same at every entrance
        assert is_turned_away(each, LOCALHOST)
    crowd.leave()
    wait_for(lambda: answers(way, LOCALHOST))


def test_one_app_cannot_exceed_its_share_and_the_others_keep_serving(
    small: House, crowd: Crowd
) -> None:
    way = small.ways["port"]
    crowd.idle(way, sources(20), 20)
    crowd.settle(small, BOUND.app)
    assert is_turned_away(way)
    assert answers(small.other)
    assert answers(small.ways["https"])


def test_half_sent_requests_to_one_app_do_not_block_others(small: House, crowd: Crowd) -> None:
    way = small.ways["port"]
    crowd.dawdle(way, sources(60), 20)
    assert answers(small.other)
    assert answers(small.ways["https"])
    assert answers(way, OWN_SOURCE)
    # The router disconnects them after a while.
    crowd.settle(small, 0)
    assert answers(way)


@pytest.mark.parametrize("entrance", ["http", "https"])
def test_half_sent_requests_to_one_domain_do_not_block_others(
    small: House, crowd: Crowd, entrance: str
) -> None:
    """Until its host has arrived, a request belongs to no app: 8,000 of 20,480 places, here 200."""
    way, other = small.ways[entrance], "other.example.org"
    small.router.adapter.serve_domains({way.host: small.ways["port"].port, other: small.other.port})
    crowd.dawdle(way, sources(20), PLACES * 8000 // 20_480 // 20)
    assert status(small.ways["http"].get(host=other.encode())) == 200
    assert answers(small.other)
    assert answers(way)


class TestTunnels:
    """A WebSocket may last for hours."""

    @pytest.fixture(autouse=True)
    def _speaks_websocket(self, small: House) -> None:
        self._speak_websocket(small.app)

    def _speak_websocket(self, app: Mirror) -> None:
        app.adds = [
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        ]
        app.status = b"101 Switching Protocols"

    @pytest.fixture
    def other_app(self, small: House) -> Iterator[Mirror]:
        with Mirror() as other:
            small.router.adapter.switch(Route(small.other.port, "b", other.address))
            yield other

    @pytest.mark.parametrize("entrance", ["port", "http", "https"])
    def test_those_of_one_app_cannot_use_all_of_its_share(
        self, small: House, crowd: Crowd, other_app: Mirror, entrance: str
    ) -> None:
        way = small.ways[entrance]
        found = crowd.tunnel(way, sources(BOUND.tunnels), 1)
        assert found == [101] * BOUND.tunnels
        assert set(crowd.tunnel(way, sources(9, net=2), 2)) == {503}
        # Its other visitors, and those of other apps, notice nothing.
        small.app.status, small.app.adds = b"200 OK", []
        assert answers(way)
        assert answers(small.other)
        assert other_app.seen
        crowd.leave()
        self._speak_websocket(small.app)
        wait_for(lambda: crowd.tunnel(way, [SOMEBODY], 1) == [101])

    def test_those_of_one_visitor_are_few(self, small: House, crowd: Crowd) -> None:
        way, most = small.ways["http"], BOUND.source_when_busy
        assert crowd.tunnel(way, [LOCALHOST], most) == [101] * most
        assert set(crowd.tunnel(way, [LOCALHOST], 5)) == {429}
        assert crowd.tunnel(way, [SOMEBODY], 1) == [101]

    def test_those_of_three_apps_leave_places_for_others(
        self, small: House, crowd: Crowd, other_app: Mirror
    ) -> None:
        """Each has many visitors, and its tunnels stay."""
        third, fourth = (replace(small.other, port=port) for port in small.router.ports[2:4])
        for way in (third, fourth):
            small.router.adapter.switch(Route(way.port, "a", small.app.address))
        for net, way in enumerate((small.ways["port"], third, fourth), start=1):
            crowd.tunnel(way, sources(BOUND.app, net=net), 1)
        assert crowd.stay() <= 2 * BOUND.tunnels + BOUND.app_when_busy
        assert answers(small.other)
        assert other_app.seen


def test_shares_are_smaller_while_the_router_is_busy(small: House, crowd: Crowd) -> None:
    crowd.idle(small.ways["https"], sources(10), 20)
    crowd.settle(small, BOUND.busy)
    assert answers(small.ways["http"])


def test_a_busy_router_still_has_room_for_new_sources(small: House, crowd: Crowd) -> None:
    crowd.idle(small.ways["https"], sources(17), BOUND.source_when_busy)
    before = 17 * BOUND.source_when_busy
    assert before > BOUND.busy
    crowd.settle(small, before)
    crowd.idle(small.ways["http"], [SOMEBODY], BOUND.source_when_busy + 5)
    crowd.settle(small, before + BOUND.source_when_busy)
    crowd.idle(small.other, sources(12, net=2), BOUND.source_when_busy)
    crowd.settle(small, before + BOUND.source_when_busy + BOUND.app_when_busy)


def test_a_full_router_still_has_a_place_for_keystones_own_check(
    small: House, crowd: Crowd
) -> None:
    port, http = small.ways["port"], small.ways["http"]
    crowd.idle(small.ways["https"], sources(200, net=1), BOUND.source_when_busy)
    crowd.idle(http, sources(200, net=2), BOUND.source_when_busy)
    crowd.idle(port, sources(200, net=3), BOUND.source_when_busy)
    crowd.settle(small, BOUND.visitors)
    assert all(is_turned_away(way) for way in small.ways.values())
    looked = HttpProbe().look(LOCALHOST, port.port, HealthRequest("/"), timeout_s=60)
    assert looked.status == 200
    assert answers(port, OWN_SOURCE)
    crowd.leave()
    wait_for(lambda: all(answers(way) for way in small.ways.values()))


def test_one_full_entrance_leaves_places_for_the_others(small: House, crowd: Crowd) -> None:
    crowd.idle(small.ways["https"], sources(200), BOUND.source_when_busy)
    crowd.settle(small, BOUND.way_in)
    assert is_turned_away(small.ways["https"])
    assert answers(small.ways["http"])
    assert answers(small.ways["port"])


def test_a_trusted_proxy_may_hold_more_than_one_sources_share(tmp_path: Path, crowd: Crowd) -> None:
    policy = Policy(PLACES, (ip_network("127.0.0.1/32"),))
    with house(tmp_path, policy=policy) as found:
        crowd.idle(found.ways["http"], [LOCALHOST], BOUND.busy + 20)
        crowd.settle(found, BOUND.busy + 20)
        assert answers(found.ways["https"], LOCALHOST)
        # The proxy's visitors share the apps' ports with all others.
        crowd.idle(found.ways["port"], [LOCALHOST], BOUND.app_when_busy + 20)
        crowd.settle(found, BOUND.busy + 20 + BOUND.app_when_busy)
        assert answers(found.other, LOCALHOST)


def test_a_slow_app_holds_no_more_requests_than_its_share(small: House, crowd: Crowd) -> None:
    way, other = small.ways["http"], "other.example.org"
    small.router.adapter.serve_domains({way.host: small.ways["port"].port, other: small.other.port})
    small.app.may_answer.clear()
    with Mirror() as quick:
        small.router.adapter.switch(Route(small.other.port, "b", quick.address))
        crowd.wait(way, sources(10), 30)
        wait_for(lambda: len(small.app.seen) == BOUND.app)
        refused = way.get()
        assert (status(refused), b"\r\nretry-after: 1\r\n" in refused) == (503, True)
        assert status(way.get(host=other.encode())) == 200


class TestHttp2:
    """One connection can carry a hundred requests, and the router counts them."""

    def test_one_source_cannot_exceed_its_share_of_requests(self, small: House) -> None:
        small.app.may_answer.clear()
        with Http2(small.ways["https"]) as greedy, Http2(small.ways["https"], SOMEBODY) as other:
            streams = [greedy.ask() for _ in range(BOUND.source + 20)]
            refused = [greedy.status(stream) for stream in streams[BOUND.source :]]
            assert refused == [429] * 20
            assert len(greedy.statuses) == 20
            wait_for(lambda: len(small.app.seen) == BOUND.source)
            stream = other.ask()
            wait_for(lambda: len(small.app.seen) == BOUND.source + 1)
            small.app.may_answer.set()
            assert other.status(stream) == 200
            assert {greedy.status(stream) for stream in streams[: BOUND.source]} == {200}

    def test_all_sources_together_leave_places_for_connections_to_apps(self, small: House) -> None:
        small.app.may_answer.clear()
        with ExitStack() as stack:
            browsers = [
                stack.enter_context(Http2(small.ways["https"], source)) for source in sources(8)
            ]
            asked = [(browser, browser.ask()) for browser in browsers for _ in range(40)]
            over = len(asked) - BOUND.busy
            wait_for(lambda: len(small.app.seen) == BOUND.busy)
            small.app.may_answer.set()
            found = [browser.status(stream) for browser, stream in asked]
            assert (found.count(200), found.count(503)) == (BOUND.busy, over)
            assert answers(small.ways["port"])


def test_an_ipv6_network_is_one_source_and_ipv4_addresses_are_separate(tmp_path: Path) -> None:
    """Runs in a separate network namespace, which can use any address."""
    played = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.contract.router.by_ipv6", str(tmp_path)],
        check=True,
        capture_output=True,
        timeout=240,
    )
    assert json.loads(played.stdout) == {
        "one address": BOUND.source,
        "another of its 64 bits": 0,
        "another network": 5,
        "an address of IPv4": 5,
        "another one": 5,
    }
