"""Limits on connections: separate quotas, so that a single sender cannot fill the whole pool.

A connection without a request (its head has not arrived, or it is kept alive for the next request)
is idle. Idle connections are evicted when others need their place: the oldest one of an address
that holds too many, or the oldest of all when the pool is full. Requests have a quota of their own,
and deliveries have another quota that no other request can use. A request can be evicted in favour
of a newer one only until its body has arrived.

Behind a trusted proxy all connections come from one address, so per-address limits do not apply
there. Requests through Keystone's own router count for the address that connected to the router.
Its idle connections have no limit of their own: when many visitors arrive at once, their
connections are idle for the moment until their heads are read. The router's source address is
enough for that exemption, because the oldest idle connection is evicted in any case.
"""

import resource
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from jobs.rules.naming import ROUTER_SOURCE
from receiver.own_router import OwnRouter
from receiver.proxies import Network, is_among, neighbourhood, read_address

# Key in `scope["state"]`: there is no room for this request.
NO_ROOM = "no_room"
# Key in the server's state: the `Pool` of its connections.
POOL = "connections"
# Open files: enough for the connections below, and for those that one iteration of the event loop
# accepts before it can close any other.
WANTED_FILES = 8192
# Open files reserved for the database, Redis, logs and files that are being read.
KEPT_FILES = 300


@dataclass(frozen=True)
class Bounds:
    """The largest number of each kind at once.

    Attributes:
        connections: all connections, of every kind.
        waiting_of_one: idle connections of one address: without a head yet, or kept alive.
        requests: requests being received or handled, without deliveries.
        requests_of_one: such requests from one address.
        deliveries: deliveries being received or handled; only deliveries use this quota.
        deliveries_of_one: such deliveries from one address.
    """

    connections: int = 2048
    waiting_of_one: int = 128
    requests: int = 1024
    requests_of_one: int = 256
    deliveries: int = 256
    deliveries_of_one: int = 192


