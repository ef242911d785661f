"""How many streams of events there may be: of one visitor, and in all."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from jobs.rules.visitor import Visitor
from receiver.errors import BusyError, RateLimitedError

# A page holds one, and gives it back when nobody looks at the page.
MOST_OF_ONE = 20
MOST = 200
AGAIN_AFTER_S = 10


class Streams:
    """Those that are open now; a page whose stream is refused asks every three seconds instead."""

    def __init__(self, *, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._open: Counter[tuple[str, str]] = Counter()  # by the visitor's kind and name

    def take(self, visitor: Visitor) -> None:
        """Count one more stream of a visitor, until it is given back.

        Raises:
            RateLimitedError: the visitor has as many as one may have.
            BusyError: there are as many as there may be.
        """
        if self._open[visitor.kind, visitor.name] >= self._most_of_one:
            raise RateLimitedError(
                f"{visitor.name} follows {self._most_of_one} streams already; close one, "
                "or ask again and again instead",
                retry_after_s=AGAIN_AFTER_S,
            )
        if self._open.total() >= self._most:
            raise BusyError(
                f"{self._most} streams are open already; ask again and again instead",
                retry_after_s=AGAIN_AFTER_S,
            )
        self._open[visitor.kind, visitor.name] += 1

    def give_back(self, visitor: Visitor) -> None:
        """Count one stream of a visitor less."""
        self._open[visitor.kind, visitor.name] -= 1
        if not self._open[visitor.kind, visitor.name]:
            del self._open[visitor.kind, visitor.name]


class Stream(EventSourceResponse):
    """A stream of events that counts as its visitor's for as long as it is sent."""

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
    # Without data a browser would drop the event.
    return ServerSentEvent("alive", event="ping")
