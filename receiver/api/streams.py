"""Limits the open event streams, for each visitor and in all."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from jobs.rules.visitor import Visitor
from receiver.errors import BusyError, RateLimitedError

# A page holds one stream, and closes it while the page is hidden.
MOST_OF_ONE = 20
MOST = 200
AGAIN_AFTER_S = 10


class Streams:
    """Counts the open streams; a page whose stream is refused polls every three seconds instead."""

    def __init__(self, *, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._open: Counter[tuple[str, str]] = Counter()  # by the visitor's kind and name

    def take(self, visitor: Visitor) -> None:
        """Count one more stream of a visitor, until `give_back`.

        Raises:
            RateLimitedError: the visitor has the largest allowed number of streams already.
            BusyError: all visitors together have the largest allowed number already.
        """
        if self._open[visitor.kind, visitor.name] >= self._most_of_one:
            raise RateLimitedError(
                f"{visitor.name} follows {self._most_of_one} streams already; close one, "
                "or poll instead",
                retry_after_s=AGAIN_AFTER_S,
            )
        if self._open.total() >= self._most:
            raise BusyError(
                f"{self._most} streams are open already; poll instead",
                retry_after_s=AGAIN_AFTER_S,
            )
        self._open[visitor.kind, visitor.name] += 1

    def give_back(self, visitor: Visitor) -> None:
        """Count one stream of a visitor less."""
        self._open[visitor.kind, visitor.name] -= 1
        if not self._open[visitor.kind, visitor.name]:
            del self._open[visitor.kind, visitor.name]


class Stream(EventSourceResponse):
    """A stream of events that counts against its visitor's limit while it is being sent."""

    def __init__(
        self, events: AsyncIterator[Any], streams: Streams, visitor: Visitor, *, ping_s: int
    ) -> None:
        super().__init__(events, ping=ping_s, ping_message_factory=_ping)
        self._streams, self._visitor = streams, visitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events.

        Raises:
            BusyError: there are too many streams; nothing has been sent yet.
        """
        self._streams.take(self._visitor)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.give_back(self._visitor)


def _ping() -> ServerSentEvent:
    # Browsers ignore an event without data.
    return ServerSentEvent("alive", event="ping")