def bounds_for(files: int) -> Bounds:
    """Give the bounds for a process that may open this many files; each quota gets a part."""
    usual = Bounds()
    connections = max(min(usual.connections, files - KEPT_FILES), 64)
    deliveries = min(usual.deliveries, connections // 4)
    return Bounds(
        connections=connections,
        requests=connections // 2,
        deliveries=deliveries,
        deliveries_of_one=deliveries * 3 // 4,
    )


def raise_file_limit() -> int:
    """Raise this process's limit of open files as far as needed, and give the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        return allowed
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


class Connection(Protocol):
    """The interface that the pool needs of a connection."""

    def evict(self) -> None:
        """Close at once; send an error first if a request has begun and an answer has not."""


@dataclass(eq=False)
class Share:
    """The slot of a request in its quota, held until `Pool.end`."""

    connection: Connection
    address: str | None
    is_delivery: bool
    is_over: bool = False


Waiting = TypeVar("Waiting")


class _Line(Generic[Waiting]):
    """Waiting items in order of arrival, overall and by address."""

    def __init__(self) -> None:
        self._all: OrderedDict[Waiting, str | None] = OrderedDict()
        self._of: dict[str, OrderedDict[Waiting, None]] = {}

    def add(self, one: Waiting, address: str | None) -> None:
        """Add an item at the end; an item that is here already moves there."""
        self.remove(one)
        self._all[one] = address
        if address is not None:
            self._of.setdefault(address, OrderedDict())[one] = None

    def remove(self, one: Waiting) -> None:
        """Remove an item, if it is here."""
        address = self._all.pop(one, None)
        if address is not None:
            self._of[address].pop(one)
            if not self._of[address]:
                del self._of[address]

    def count(self, address: str | None) -> int:
        """Give the number of items of an address; 0 for None, which has no per-address limit."""
        return 0 if address is None else len(self._of.get(address, ()))

    def oldest(self) -> Waiting | None:
        """Give the item that has waited longest."""
        return next(iter(self._all), None)

    def oldest_of(self, address: str | None) -> Waiting | None:
        """Give the item of an address that has waited longest."""
        return None if address is None else next(iter(self._of.get(address, ())), None)


class _Shares:
    """The quota of one kind of requests: those being received or handled."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._count = 0
        self._of: Counter[str] = Counter()  # by address
        self._receiving: _Line[Share] = _Line()

    def to_evict(self, address: str | None) -> Share | None:
        """Give the request to evict to make room for one of an address; None: evict none."""
        if self._is_greedy(address):
            return self._receiving.oldest_of(address)
        return self._receiving.oldest() if self._count >= self._most else None

    def has_room(self, address: str | None) -> bool:
        """Whether there is room for one more request of an address."""
        return self._count < self._most and not self._is_greedy(address)

    def _is_greedy(self, address: str | None) -> bool:
        return address is not None and self._of[address] >= self._most_of_one

    def add(self, share: Share, *, is_whole: bool) -> None:
        """Add a request; it can be evicted unless its body has arrived."""
        self._change(share.address, 1)
        if not is_whole:
            self._receiving.add(share, share.address)

    def received(self, share: Share) -> None:
        """Note that the body has arrived: the request can no longer be evicted."""
        self._receiving.remove(share)

    def remove(self, share: Share) -> None:
        """Remove a request."""
        self._change(share.address, -1)
        self._receiving.remove(share)

    def _change(self, address: str | None, by: int) -> None:
        self._count += by
        if address is not None:
            self._of[address] += by
            if not self._of[address]:
                del self._of[address]


class Pool:
    """The connections of this process; belongs to one event loop."""

    def __init__(
        self,
        bounds: Bounds | None = None,
        *,
        trusted: Sequence[Network] = (),
        router: OwnRouter | None = None,
    ) -> None:
        self.bounds = bounds or Bounds()
        self.router = router or OwnRouter()
        self._trusted = trusted
        self._addresses: dict[Connection, str | None] = {}  # of all; None: no per-address limit
        self._waiting: _Line[Connection] = _Line()
        self._requests = _Shares(self.bounds.requests, self.bounds.requests_of_one)
        self._deliveries = _Shares(self.bounds.deliveries, self.bounds.deliveries_of_one)

    def open(self, connection: Connection, peer: str) -> None:
        """Add a new idle connection; this may evict the oldest idle one."""
        address = self._addresses[connection] = self._address(peer)
        self._waiting.add(connection, address)
        if self._waiting.count(address) > self.bounds.waiting_of_one:
            self._evict(self._waiting.oldest_of(address))
        if len(self._addresses) > self.bounds.connections:
            self._evict(self._waiting.oldest())

    def _address(self, peer: str) -> str | None:
        found = read_address(peer)
        is_bound = found is not None and not is_among(found, self._trusted)
        is_bound = is_bound and peer != ROUTER_SOURCE
        return neighbourhood(peer) if is_bound else None

    def _evict(self, connection: Connection | None) -> None:
        if connection is not None:
            self.close(connection)
            connection.evict()

    def close(self, connection: Connection) -> None:
        """Forget a connection; a request of it that is still being handled keeps its slot."""
        self._addresses.pop(connection, None)
        self._waiting.remove(connection)

    def start(
        self,
        connection: Connection,
        *,
        is_delivery: bool,
        is_whole: bool = True,
        visitor: str | None = None,
    ) -> Share | None:
        """Give a request a slot; None when there is no room.

        Args:
            connection: the connection that the request came on.
            is_delivery: whether the request is for the webhook.
            is_whole: whether its body has arrived.
            visitor: the address that connected to the router; None: the connection's own counts.
        """
        own = self._addresses.get(connection)
        address = own if visitor is None else self._address(visitor)
        share = Share(connection, address, is_delivery)
        shares = self._shares(share)
        if (other := shares.to_evict(share.address)) is not None:
            self.end(other)
            self._evict(other.connection)
        if not shares.has_room(share.address):
            return None
        shares.add(share, is_whole=is_whole)
        self._waiting.remove(connection)
        return share

    def _shares(self, share: Share) -> _Shares:
        return self._deliveries if share.is_delivery else self._requests

    def received(self, share: Share) -> None:
        """Note that the body of a request has arrived."""
        self._shares(share).received(share)

    def end(self, share: Share) -> None:
        """Release the slot of a request; its connection, if still open, becomes idle."""
        if share.is_over:
            return
        share.is_over = True
        self._shares(share).remove(share)
        if share.connection in self._addresses:
            self._waiting.add(share.connection, self._addresses[share.connection])
