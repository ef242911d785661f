"""Limits that apply before a request is handled, as plain ASGI middleware.

They bound the headers, the body's size and time, and the total memory of request bodies.
`receiver.protocol` bounds what arrives before there is a request.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.rules.naming import WEBHOOK_PATH
from receiver.connections import NO_ROOM, Bounds
from receiver.errors import (
    BusyError,
    HeadersTooLargeError,
    MediaTypeError,
    RequestError,
    TooLargeError,
    TooSlowError,
    answer_error,
)
from receiver.proxies import neighbourhood
from receiver.webhook_path import is_delivery

KIB = 1024
MIB = 1024 * KIB
LONGEST_HEADERS = 32 * 1024
MOST_HEADERS = 100
LARGEST_BODY = MIB
# GitHub sends no payload above 25 MB. The login reads the body of strangers, so its limit is small.
LARGEST_BODIES: Mapping[str, int] = {WEBHOOK_PATH: 25 * MIB, "/login": 16 * KIB}
BODY_DEADLINE_S = 8.0
# The per-address limit applies here, too: behind a trusted proxy the pool of connections does not
# know the client's address.
MOST_DELIVERIES_AT_ONCE, MOST_DELIVERIES_OF_ONE = Bounds().deliveries, Bounds().deliveries_of_one
MOST_BYTES_AT_ONCE = 256 * MIB
MOST_BYTES_OF_ONE = 64 * MIB


class Slashes:
    """Redirects an address with a slash at its end to the one without; deliveries are rewritten."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect with 308, which keeps method and body, or pass the request on."""
        path = scope.get("path", "/")
        if scope["type"] != "http" or path == "/" or not path.endswith("/"):
            await self.app(scope, receive, send)
            return
        if is_delivery(scope):
            # GitHub does not follow redirects, so rewrite the path to the one that routes know.
            await self.app(
                {**scope, "path": WEBHOOK_PATH, "raw_path": WEBHOOK_PATH.encode()}, receive, send
            )
            return
        # Exactly one slash at the beginning: after two, the browser would read a host name.
        url = Request(scope).url
        target = "/" + url.path.strip("/\\") + (f"?{url.query}" if url.query else "")
        await RedirectResponse(target, status_code=308)(scope, receive, send)


class HeaderLimits:
    """Refuses requests without a slot in their quota, too long headers, and compressed bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503, 431 or 415, or pass the request on."""
        if scope["type"] == "http" and (error := _wrong_with(scope)):
            await answer_error(Request(scope), error)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _wrong_with(scope: Scope) -> RequestError | None:
    if scope.get("state", {}).get(NO_ROOM):
        return BusyError("too many requests at once; try again")
    headers = scope["headers"]
    size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    size += sum(len(name) + len(value) for name, value in headers)
    if size > LONGEST_HEADERS or len(headers) > MOST_HEADERS:
        return HeadersTooLargeError("the request's address and headers are too long")
    if any(name == b"content-encoding" for name, _ in headers):
        return MediaTypeError("send the body as it is, without a Content-Encoding")
    return None


class BodyLimits:
    """Limits the size of a body, and the time from the first read to its end.

    A declared size is checked at once. A streamed body is checked as it arrives: the code that
    reads the body gets the error.
    """

    def __init__(self, app: ASGIApp, *, deadline_s: float = BODY_DEADLINE_S) -> None:
        self.app = app
        self.deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a `receive` that enforces the limits."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = LARGEST_BODIES.get(scope["path"], LARGEST_BODY)
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or len(declared) > len(str(most)) or int(declared) > most:
            await answer_error(Request(scope), _too_large(most))(scope, receive, send)
            return
        body = _Body(receive, most, self.deadline_s)
        await self.app(scope, body.receive, send)


class _Body:
    def __init__(self, receive: Receive, most: int, deadline_s: float) -> None:
        self._receive = receive
        self._most = most
        self._deadline_s = deadline_s
        self._deadline: float | None = None
        self._size = 0
        self._is_complete = False

    async def receive(self) -> Message:
        """Give the next piece of the body.

        Raises:
            TooSlowError: the whole body did not arrive before the deadline.
            TooLargeError: it is larger than allowed.
        """
        if self._is_complete:  # the next message is the disconnect, which has no deadline
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._deadline_s
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise TooSlowError(f"the body took more than {self._deadline_s:g} s") from None
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            raise _too_large(self._most)
        self._is_complete = not message.get("more_body", False)
        return message


