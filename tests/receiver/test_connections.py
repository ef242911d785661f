"""The pool of connections: which one is evicted, and what nobody else can use up."""

import resource
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from jobs.rules.naming import ROUTER_SOURCE
from receiver.connections import (
    KEPT_FILES,
    WANTED_FILES,
    Bounds,
    Pool,
    Share,
    bounds_for,
    raise_file_limit,
)

HERE, THERE, GITHUB = "192.0.2.1", "192.0.2.2", "140.82.112.1"
SMALL = Bounds(
    connections=20,
    waiting_of_one=4,
    requests=8,
    requests_of_one=5,
    deliveries=4,
    deliveries_of_one=3,
)


@dataclass(eq=False)
class Wire:
    """A connection that only remembers whether it was evicted."""

    is_evicted: bool = False

    def evict(self) -> None:
        self.is_evicted = True


@dataclass
class Pooled:
    """A small pool, and those who come to it."""

    pool: Pool = field(default_factory=lambda: Pool(SMALL))

    def come(self, count: int, peer: str) -> list[Wire]:
        wires = [Wire() for _ in range(count)]
        for wire in wires:
            self.pool.open(wire, peer)
        return wires

    def ask(
        self,
        peer: str,
        *,
        is_delivery: bool = False,
        is_whole: bool = True,
        visitor: str | None = None,
    ) -> Share | None:
        (wire,) = self.come(1, peer)
        return self.pool.start(wire, is_delivery=is_delivery, is_whole=is_whole, visitor=visitor)

    def deliver(self, peer: str = GITHUB, *, is_whole: bool = True) -> Share | None:
        return self.ask(peer, is_delivery=True, is_whole=is_whole)


def out(wires: list[Wire]) -> list[bool]:
    return [wire.is_evicted for wire in wires]


class TestWaiting:
    def test_of_one_address_the_oldest_makes_way(self) -> None:
        there = Pooled()
        first = there.come(4, HERE)
        others = there.come(4, THERE)
        there.come(2, HERE)
        assert out(first) == [True, True, False, False]
        assert not any(out(others))

    def test_one_customer_s_network_is_one_address(self) -> None:
        there = Pooled()
        first = [there.come(1, f"2001:db8::{number:x}")[0] for number in range(5)]
        assert out(first) == [True, False, False, False, False]

    def test_of_all_the_oldest_makes_way_when_there_is_no_room(self) -> None:
        there = Pooled()
        wires = [there.come(1, f"192.0.2.{number}")[0] for number in range(30)]
        assert out(wires) == [True] * 10 + [False] * 20

    def test_whoever_was_answered_counts_as_new(self) -> None:
        there = Pooled()
        first = there.come(4, HERE)
        share = there.pool.start(first[0], is_delivery=False)
        assert share is not None
        there.pool.end(share)
        there.come(1, HERE)
        assert out(first) == [False, True, False, False]

    def test_whoever_is_being_answered_is_not_evicted(self) -> None:
        there = Pooled()
        asking = there.come(4, HERE)
        for wire in asking:
            assert there.pool.start(wire, is_delivery=False)
        there.come(10, HERE)
        assert not any(out(asking))

    def test_whoever_has_hung_up_takes_no_place(self) -> None:
        there = Pooled()
        for wire in there.come(4, HERE):
            there.pool.close(wire)
        assert not any(out(there.come(4, HERE)))

    @pytest.mark.parametrize("peer", ["10.0.0.7", "", "unix"])
    def test_behind_a_trusted_proxy_all_come_from_one_address(self, peer: str) -> None:
        there = Pooled(Pool(SMALL, trusted=[ip_network("10.0.0.0/8")]))
        assert not any(out(there.come(20, peer)))
        assert out(there.come(1, peer)) == [False]


class TestRouter:
    def test_its_requests_count_for_their_visitors(self) -> None:
        there = Pooled()
        for _ in range(SMALL.requests_of_one):
            assert there.ask(ROUTER_SOURCE, visitor=HERE)
        assert there.ask(ROUTER_SOURCE, visitor=HERE) is None
        assert there.ask(HERE) is None
        assert there.ask(ROUTER_SOURCE, visitor=THERE)
        assert there.deliver(GITHUB)

    def test_its_idle_connections_have_no_limit_of_their_own(self) -> None:
        there = Pooled()
        assert not any(out(there.come(20, ROUTER_SOURCE)))
        share = there.ask(HERE, visitor=THERE)
        assert share is not None
        there.pool.end(share)
        # Once answered, a connection counts for its own address again.
        assert isinstance(share.connection, Wire)
        there.come(3, HERE)
        assert not share.connection.is_evicted
        there.come(1, HERE)
        assert share.connection.is_evicted

    def test_a_trusted_proxy_before_it_has_no_limit_either(self) -> None:
        there = Pooled(Pool(SMALL, trusted=[ip_network("10.0.0.0/8")]))
        for _ in range(SMALL.requests):
            assert there.ask(ROUTER_SOURCE, visitor="10.0.0.7")


