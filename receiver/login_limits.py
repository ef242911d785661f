"""Rate limits for password attempts: every failure makes the next attempt wait longer.

There are three counters, and the longest of their waits applies:

- one account from one address: 5 tries are free, then 1 s, 2 s, 4 s … up to 15 minutes;
- one address, all accounts: 20 tries are free, then up to 1 minute;
- one account, all addresses: 20 tries are free, then up to 30 s; never for an address from which
  its owner has logged in before. So a botnet guesses slowly, and cannot lock anybody out for long.

The counters are in this process's memory: they work without Redis, and are forgotten after 15
minutes without an attempt. A name that no user has is counted like any other.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from anyio import CapacityLimiter

from receiver.errors import RateLimitedError
from receiver.proxies import neighbourhood

# Checking a password costs 0.2 s and 64 MiB.
CHECKS_AT_ONCE = 2
MOST_WAITING = 16
MOST_KEYS = 10_000
FORGET_AFTER_S = 900
LONGEST_DOUBLING = 10  # 2 ** 10 s is longer than every limit

Clock = Callable[[], float]


@dataclass
class _Count:
    failures: int = 0
    next_at: float = 0.0


class Delays:
    """Counts attempts by key, and computes how long the next one must wait; bounded in memory."""

    def __init__(self, *, free: int, longest_s: float, clock: Clock) -> None:
        self._free = free
        self._longest_s = longest_s
        self._clock = clock
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Give the seconds until the next attempt is allowed; 0: it is allowed now."""
        count = self._counts.get(key)
        # The difference of two large floats may be rounded to more than the delay.
        return min(max(count.next_at - self._clock(), 0), self._longest_s) if count else 0

    def count(self, key: str) -> None:
        """Count an attempt as a failure, until `take_back` or `forgive`."""
        moment = self._clock()
        count = self._counts.pop(key, _Count())
        if moment - count.next_at > FORGET_AFTER_S:
            count = _Count()
        count.failures += 1
        count.next_at = moment + self._delay_s(count.failures)
        self._counts[key] = count
        while len(self._counts) > MOST_KEYS:
            self._counts.popitem(last=False)

    def _delay_s(self, failures: int) -> float:
        if failures < self._free:
            return 0
        return min(2.0 ** min(failures - self._free, LONGEST_DOUBLING), self._longest_s)

    def take_back(self, key: str) -> None:
        """Undo the count of the last attempt."""
        if count := self._counts.get(key):
            count.failures = max(count.failures - 1, 0)
            count.next_at = self._clock()

    def forgive(self, key: str) -> None:
        """Forget every attempt."""
        self._counts.pop(key, None)


class LoginGate:
    """Limits login attempts, by account, by address, and at once."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.checks = CapacityLimiter(CHECKS_AT_ONCE)
        self._pairs = Delays(free=5, longest_s=900, clock=clock)
        self._addresses = Delays(free=20, longest_s=60, clock=clock)
        self._accounts = Delays(free=20, longest_s=30, clock=clock)
        self._familiar: OrderedDict[str, None] = OrderedDict()

    def enter(self, *, name: str, address: str) -> None:
        """Count an attempt.

        Raises:
            RateLimitedError: it comes too soon after others, or too many are in progress.
        """
        if self.checks.statistics().tasks_waiting >= MOST_WAITING:
            raise RateLimitedError("too many people log in right now", retry_after_s=1)
        counts = self._counts(name, neighbourhood(address))
        wait_s = math.ceil(max(delays.wait_s(key) for delays, key in counts))
        if wait_s:
            raise RateLimitedError(f"too many attempts; wait {wait_s} s", retry_after_s=wait_s)
        for delays, key in counts:
            delays.count(key)

    def _counts(self, name: str, near: str) -> list[tuple[Delays, str]]:
        pair = f"{near} {name}"
        counts = [(self._pairs, pair), (self._addresses, near)]
        return counts if pair in self._familiar else [*counts, (self._accounts, name)]

    def forgive(self, *, name: str, address: str) -> None:
        """Forget the attempts on an account after a login, and remember the address as familiar."""
        near = neighbourhood(address)
        pair = f"{near} {name}"
        self._pairs.forgive(pair)
        self._accounts.forgive(name)
        # Undo only this attempt of the address: otherwise an attacker with an account of their own
        # could reset the count of guesses at other accounts.
        self._addresses.take_back(near)
        self._familiar[pair] = None
        self._familiar.move_to_end(pair)
        while len(self._familiar) > MOST_KEYS:
            self._familiar.popitem(last=False)
