"""Who may hold how many connections: shares instead of one pool that a single sender can fill.

A connection without a request (its head has not arrived, or it is kept open for the next one) is
evicted when others need its place: the oldest one of an address that holds too many, or the oldest
of all when the pool is full. Requests have a share of their own, and deliveries have another one
that no other request can use. A request is evicted for the next one only until its body has
arrived.

Behind a trusted proxy all connections come from one address, so no bound by address holds there.
"""

import resource
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from receiver.proxies import Network, is_among, neighbourhood, read_address

# In `scope["state"]`: there is no room for this request.
NO_ROOM = "no_room"
# In the state of the server: the `Pool` of its connections.
POOL = "connections"
# As many connections as below, and those that were accepted in one turn of the event loop before
# any other could be closed.
WANTED_FILES = 8192
# For the database, Redis, logs and what is being read.
KEPT_FILES = 300


@dataclass(frozen=True)
class Bounds:
    """How many there may be at once.

    Attributes:
        connections: in all, of whatever kind.
        waiting_of_one: without a request, of one address: heads not sent, and kept for later.
        requests: being received or handled, besides deliveries.
        requests_of_one: of these, of one address.
        deliveries: being received or handled; nothing else uses this share.
        deliveries_of_one: of these, of one address.
    """

    connections: int = 2048
    waiting_of_one: int = 128
    requests: int = 1024
    requests_of_one: int = 256
    deliveries: int = 256
    deliveries_of_one: int = 192


def bounds_for(files: int) -> Bounds:
    """Give the bounds for a process that may open so many files; there is room for each share."""
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
    """Let this process open as many files as it may need; gives how many it may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        return allowed
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


class Connection(Protocol):
    """What the pool asks of a connection."""

    def evict(self) -> None:
        """Close at once; whoever has begun to send a request is told why, if that is possible."""


@dataclass(eq=False)
class Share:
    """The place of a request that is being handled, until `Pool.end`."""

    connection: Connection
    address: str | None
    is_delivery: bool
    is_over: bool = False


Waiting = TypeVar("Waiting")


class _Line(Generic[Waiting]):
    """Who waits, in the order in which they came, and of one address, too."""

    def __init__(self) -> None:
        self._all: OrderedDict[Waiting, str | None] = OrderedDict()
        self._of: dict[str, OrderedDict[Waiting, None]] = {}

    def add(self, one: Waiting, address: str | None) -> None:
        """Let one stand at the end."""
        self.remove(one)
        self._all[one] = address
        if address is not None:
            self._of.setdefault(address, OrderedDict())[one] = None

    def remove(self, one: Waiting) -> None:
        """Take one out, if it is there."""
        address = self._all.pop(one, None)
        if address is not None:
            self._of[address].pop(one)
            if not self._of[address]:
                del self._of[address]

    def count(self, address: str | None) -> int:
        """Give how many are there of an address; 0 where no bound by address holds."""
        return 0 if address is None else len(self._of.get(address, ()))

    def oldest(self) -> Waiting | None:
        """Give the one that waits longest."""
        return next(iter(self._all), None)

    def oldest_of(self, address: str | None) -> Waiting | None:
        """Give the one of an address that waits longest."""
        return None if address is None else next(iter(self._of.get(address, ())), None)


class _Shares:
    """The requests of one kind that are being received or handled."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._count = 0
        self._of: Counter[str] = Counter()  # by address
        self._receiving: _Line[Share] = _Line()

    def to_evict(self, address: str | None) -> Share | None:
        """Give the request to evict before another one of an address has a place, if any."""
        if self._is_greedy(address):
            return self._receiving.oldest_of(address)
        return self._receiving.oldest() if self._count >= self._most else None

    def has_room(self, address: str | None) -> bool:
        """Whether there is a place for one more request of an address."""
        return self._count < self._most and not self._is_greedy(address)

    def _is_greedy(self, address: str | None) -> bool:
        return address is not None and self._of[address] >= self._most_of_one

    def add(self, share: Share, *, is_whole: bool) -> None:
        """Give a request its place."""
        self._change(share.address, 1)
        if not is_whole:
            self._receiving.add(share, share.address)

    def received(self, share: Share) -> None:
        """Note that the body has arrived: the request is not evicted any more."""
        self._receiving.remove(share)

    def remove(self, share: Share) -> None:
        """Take the place back."""
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

    def __init__(self, bounds: Bounds | None = None, *, trusted: Sequence[Network] = ()) -> None:
        self.bounds = bounds or Bounds()
        self._trusted = trusted
        self._addresses: dict[Connection, str | None] = {}  # of all; None: no bound by address
        self._waiting: _Line[Connection] = _Line()
        self._requests = _Shares(self.bounds.requests, self.bounds.requests_of_one)
        self._deliveries = _Shares(self.bounds.deliveries, self.bounds.deliveries_of_one)

    def open(self, connection: Connection, peer: str) -> None:
        """Let a connection in that has sent nothing yet; the oldest such one may be evicted."""
        address = self._addresses[connection] = self._address(peer)
        self._waiting.add(connection, address)
        if self._waiting.count(address) > self.bounds.waiting_of_one:
            self._evict(self._waiting.oldest_of(address))
        if len(self._addresses) > self.bounds.connections:
            self._evict(self._waiting.oldest())

    def _address(self, peer: str) -> str | None:
        found = read_address(peer)
        is_bound = found is not None and not is_among(found, self._trusted)
        return neighbourhood(peer) if is_bound else None

    def _evict(self, connection: Connection | None) -> None:
        if connection is not None:
            self.close(connection)
            connection.evict()

    def close(self, connection: Connection) -> None:
        """Forget a connection; a request of it that is still handled keeps its place."""
        self._addresses.pop(connection, None)
        self._waiting.remove(connection)

    def start(
        self, connection: Connection, *, is_delivery: bool, is_whole: bool = True
    ) -> Share | None:
        """Give a request a place; None when there is none.

        Args:
            connection: where it came from.
            is_delivery: it is for the webhook.
            is_whole: its body has arrived.
        """
        share = Share(connection, self._addresses.get(connection), is_delivery)
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
        """Give the place of a request back; its connection, if it is open, waits for another."""
        if share.is_over:
            return
        share.is_over = True
        self._shares(share).remove(share)
        if share.connection in self._addresses:
            self._waiting.add(share.connection, share.address)