class TestRequests:
    def test_one_address_leaves_room_for_others(self) -> None:
        there = Pooled()
        asked = [there.ask(HERE) for _ in range(6)]
        assert [share is not None for share in asked] == [True] * 5 + [False]
        assert there.ask(THERE) is not None

    def test_all_requests_together_have_a_bound(self) -> None:
        there = Pooled()
        asked = [there.ask(f"192.0.2.{number}") for number in range(9)]
        assert [share is not None for share in asked] == [True] * 8 + [False]
        assert asked[0] is not None
        there.pool.end(asked[0])
        assert there.ask(HERE) is not None

    def test_work_goes_on_for_whoever_has_hung_up(self) -> None:
        there = Pooled()
        asked = [there.ask(HERE) for _ in range(5)]
        for share in asked:
            assert share is not None
            there.pool.close(share.connection)
        assert there.ask(HERE) is None
        assert asked[0] is not None
        there.pool.end(asked[0])
        there.pool.end(asked[0])
        assert there.ask(HERE) is not None
        assert there.ask(HERE) is None

    def test_whoever_sends_slowly_makes_way_for_others(self) -> None:
        there = Pooled()
        slow = [there.ask(f"192.0.2.{number}", is_whole=False) for number in range(8)]
        assert there.ask(GITHUB) is not None
        assert [one is not None and one.is_over for one in slow] == [True] + [False] * 7

    def test_whoever_sends_slowly_makes_way_for_its_own_address_first(self) -> None:
        there = Pooled()
        others = there.ask(THERE, is_whole=False)
        slow = [there.ask(HERE, is_whole=False) for _ in range(6)]
        assert [one is not None and one.is_over for one in slow] == [True] + [False] * 5
        assert others is not None
        assert not others.is_over


class TestDeliveries:
    def test_no_other_request_takes_their_places(self) -> None:
        there = Pooled()
        for number in range(30):
            there.ask(f"192.0.2.{number}")
        there.come(30, HERE)
        assert all(there.deliver() for _ in range(3))

    def test_they_take_no_other_s(self) -> None:
        there = Pooled()
        assert [there.deliver() is not None for _ in range(4)] == [True] * 3 + [False]
        assert there.deliver(THERE) is not None
        assert there.deliver(HERE) is None
        assert there.ask(HERE) is not None

    def test_of_those_that_are_not_whole_the_oldest_makes_way(self) -> None:
        there = Pooled()
        slow = [there.deliver(f"192.0.2.{number}", is_whole=False) for number in range(4)]
        assert [there.deliver() is not None for _ in range(2)] == [True, True]
        assert [one is not None and one.is_over for one in slow] == [True, True, False, False]
        assert slow[0] is not None
        assert isinstance(slow[0].connection, Wire)
        assert slow[0].connection.is_evicted

    def test_one_that_has_arrived_stays(self) -> None:
        there = Pooled()
        taken = [there.deliver(HERE, is_whole=False) for _ in range(3)]
        taken.append(there.deliver(THERE, is_whole=False))
        for share in taken:
            assert share is not None
            there.pool.received(share)
        assert there.deliver() is None


class TestFiles:
    def test_the_soft_limit_is_raised_as_far_as_it_may_be(self) -> None:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[1]), before[1]))
            assert raise_file_limit() == min(WANTED_FILES, before[1])
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(WANTED_FILES, before[1])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

    @pytest.mark.parametrize("files", [0, 256, 1024, 4096, 1_000_000])
    def test_there_is_room_for_each_share_whatever_may_be_opened(self, files: int) -> None:
        bounds = bounds_for(files)
        assert bounds.requests + bounds.deliveries < bounds.connections
        assert bounds.deliveries >= 16
        assert files < 1024 or bounds.connections <= files - KEPT_FILES