def _too_large(most: int) -> TooLargeError:
    told = f"{most // MIB} MiB" if most >= MIB else f"{most // KIB} KiB"
    return TooLargeError(f"the body is larger than {told}")


class DeliverySlots:
    """Limits the deliveries being handled at once, and the total memory of their bodies.

    A delivery takes a slot once its body has arrived. Until then it only holds memory, which is
    limited for each address and in all. When another delivery needs that memory, the largest
    arriving one is evicted, because a push is small.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        most_deliveries: int = MOST_DELIVERIES_AT_ONCE,
        most_deliveries_of_one: int = MOST_DELIVERIES_OF_ONE,
        most_bytes: int = MOST_BYTES_AT_ONCE,
        most_bytes_of_one: int = MOST_BYTES_OF_ONE,
    ) -> None:
        self.app = app
        self._free = most_deliveries
        self._most_of_one = most_deliveries_of_one
        self._room = most_bytes
        self._most_bytes_of_one = most_bytes_of_one
        self._deliveries: Counter[str] = Counter()  # whose whole body has arrived, by address
        self._bytes: Counter[str] = Counter()  # by address
        self._arriving: set[_Place] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503 when there is no room, or pass the delivery on."""
        if scope["type"] != "http" or scope["path"] != WEBHOOK_PATH:
            await self.app(scope, receive, send)
            return
        place = _Place(neighbourhood(scope["client"][0]) if scope.get("client") else "")

        async def receive_into_room() -> Message:
            if place.is_whole:
                return await receive()
            message = await _receive_unless_evicted(place, receive)
            if message["type"] == "http.request":
                self._make_room(place, message)
            return message

        self._arriving.add(place)
        try:
            await self.app(scope, receive_into_room, send)
        finally:
            self._give_back(place)

    def _make_room(self, place: "_Place", message: Message) -> None:
        size = len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if is_whole and not (self._free and self._deliveries[place.address] < self._most_of_one):
            raise _busy()
        while self._bytes[place.address] + size > self._most_bytes_of_one:
            of_one = [other for other in self._arriving if other.address == place.address]
            self._evict_larger(of_one, place.bytes + size)
        while size > self._room:
            self._evict_larger(self._arriving, place.bytes + size)
        self._take(place, size, is_whole=is_whole)

    def _evict_larger(self, arriving: "Iterable[_Place]", size: int) -> None:
        """Evict the largest of some arriving deliveries in favour of a body of a size.

        Raises:
            BusyError: none of them is larger than that body.
        """
        largest = max(arriving, key=lambda place: place.bytes, default=None)
        if largest is None or largest.bytes <= size:
            raise _busy()
        self._give_back(largest)
        largest.evict()

    def _take(self, place: "_Place", size: int, *, is_whole: bool) -> None:
        self._room -= size
        self._bytes[place.address] += size
        place.bytes += size
        if is_whole:
            self._free -= 1
            self._deliveries[place.address] += 1
            self._arriving.discard(place)
            place.is_whole = True

    def _give_back(self, place: "_Place") -> None:
        self._arriving.discard(place)
        self._room += place.bytes
        self._bytes[place.address] -= place.bytes
        self._free += place.is_whole
        self._deliveries[place.address] -= place.is_whole
        place.bytes, place.is_whole = 0, False
        for counter in (self._bytes, self._deliveries):
            if not counter[place.address]:
                del counter[place.address]


def _busy() -> BusyError:
    return BusyError("too many deliveries at once; send this one again")


@dataclass(eq=False)
class _Place:
    """The slot and the memory that one delivery holds."""

    address: str
    bytes: int = 0
    is_whole: bool = False
    is_evicted: bool = False
    waits: asyncio.Timeout | None = None  # of the wait for more of its body

    def evict(self) -> None:
        """End the wait for the rest of the body at once."""
        self.is_evicted = True
        if self.waits is not None:
            self.waits.reschedule(0)


async def _receive_unless_evicted(place: _Place, receive: Receive) -> Message:
    """Receive the next piece of a body.

    Raises:
        BusyError: the memory was needed for another delivery.
    """
    if place.is_evicted:
        raise _busy()
    try:
        async with asyncio.timeout(None) as place.waits:
            return await receive()
    except TimeoutError:
        raise _busy() from None
    finally:
        place.waits = None
