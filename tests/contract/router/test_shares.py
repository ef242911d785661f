"""No visitor and no app can use up what the others need: bounds on a router with few places."""

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
from jobs.rules.container_values import Route
from tests.contract.router.conftest import House, house
from tests.contract.router.raw import Http2, Mirror, Way, status
from tests.contract.router.visits import wait_for
from tests.haproxy import LOCALHOST

PLACES = FEWEST_PLACES
BOUND = Shares(PLACES)
SOMEBODY = "127.9.9.9"
SETTLED_WITHIN_S = 40.0  # idle visitors are shown out after 60


@pytest.fixture
def small(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path, policy=Policy(PLACES)) as found:
        yield found


@pytest.fixture
def crowd() -> Iterator["Crowd"]:
    with ExitStack() as stack:
        yield Crowd(stack)


class Crowd:
    """Visitors who hold connections for as long as they may."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.held: list[socket.socket] = []

    def idle(self, way: Way, sources: Sequence[str], each: int) -> None:
        """Stay connected: after a request that is refused, or before the handshake."""
        refused = b"" if way.trust else b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n"
        self._come(replace(way, trust=None), sources, each, refused)

    def dawdle(self, way: Way, sources: Sequence[str], each: int) -> None:
        """Send half of a head."""
        self._come(way, sources, each, f"GET / HTTP/1.1\r\nHost: {way.host}\r\nX-".encode())

    def wait(self, way: Way, sources: Sequence[str], each: int, *, host: str = "") -> None:
        """Ask an app that does not answer."""
        head = f"GET / HTTP/1.1\r\nHost: {host or way.host}\r\n\r\n"
        self._come(way, sources, each, head.encode())

    def _come(self, way: Way, sources: Sequence[str], each: int, sends: bytes) -> None:
        for source in sources:
            for _ in range(each):
                with suppress(OSError):
                    connection = self._stack.enter_context(way.connect(source=source))
                    self.held.append(connection)
                    connection.sendall(sends)

    def stay(self) -> int:
        """Count those who are still connected."""
        return sum(_is_open(connection) for connection in self.held)

    def settle(self, house: House, count: int) -> None:
        """Wait until so many are still connected, and the router knows of all of them."""
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while (stay := (self.stay(), counted(house))) != (count, count):
            assert time.monotonic() < deadline, f"{stay} are connected, not {count}"
            time.sleep(0.01)

    def leave(self) -> None:
        """Have all go."""
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
    """Count the connections that the router has noted down by their sources."""
    table = house.router.adapter._ask(f"show table {SOURCES}")
    return sum(int(found) for found in re.findall(r"conn_cur=(\d+)", table))


def sources(count: int, net: int = 1) -> list[str]:
    """Give that many addresses of this machine."""
    return [f"127.{net}.{number // 250}.{number % 250 + 1}" for number in range(count)]


def is_turned_away(way: Way, source: str = SOMEBODY) -> bool:
    """Whether a visitor's connection is closed at once who comes from there."""
    try:
        with way.plain(source) as connection:
            connection.settimeout(5)
            return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def answers(way: Way, source: str = SOMEBODY) -> bool:
    """Whether a visitor is answered who comes from there."""
    request = f"GET / HTTP/1.1\r\nHost: {way.host}\r\nConnection: close\r\n\r\n"
    return status(way.send(request.encode(), source=source)) == 200


def test_one_source_has_its_share_and_no_more(small: House, crowd: Crowd) -> None:
    way = small.ways["port"]
    crowd.idle(way, [LOCALHOST], BOUND.source + 20)
    crowd.settle(small, BOUND.source)
    assert is_turned_away(way, LOCALHOST)
    assert answers(way)
    for each in small.ways.values():  # its share is the same wherever it comes in
        assert is_turned_away(each, LOCALHOST)
    crowd.leave()
    wait_for(lambda: answers(way, LOCALHOST))


def test_one_app_has_its_share_and_the_others_go_on(small: House, crowd: Crowd) -> None:
    way = small.ways["port"]
    crowd.idle(way, sources(20), 20)
    crowd.settle(small, BOUND.app)
    assert is_turned_away(way)
    assert answers(small.other)
    assert answers(small.ways["https"])


def test_half_sent_requests_to_one_app_silence_no_other(small: House, crowd: Crowd) -> None:
    way = small.ways["port"]
    crowd.dawdle(way, sources(60), 20)
    assert answers(small.other)
    assert answers(small.ways["https"])
    assert answers(way, OWN_SOURCE)
    # In time they are shown out.
    crowd.settle(small, 0)
    assert answers(way)


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


def test_a_full_house_still_has_a_place_for_keystones_own_check(small: House, crowd: Crowd) -> None:
    port, http = small.ways["port"], small.ways["http"]
    crowd.idle(small.ways["https"], sources(200, net=1), BOUND.source_when_busy)
    crowd.idle(http, sources(200, net=2), BOUND.source_when_busy)
    crowd.idle(port, sources(200, net=3), BOUND.source_when_busy)
    crowd.settle(small, BOUND.visitors)
    assert all(is_turned_away(way) for way in small.ways.values())
    looked = HttpProbe().look(LOCALHOST, port.port, "/", timeout_s=60)
    assert looked.status == 200
    assert answers(port, OWN_SOURCE)
    crowd.leave()
    wait_for(lambda: all(answers(way) for way in small.ways.values()))


def test_one_way_in_leaves_room_for_the_others(small: House, crowd: Crowd) -> None:
    crowd.idle(small.ways["https"], sources(200), BOUND.source_when_busy)
    crowd.settle(small, BOUND.way_in)
    assert is_turned_away(small.ways["https"])
    assert answers(small.ways["http"])
    assert answers(small.ways["port"])


def test_a_trusted_proxy_speaks_for_many(tmp_path: Path, crowd: Crowd) -> None:
    policy = Policy(PLACES, (ip_network("127.0.0.1/32"),))
    with house(tmp_path, policy=policy) as found:
        crowd.idle(found.ways["http"], [LOCALHOST], BOUND.busy + 20)
        crowd.settle(found, BOUND.busy + 20)
        assert answers(found.ways["https"], LOCALHOST)
        # Its visitors share the apps' ports, as everybody does.
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
    """One connection brings a hundred requests, and they are counted."""

    def test_one_source_has_its_share_of_requests(self, small: House) -> None:
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

    def test_all_together_leave_room_for_connections_to_apps(self, small: House) -> None:
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


def test_a_network_of_ipv6_is_one_source_and_ipv4_is_not_all_one(tmp_path: Path) -> None:
    """Played in a network of its own, which may have any address."""
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
